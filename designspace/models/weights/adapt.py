"""Fits published weights to another number of classes or of channels."""

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


def adapt_ends(state: Mapping[str, Tensor], *, num_classes: int, in_channels: int) -> dict[str, Tensor]:
    """Our state dict for a model with other ends; what is changed is logged. The given state dict stays as it is.

    With another number of classes the classifier is left out of the result, so that the model keeps its own, untrained
    one: nothing of another task's classes is of use. With no classes (0) there is no classifier.

    With one channel the stem's weights of red, green and blue are summed, so that a grey image gives what it gives
    three times over as red, green and blue. With any other number they are repeated in turn and scaled by
    3 / in_channels, which keeps the scale of the stem's outputs.

    Raises:
        InputError: the number of channels is below 1, that of classes below 0, or the weights are not of three channels
            and should be adapted to others.
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
    """The first convolution for another number of channels: (width, 3, k, k) -> (width, in_channels, k, k)."""
    published = weight.shape[1]
    if in_channels == published:
        return weight
    if published != 3:
        raise InputError(f"weights for {published} channels cannot be adapted to {in_channels}; those for three can")
    if in_channels == 1:
        log.warning("the weights of red, green and blue are summed for one channel")
        return weight.sum(1, keepdim=True)
    log.warning("the weights of red, green and blue are repeated in turn for %d channels", in_channels)
    return weight[:, torch.arange(in_channels) % 3] * (3 / in_channels)
