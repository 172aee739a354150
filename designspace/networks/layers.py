"""Layers as columns: what `designspace.networks.complexity` counts.

A block, stem or head lists its layers once, for all networks of a population: numbers that differ from network to
network are columns with one entry per network, others are columns of length 1, which cost no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
"""Numbers, one per network or a single one that all networks share. Shape (n,) or (1,)."""


class Layer(NamedTuple):
    """A layer with learned weights, or a max pool of the stem (which the activation count includes)."""

    kind: str
    """``conv`` (a linear layer is a 1x1 convolution of a 1x1 map), ``max_pool``, or a kind of `SCALES`."""
    inputs: Column
    """Weights per output channel and kernel position: one per input channel of its group. A bias of a 1x1 convolution
    counts as one more."""
    out_width: Column
    """Channels of the output; 0 for a network without this layer."""
    pixels: Column
    """Height times width of the output."""
    kernel: int | Column = 1
    """Side of the kernel, in pixels."""
    bias: int = 0
    """1 for a bias that ``inputs`` does not count."""


SCALES = ("batch_norm", "layer_norm", "scale")
"""Kinds of layers that only scale and shift channels; ``scale`` has one weight per channel, the norms have two."""

ONE: Column = np.ones(1, np.int64)
"""The number 1 as a column."""


class Part(NamedTuple):
    """Consecutive layers, and the number of times a network repeats them."""

    layers: list[Layer]
    repeats: Column = ONE


def conv_norm(
    inputs: Column, out_width: Column, size: Column, *, kernel: int | Column = 1, norm: str = "batch_norm"
) -> Iterator[Layer]:
    """Yield a convolution without bias, whose groups have ``inputs`` input channels, and its norm."""
    pixels = size * size
    yield Layer("conv", inputs, out_width, pixels, kernel)
    yield scale(out_width, pixels, norm)


def conv(inputs: Column, out_width: Column, size: Column, *, kernel: int | Column = 1) -> Layer:
    """Return a convolution with bias, whose groups have ``inputs`` input channels."""
    return Layer("conv", inputs, out_width, size * size, kernel, bias=1)


def scale(width: Column, pixels: Column, kind: str = "batch_norm") -> Layer:
    """Return a norm, with a scale and a shift per channel, or a layer with only a scale."""
    return Layer(kind, (1 if kind == "scale" else 2) * ONE, width, pixels)


def linear(in_width: Column, out_width: Column) -> Layer:
    """Return a linear layer with bias: a 1x1 convolution of a 1x1 map."""
    return Layer("conv", in_width + 1, out_width, ONE)


def max_pool(width: Column, size: Column) -> Layer:
    """Return a 3x3 max pool, which has no weights."""
    return Layer("max_pool", 0 * ONE, width, size * size, kernel=3)


def strided(size: Column, stride: int) -> Column:
    """Return the side of a padded layer's output, in pixels: size / stride, rounded up."""
    column: Column = -(-size // stride)
    return column
