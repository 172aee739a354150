"""Frozen batch-norms: permanently, or only their running statistics within a context."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from designspace.support.errors import unknown


@contextlib.contextmanager
def no_statistics_updates(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep the running statistics of the batch-norms among the modules unchanged within the context.

    For a recomputation: the first computation has already updated the statistics.
    """
    # `track_running_stats` stays, because torch would otherwise save other tensors than in the first computation.
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    counts = [
        (norm.num_batches_tracked, norm.num_batches_tracked.clone())
        for norm in norms
        if norm.num_batches_tracked is not None
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for count, saved_count in counts:
            count.copy_(saved_count)


class FrozenBatchNorm2d(nn.Module):
    """A batch-norm whose weights and running statistics are constants.

    (N, C, H, W) -> the same shape. Its state dict has the keys of `nn.BatchNorm2d`. It is meant for fine-tuning with
    few images per device, as is usual for detectors.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name).detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the running statistics: (N, C, H, W) -> the same shape."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype).view(1, -1, 1, 1) + shift.to(x.dtype).view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        """Return the width as text."""
        return f"{len(self.weight)}"


NORMS = ("batch", "sync", "frozen")
"""Kinds of batch-norm: of each device's images; of all devices' (``SyncBatchNorm``); with constants."""


def convert_norms(module: nn.Module, kind: str) -> nn.Module:
    """Make every batch-norm of a module one of `NORMS`, and return the module. Names of weights stay the same.

    Without a process group, synchronised batch-norms compute what ordinary ones compute, on any device.

    Raises:
        InputError: the kind does not exist.
    """
    if kind not in NORMS:
        raise unknown("norm", kind, NORMS)
    if kind == "sync":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call, no-any-return]
    return freeze_norms(module) if kind == "frozen" else module


def freeze_norms(module: nn.Module) -> nn.Module:
    """Replace every batch-norm of a module by a `FrozenBatchNorm2d`, and return the module."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.SyncBatchNorm):
            setattr(module, name, FrozenBatchNorm2d(child))
        else:
            freeze_norms(child)
    return module
