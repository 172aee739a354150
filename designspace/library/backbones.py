"""Backbones for detectors and segmenters, from any name under which a network is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from designspace.library.loading import load
from designspace.library.saved import is_model_folder, read_description
from designspace.models import AnyNet, Backbone
from designspace.models.norms import convert_norms
from designspace.models.zoo import Pretrained, build, create_model, rebuild
from designspace.networks.network import Network
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder

NetworkSource = str | Path | Network | AnyNet
"""A network by name or as a value: a published network, such as ``"resnest50"``; a model folder or run folder, for its
best network (``"best"``, ``"runs/x"``, or ``"run:runs/x"`` for a run alone); a `Network`; or a module."""
_RUN = "run:"


def backbone(
    source: NetworkSource,
    *,
    weights: Pretrained = True,
    out_indices: Sequence[int] | None = None,
    norm: str = "batch",
    frozen_stages: int = 0,
    **options: Any,
) -> Backbone:
    """Return a network as a backbone: images (N, C, H, W) -> a list of feature maps, the largest first.

    Args:
        source: the network (see `NetworkSource`). A module is shared, unless options rebuild it.
        weights: True for the weights that the network has: published or trained ones, or random ones for a `Network`.
            False for random ones. For a published network also a source, URL or file, as in `create_model`.
        out_indices: indices of the maps: 0 for the stem's, then one per stage; None for all.
        norm: kind of batch-norm, one of `designspace.models.norms.NORMS`.
        frozen_stages: number of parts that are not trained: 1 for the stem, 2 also for the first stage, and so on.
        options: options of `AnyNet`, such as ``output_stride`` or ``drop_path``; for a published network also
            ``in_channels``.

    Raises:
        InputError: the network, its weights or an option does not exist.
        RunError: a file is missing or damaged, or weights cannot be fetched.
    """
    model = find_model(source, weights=weights, **options)
    features = Backbone(model, out_indices)
    convert_norms(features, norm)
    return features.freeze(frozen_stages)


def find_model(source: NetworkSource, *, weights: Pretrained = True, **options: Any) -> AnyNet:
    """Return the module of a network, with its weights, in training mode.

    The arguments and errors are those of `backbone`.
    """
    if isinstance(source, AnyNet | Network) and not isinstance(weights, bool):
        raise InputError(f"weights={weights!r} is for the name of a published network, not for a Network or a module")
    if isinstance(source, AnyNet):
        return rebuild(source, **options) if options else source
    if isinstance(source, Network):
        return build(source, options)
    if is_published_name(source):
        published: AnyNet = create_model(source, weights, **options)
        return published
    if isinstance(source, str) and source.startswith(_RUN):
        path = Path(source.removeprefix(_RUN))
        if not RunFolder(path).exists():
            raise InputError(f"{path} is not a run folder (of designspace.sample)")
        return _of_folder(path, weights, options)
    if isinstance(source, str | Path):
        return _of_folder(Path(source), weights, options)
    raise InputError(f"a network is a name, a folder, a Network or a module, not {type(source).__name__}")


def is_published_name(source: object) -> TypeGuard[str]:
    """Return whether a network is given as the name of a published one, and not as a folder, run or value."""
    is_name = isinstance(source, str) and "/" not in source and not source.startswith(_RUN)
    return is_name and not Path(str(source)).is_dir()


def _of_folder(path: Path, weights: Pretrained, options: dict[str, Any]) -> AnyNet:
    """Return the module of a model folder, or the best one of a run folder."""
    if not isinstance(weights, bool):
        raise InputError(f"{path} has its own weights: use weights=True, or weights=False for random ones")
    if weights:
        model: AnyNet = load(path, **options)
        return model.train()
    network = read_description(path)[0] if is_model_folder(path) else load(path).network
    return build(network, options)
