"""Batch-norm over all devices' parts of a batch, on CPUs as well, where torch has none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


@contextlib.contextmanager
def shared_norms(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Let every batch-norm of a module take its statistics over all devices, for the length of a block.

    Weights, statistics and their names stay. Torch's default process group must be set up.
    """
    norms = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d)
    ]
    for parent, name, norm in norms:
        setattr(parent, name, _shared(norm, device))
    try:
        yield
    finally:
        for parent, name, norm in norms:
            setattr(parent, name, norm)  # it has the same tensors


def _shared(norm: nn.BatchNorm2d, device: torch.device) -> nn.Module:
    """A batch-norm over all devices with the tensors of another batch-norm."""
    if device.type == "cuda":
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return shared
    return _SharedBatchNorm2d.of(norm)


class _SharedBatchNorm2d(nn.BatchNorm2d):
    """A batch-norm whose batch is that of all devices, which have parts of one size: (N, C, H, W) -> the same shape."""

    @staticmethod
    def of(norm: nn.BatchNorm2d) -> _SharedBatchNorm2d:
        """Make one with the tensors of another batch-norm."""
        shared = _SharedBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        shared._parameters, shared._buffers = norm._parameters, norm._buffers
        return shared.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in training by the mean and variance over all devices, which the running ones take in."""
        if not self.training:
            return super().forward(x)
        world = dist.get_world_size()
        mean = _total(x.mean((0, 2, 3))) / world
        centred = x - mean.view(1, -1, 1, 1)
        variance = _total(centred.square().mean((0, 2, 3))) / world
        count = world * x.numel() / x.shape[1]
        with torch.no_grad():
            self._take_in(mean, variance * (count / (count - 1)))
        out = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            out = out * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return out

    def _take_in(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards a batch's."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


def _total(x: Tensor) -> Tensor:
    """Sum a tensor over all devices, for autograd as well."""
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all devices. Its gradient is the sum of theirs, for each of them used it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
