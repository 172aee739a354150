"""The error of a module on images that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext

import torch
from torch import Tensor, nn

from designspace.models import cpu
from designspace.training.device_data import DeviceData
from designspace.training.feed import Feed
from designspace.training.shard import ALONE, Shard
from designspace.training.step import wrong
from designspace.training.streaming import rows

_AT_ONCE = {"cpu": (250, 2_500_000), "cuda": (1000, 12_500_000)}
"""So many images are measured at once, or so many pixels. On a CPU the maps of larger batches no longer fit its caches
(measured: half as fast with 1000 as with 250)."""

Prepare = Callable[[Tensor], Tensor]
"""uint8 (N, C, H, W) to what a module takes."""


def evaluate(model: nn.Module, data: DeviceData, shard: Shard = ALONE, prepare: Prepare | None = None) -> float:
    """Give the top-1 error on the test images, in per cent, in float32. The module is in evaluation mode afterwards.

    Of several devices each takes a part of the images, with the batch-norm statistics of rank 0. ``prepare`` is how
    images are prepared; by default they are only normalised.
    """
    every = torch.arange(len(data.test_images))
    return _error(model, data, (data.test_images, data.test_labels), every, shard, prepare or data.normalise)


def heldout_error(model: nn.Module, data: DeviceData, feed: Feed, shard: Shard = ALONE) -> float | None:
    """Give the error on the images that a recipe holds out, as `evaluate` does; None if it holds none."""
    if feed.heldout is None:
        return None
    return _error(model, data, (data.train_images, data.train_labels), feed.heldout, shard, feed.augmentation.test)


def _error(
    model: nn.Module,
    data: DeviceData,
    source: tuple[Tensor, Tensor],
    which: Tensor,
    shard: Shard,
    prepare: Prepare,
) -> float:
    """The error on some of a source's images and labels, in per cent."""
    model.eval()
    shard.share_buffers(model)
    images, labels = source
    most, pixels = _AT_ONCE.get(data.device.type, _AT_ONCE["cuda"])
    batch = max(1, min(most, pixels // images[0, 0].numel()))
    own = which[shard.part(len(which))]
    picks = [own[start : start + batch] for start in range(0, len(own), batch)]
    # As the weights are: convolutions of mixed layouts are slow.
    telling = (weight for weight in model.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1)
    first = next(telling, None)
    is_last = first is None or first.is_contiguous(memory_format=torch.channels_last)
    count = torch.zeros((), dtype=torch.int64, device=data.device)
    kernels = cpu.fused(model) if data.device.type == "cpu" else nullcontext()
    with kernels, torch.inference_mode(), closing(rows(images, picks, data.device)) as found:
        for pick, some in zip(picks, found, strict=True):
            x = prepare(some)
            logits = model(x if is_last else x.contiguous())
            count += wrong(logits, labels[pick.to(data.device, non_blocking=True)])
    return 100 * int(shard.total(count)) / len(which)
