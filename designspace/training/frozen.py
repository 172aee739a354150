"""Parts of a network that a training does not change, for fine-tuning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from designspace.models.anynet import AnyNet
from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe


@contextlib.contextmanager
def frozen_parts(model: nn.Module, recipe: Recipe) -> Iterator[list[nn.Module]]:
    """Exclude the first parts of a network from training within the context, and yield them (see `Recipe`).

    Their parameters require no gradient. The caller must keep them in evaluation mode, so that their batch-norms
    neither use nor change the statistics of batches.

    Raises:
        InputError: the network has fewer parts, or the module is not an `AnyNet`.
    """
    parts = _first_parts(model, recipe.frozen_stages)
    frozen = [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield parts
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _first_parts(model: nn.Module, count: int) -> list[nn.Module]:
    """Return the stem and the first ``count`` - 1 stages."""
    if not count:
        return []
    if not isinstance(model, AnyNet):
        raise InputError("recipe: frozen_stages is for an AnyNet, whose stem and stages are known")
    parts = model.parts()[:-1]
    if count > len(parts):
        raise InputError(f"recipe: frozen_stages must be at most {len(parts)} for this network, not {count}")
    return parts[:count]
