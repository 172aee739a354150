"""Regularisers that switch parts of maps off while training. They draw from a generator, or torch's global state."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.support.errors import InputError


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): for each image, drop a block's transform with probability ``rate``.

    (N, C, H, W) -> the same shape. What is kept is divided by 1 - rate, so that the mean stays. In evaluation mode,
    nothing happens.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = checked_rate("drop_path", rate)
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop whole images' maps."""
        if not self.training or not self.rate:
            return x
        keep = 1 - self.rate
        kept = torch.rand(len(x), 1, 1, 1, device=x.device, generator=self.generator) < keep
        return x * (kept.to(x.dtype) / keep)

    def extra_repr(self) -> str:
        """Its rate."""
        return f"rate={self.rate:.3g}"


class DropBlock(nn.Module):
    """Drop squares of neighbouring pixels (DropBlock, arXiv 1810.12890, algorithm 1), in each channel on its own.

    (N, C, H, W) -> the same shape. About a part ``rate`` of all pixels is dropped, in squares of ``block`` pixels a
    side (as the authors of ResNeSt have it, 3), or of the whole map's side where that is smaller; what is kept is
    scaled up so that the mean stays. In evaluation mode, nothing happens.
    """

    def __init__(self, rate: float, block: int = 3) -> None:
        super().__init__()
        self.rate, self.block = checked_rate("drop_block", rate), block
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop squares."""
        if not self.training or not self.rate:
            return x
        height, width = x.shape[2], x.shape[3]
        block = min(self.block, height, width)
        # The chance that a square begins at a pixel, so that about `rate` of all pixels are dropped (equation 1).
        begins = (height - block + 1) * (width - block + 1)
        chance = self.rate * height * width / (block**2 * begins)
        size = (*x.shape[:2], height - block + 1, width - block + 1)
        corners = torch.rand(size, device=x.device, generator=self.generator) < chance
        dropped = functional.max_pool2d(
            functional.pad(corners.to(x.dtype), (block - 1,) * 4), block, stride=1
        )  # (N, C, H, W): 1 in every square
        kept = 1 - dropped
        return x * (kept * (kept.numel() / kept.sum().clamp(min=1)))

    def extra_repr(self) -> str:
        """Its rate and size."""
        return f"rate={self.rate:.3g}, block={self.block}"


def set_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Let all regularisers of a module draw from a generator of its device; None: from torch's global state."""
    for module in model.modules():
        if isinstance(module, DropPath | DropBlock):
            module.generator = generator


def checked_rate(name: str, rate: float) -> float:
    """Give the rate, which must be at least 0 and below 1.

    Raises:
        InputError: it is not.
    """
    if not 0 <= rate < 1:
        raise InputError(f"{name} must be at least 0 and below 1, not {rate!r}")
    return rate
