"""Regularisers that switch parts of maps off while training.

They draw from the generator that `set_generator` gives them, and without one from torch's global random state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.support.errors import InputError


class _Drop(nn.Module):
    """What drops at a rate, 0 to below 1."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__()
        self.rate = checked_rate(name, rate)
        self.generator: torch.Generator | None = None
        """What decides what is dropped; None for the global random state."""

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: all but the generator, which cannot be copied and belongs to one training."""
        return {**self.__dict__, "generator": None}

    def extra_repr(self) -> str:
        """Its rate."""
        return f"rate={self.rate:.3g}"


def set_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Let all that drops in a module draw from one generator, of the device that the module is on; None for the global.

    The order of the draws is that of the forward pass, so a training that sets a generator of a known state at the
    beginning of each epoch gives the same numbers when it is interrupted and resumed. Whoever captures the forward pass
    in a CUDA graph has to register the generator with it (`torch.cuda.CUDAGraph.register_generator_state`).
    """
    for module in model.modules():
        if isinstance(module, _Drop):
            module.generator = generator


@contextlib.contextmanager
def draws_from(generator: torch.Generator | None, state: Tensor | None) -> Iterator[None]:
    """Within, a generator begins from a state that it had before; afterwards, it is where it was."""
    if generator is None or state is None:
        yield
        return
    before = generator.get_state()
    generator.set_state(state)
    try:
        yield
    finally:
        generator.set_state(before)


def generator_of(modules: Iterable[nn.Module]) -> torch.Generator | None:
    """Give the generator that any of these draw from, if they do at all."""
    drawing = (module for module in modules if isinstance(module, _Drop) and module.training and module.rate)
    return next((module.generator for module in drawing), None)


class Dropout(_Drop):
    """Drop single values: any shape -> the same; what is kept is divided by 1 - rate."""

    def __init__(self, rate: float) -> None:
        super().__init__("dropout", rate)

    def forward(self, x: Tensor) -> Tensor:
        """Drop values, in training mode only."""
        if not self.training or not self.rate:
            return x
        return drop_values(x, self.rate, self.generator)


class DropPath(_Drop):
    """Stochastic depth (arXiv 1603.09382): for each image, drop a block's transform with probability ``rate``.

    (N, C, H, W) -> the same shape. What is kept is divided by 1 - rate, so that the mean stays. In evaluation mode,
    nothing happens.
    """

    def __init__(self, rate: float) -> None:
        super().__init__("drop_path", rate)

    def forward(self, x: Tensor) -> Tensor:
        """Drop whole images' maps."""
        if not self.training or not self.rate:
            return x
        return drop_images(x, self.rate, self.generator)


class DropBlock(_Drop):
    """Drop squares of neighbouring pixels (DropBlock, arXiv 1810.12890, algorithm 1), in each channel on its own.

    (N, C, H, W) -> the same shape. About a part ``rate`` of all pixels is dropped, in squares of ``block`` pixels a
    side (as the authors of ResNeSt have it, 3), or of the whole map's side where that is smaller; what is kept is
    scaled up so that the mean stays. In evaluation mode, nothing happens.

    The rate stays the same, and each image has squares of its own. (In the code of ResNeSt's authors the rate grows
    linearly from 0 over the epochs, and all images of a batch share their squares.)
    """

    def __init__(self, rate: float, block: int = 3) -> None:
        super().__init__("drop_block", rate)
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Drop squares."""
        if not self.training or not self.rate:
            return x
        return drop_squares(x, self.rate, self.block, self.generator)

    def extra_repr(self) -> str:
        """Its rate and size."""
        return f"{super().extra_repr()}, block={self.block}"


# torch.fx keeps calls of these as they are: their shapes are numbers only when they run.
torch.fx.wrap("drop_values")
torch.fx.wrap("drop_images")
torch.fx.wrap("drop_squares")


def drop_values(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Do what `Dropout` does in training."""
    keep = 1 - rate
    return x * ((_uniform(list(x.shape), x.device, generator) < keep).to(x.dtype) / keep)


def drop_images(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Do what `DropPath` does in training."""
    keep = 1 - rate
    kept = _uniform([x.shape[0], 1, 1, 1], x.device, generator) < keep
    return x * (kept.to(x.dtype) / keep)


def drop_squares(x: Tensor, rate: float, block: int, generator: torch.Generator | None) -> Tensor:
    """Do what `DropBlock` does in training."""
    height, width = x.shape[2], x.shape[3]
    block = min(block, height, width)
    # The chance that a square begins at a pixel, so that about `rate` of all pixels are dropped (equation 1).
    begins = (height - block + 1) * (width - block + 1)
    chance = rate * height * width / (block**2 * begins)
    places = [x.shape[0], x.shape[1], height - block + 1, width - block + 1]
    corners = _uniform(places, x.device, generator) < chance
    dropped = functional.max_pool2d(
        functional.pad(corners.to(x.dtype), (block - 1,) * 4), block, stride=1
    )  # (N, C, H, W): 1 in every square
    kept = 1 - dropped
    return x * (kept * (kept.numel() / kept.sum().clamp(min=1)))


def _uniform(shape: list[int], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Draw numbers from 0 to below 1. float32."""
    if generator is None:  # compilers do not know generators, not even none
        return torch.rand(shape, device=device)
    return torch.rand(shape, device=device, generator=generator)


def checked_rate(name: str, rate: float) -> float:
    """Give the rate, which must be at least 0 and below 1.

    Raises:
        InputError: it is not.
    """
    if not 0 <= rate < 1:
        raise InputError(f"{name} must be at least 0 and below 1, not {rate!r}")
    return rate
