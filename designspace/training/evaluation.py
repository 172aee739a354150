"""Evaluation of a module on images that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext

import torch
from torch import Tensor, nn

from designspace.models import cpu
from designspace.training.device_data import DeviceData
from designspace.training.feed import Feed
from designspace.training.losses import resized
from designspace.training.scoring import TOP1, Scoring
from designspace.training.shard import ALONE, Shard
from designspace.training.streaming import rows

_AT_ONCE = {"cpu": (250, 2_500_000), "cuda": (1000, 12_500_000)}
"""Maximal number of images and of pixels per batch. On a CPU, the maps of larger batches do not fit into its caches
(measured: half as fast with 1000 as with 250)."""

Prepare = Callable[[Tensor], Tensor]
"""Converts images as `rows` yields them, (N, C, H, W), to the input of a module."""


def evaluate(
    model: nn.Module,
    data: DeviceData,
    shard: Shard = ALONE,
    prepare: Prepare | None = None,
    scoring: Scoring = TOP1,
) -> float:
    """Return the score on the test images, in float32; by default the top-1 error, in percent.

    If there are several devices, each takes a part of the images, with the batch-norm statistics of rank 0. ``prepare``
    prepares the images; by default they are only normalised. The module is in evaluation mode afterwards.
    """
    all_indices = torch.arange(len(data.test_images))
    source = data.test_images, data.test_labels
    return _score(model, data, source, all_indices, shard, prepare or data.normalise, scoring)


def heldout_error(
    model: nn.Module, data: DeviceData, feed: Feed, shard: Shard = ALONE, scoring: Scoring = TOP1
) -> float | None:
    """Return the score on the images that a recipe holds out, as `evaluate` does; None if it holds out none."""
    if feed.heldout is None:
        return None
    source = data.train_images, data.train_labels
    return _score(model, data, source, feed.heldout, shard, feed.augmentation.test, scoring)


def _score(
    model: nn.Module,
    data: DeviceData,
    source: tuple[Tensor, Tensor],
    indices: Tensor,
    shard: Shard,
    prepare: Prepare,
    scoring: Scoring,
) -> float:
    """Return the score on the images and labels of the given indices."""
    model.eval()
    shard.share_buffers(model)
    images, labels = source
    max_images, max_pixels = _AT_ONCE.get(data.device.type, _AT_ONCE["cuda"])
    batch = max(1, min(max_images, max_pixels // images[0, 0].numel()))
    own = indices[shard.part(len(indices))]
    picks = [own[start : start + batch] for start in range(0, len(own), batch)]
    # Images get the layout of the weights, because convolutions of mixed layouts are slow.
    informative = (weight for weight in model.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1)
    first = next(informative, None)
    is_last = first is None or first.is_contiguous(memory_format=torch.channels_last)
    score = scoring.begin(data.num_classes, data.device)
    kernels = cpu.fused(model) if data.device.type == "cpu" else nullcontext()
    with kernels, torch.inference_mode(), closing(rows(images, picks, data.device)) as batches:
        for pick, raw in zip(picks, batches, strict=True):
            x = prepare(raw)
            logits = model(x if is_last else x.contiguous())
            batch_labels = labels[pick.to(data.device, non_blocking=True)]
            score.add(resized(logits, batch_labels), batch_labels)
    return score.value(len(indices), shard)
