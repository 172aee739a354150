"""Batch-norms held still: frozen for good, or for the length of a block of code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import Tensor, nn


@contextlib.contextmanager
def statistics_untouched(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let those of the modules that are batch-norms leave their running statistics alone.

    For maps that go through a second time, and have been taken in already.
    """
    # Without `track_running_stats`, torch would keep other tensors for the backward pass than the first time.
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
        for count, before in counts:
            count.copy_(before)


class FrozenBatchNorm2d(nn.Module):
    """A batch-norm that neither learns nor adapts: its weights and running statistics are constants.

    (N, C, H, W) -> the same shape. Its state has the names of `nn.BatchNorm2d`. For fine-tuning with few images a
    device, as detectors are trained.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name).detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the running statistics."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype).view(1, -1, 1, 1) + shift.to(x.dtype).view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        """Its width."""
        return f"{len(self.weight)}"


def freeze_norms(module: nn.Module) -> nn.Module:
    """Put a `FrozenBatchNorm2d` into the place of every batch-norm of a module, and give the module."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child))
        else:
            freeze_norms(child)
    return module
