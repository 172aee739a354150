"""Regularisers that set parts of feature maps to 0 in training.

They draw from the generator that `set_generator` sets, or else from torch's global random state.
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
    """Base class of layers that drop values at a rate, from 0 to below 1."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__()
        self.rate = check_rate(name, rate)
        self.generator: torch.Generator | None = None
        """Random numbers that decide what is dropped; None for the global random state."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy: without the generator, which cannot be copied and belongs to one training."""
        return {**self.__dict__, "generator": None}

    def extra_repr(self) -> str:
        """Return the rate as text."""
        return f"rate={self.rate:.3g}"


def set_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Make all dropping layers of a module draw from a generator on the module's device; None for the global state.

    The order of the draws is that of the forward pass, so a training that sets a generator of a known state at the
    start of each epoch gives the same results when it is interrupted and resumed. If you capture the forward pass in a
    CUDA graph, register the generator with it (`torch.cuda.CUDAGraph.register_generator_state`).
    """
    for module in model.modules():
        if isinstance(module, _Drop):
            module.generator = generator


@contextlib.contextmanager
def replay_generator(generator: torch.Generator | None, state: Tensor | None) -> Iterator[None]:
    """Rewind a generator to an earlier state within the context, and restore its current state afterwards."""
    if generator is None or state is None:
        yield
        return
    current_state = generator.get_state()
    generator.set_state(state)
    try:
        yield
    finally:
        generator.set_state(current_state)


def find_generator(modules: Iterable[nn.Module]) -> torch.Generator | None:
    """Return the generator from which these modules draw; None if none of them draws or they use the global state."""
    active = (module for module in modules if isinstance(module, _Drop) and module.training and module.rate)
    return next((module.generator for module in active), None)


class Dropout(_Drop):
    """Drop single values: any shape -> the same shape; the other values are divided by 1 - rate."""

    def __init__(self, rate: float) -> None:
        super().__init__("dropout", rate)

    def forward(self, x: Tensor) -> Tensor:
        """Drop values, in training mode only: any shape -> the same shape."""
        if not self.training or not self.rate:
            return x
        return drop_values(x, self.rate, self.generator)


class DropPath(_Drop):
    """Stochastic depth (arXiv 1603.09382): for each image, drop a block's transform with probability ``rate``.

    (N, C, H, W) -> the same shape. The other images are divided by 1 - rate, so that the mean stays the same. In
    evaluation mode, nothing is dropped.
    """

    def __init__(self, rate: float) -> None:
        super().__init__("drop_path", rate)

    def forward(self, x: Tensor) -> Tensor:
        """Drop the feature maps of whole images, in training mode only."""
        if not self.training or not self.rate:
            return x
        return drop_images(x, self.rate, self.generator)


class DropBlock(_Drop):
    """Drop squares of neighbouring pixels, in each channel separately (DropBlock, arXiv 1810.12890, algorithm 1).

    (N, C, H, W) -> the same shape. About a fraction ``rate`` of all pixels is dropped, in squares whose sides have
    ``block`` pixels (3 in the code of ResNeSt's authors), or fewer if the map is smaller; the other pixels are scaled
    up so that the mean stays the same. In evaluation mode, nothing is dropped.

    The rate is constant, and each image has its own squares. (In the code of ResNeSt's authors the rate grows linearly
    from 0 over the epochs, and all images of a batch share their squares.)
    """

    def __init__(self, rate: float, block: int = 3) -> None:
        super().__init__("drop_block", rate)
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Drop squares, in training mode only."""
        if not self.training or not self.rate:
            return x
        return drop_squares(x, self.rate, self.block, self.generator)

    def extra_repr(self) -> str:
        """Return the rate and the size of the squares as text."""
        return f"{super().extra_repr()}, block={self.block}"


# torch.fx records calls of these functions without tracing into them, since they need shapes as numbers.
torch.fx.wrap("drop_values")
torch.fx.wrap("drop_images")
torch.fx.wrap("drop_squares")


def drop_values(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Apply `Dropout` as in training."""
    keep_rate = 1 - rate
    return x * ((_uniform(list(x.shape), x.device, generator) < keep_rate).to(x.dtype) / keep_rate)


def drop_images(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Apply `DropPath` as in training."""
    keep_rate = 1 - rate
    mask = _uniform([x.shape[0], 1, 1, 1], x.device, generator) < keep_rate
    return x * (mask.to(x.dtype) / keep_rate)


def drop_squares(x: Tensor, rate: float, block: int, generator: torch.Generator | None) -> Tensor:
    """Apply `DropBlock` as in training."""
    height, width = x.shape[2], x.shape[3]
    block = min(block, height, width)
    # The probability that a square starts at a pixel, so that about `rate` of all pixels are dropped (equation 1).
    positions = (height - block + 1) * (width - block + 1)
    gamma = rate * height * width / (block**2 * positions)
    shape = [x.shape[0], x.shape[1], height - block + 1, width - block + 1]
    corners = _uniform(shape, x.device, generator) < gamma
    dropped = functional.max_pool2d(
        functional.pad(corners.to(x.dtype), (block - 1,) * 4), block, stride=1
    )  # (N, C, H, W): 1 in every square
    mask = 1 - dropped
    return x * (mask * (mask.numel() / mask.sum().clamp(min=1)))


def _uniform(shape: list[int], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Draw float32 numbers from 0 to below 1."""
    if generator is None:  # compilers do not support the argument, not even as None
        return torch.rand(shape, device=device)
    return torch.rand(shape, device=device, generator=generator)


def check_rate(name: str, rate: float) -> float:
    """Return a rate that is at least 0 and below 1.

    Raises:
        InputError: the rate is out of this range.
    """
    if not 0 <= rate < 1:
        raise InputError(f"{name} must be at least 0 and below 1, not {rate!r}")
    return rate
