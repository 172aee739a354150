"""Adapts published weights to another number of classes or channels."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from designspace.support.checks import whole
from designspace.support.errors import InputError

log = logging.getLogger(__name__)

CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")
_STEMS = ("stem.conv.weight", "stem.conv1.conv.weight")


def adapt_weights(state: Mapping[str, Tensor], *, num_classes: int, in_channels: int) -> dict[str, Tensor]:
    """Return a state dict for a model with other numbers of classes or channels, and log what changes.

    ``state`` is not modified. For another number of classes the classifier is left out, so that the model keeps its
    own, untrained one. With ``num_classes=0`` there is no classifier.

    For one channel the stem's weights of red, green and blue are summed, so that a grey image gives the same output as
    three equal channels. For any other number they are repeated in turn and scaled by 3 / in_channels, which keeps the
    scale of the stem's outputs.

    Raises:
        InputError: ``in_channels`` is below 1 or ``num_classes`` below 0; or weights that are not for three channels
            would have to be adapted to another number.
    """
    num_classes, in_channels = whole("num_classes", num_classes, 0), whole("in_channels", in_channels, 1)
    result = dict(state)
    published = len(state[CLASSIFIER[0]]) if CLASSIFIER[0] in state else 0  # (classes, width)
    if num_classes != published:
        if num_classes:
            log.warning(
                "the classifier is new and must be trained: the weights are for %d classes, the model has %d",
                published,
                num_classes,
            )
        for key in CLASSIFIER:
            result.pop(key, None)
    stem = next(key for key in _STEMS if key in state)
    result[stem] = _adapt_stem(state[stem], in_channels)
    return result


def _adapt_stem(weight: Tensor, in_channels: int) -> Tensor:
    """Adapt the first convolution to a number of channels: (width, 3, k, k) -> (width, in_channels, k, k)."""
    published = weight.shape[1]
    if in_channels == published:
        return weight
    if published != 3:
        raise InputError(f"weights for {published} channels cannot be adapted to {in_channels}; only those for 3 can")
    if in_channels == 1:
        log.warning("the weights of red, green and blue are summed for one channel")
        return weight.sum(1, keepdim=True)
    log.warning("the weights of red, green and blue are repeated in turn for %d channels", in_channels)
    return weight[:, torch.arange(in_channels) % 3] * (3 / in_channels)
