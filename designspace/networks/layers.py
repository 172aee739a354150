"""Layers of networks, as `designspace.models` builds them and `designspace.networks.complexity` counts them.

Networks are given as columns: one network as columns of length 1, a population as columns with one entry per network.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from designspace.networks.blocks import (
    PLAIN_CONVS,
    PROJECTING,
    STEM_STRIDES,
    Column,
    attention_width,
    inner_width,
    se_width,
)
from designspace.networks.network import Network


@dataclass(frozen=True)
class StageColumns:
    """One stage of all networks, as columns (see `Stage`)."""

    depth: Column
    width: Column
    stride: int
    bottleneck_ratio: Column
    group_width: Column

    @functools.cached_property
    def inner_width(self) -> Column:
        """Channels of the block's 3x3 convolution: width / b."""
        return inner_width(self.width, self.bottleneck_ratio)


@dataclass(frozen=True, slots=True)
class NetworkColumns:
    """Networks that differ in numbers only, as columns (see `Network`)."""

    stem: str
    stem_width: Column
    stages: tuple[StageColumns, ...]
    block: str
    se_ratio: float
    radix: Column
    downsamples_after_conv: Column
    """Whether an average pool after the 3x3 convolution applies the stride."""
    head_width: Column
    num_classes: Column
    in_channels: Column

    @staticmethod
    def of(network: Network, dtype: DTypeLike = object) -> NetworkColumns:
        """Return a single network as columns of length 1, by default of Python integers, which do not overflow."""

        def column(value: int) -> Column:
            return np.array([value], dtype)

        return NetworkColumns(
            stem=network.stem.kind,
            stem_width=column(network.stem.width),
            stages=tuple(
                StageColumns(
                    depth=column(stage.depth),
                    width=column(stage.width),
                    stride=stage.stride,
                    bottleneck_ratio=np.array([stage.bottleneck_ratio], np.float64),
                    group_width=column(stage.group_width),
                )
                for stage in network.stages
            ),
            block=network.block,
            se_ratio=network.se_ratio,
            radix=column(network.radix),
            downsamples_after_conv=column(network.downsamples_after_conv),
            head_width=column(network.head_width),
            num_classes=column(network.num_classes),
            in_channels=column(network.in_channels),
        )


class Layer(NamedTuple):
    """A layer with learned weights, or the stem's max pool (which the activation count includes)."""

    kind: str
    """``conv`` (a linear layer is a 1x1 convolution of a 1x1 map), ``batch_norm`` or ``max_pool``."""
    inputs: Column
    """Weights per output channel and kernel position: one per input channel of its group, and one for a bias."""
    out_width: Column
    """Channels of the output; 0 for a network without this layer."""
    pixels: Column
    """Height times width of the output."""
    kernel: int = 1


ONE: Column = np.ones(1, np.int64)
"""The number 1 as a column."""


class Part(NamedTuple):
    """Consecutive layers, and the number of times a network repeats them."""

    layers: list[Layer]
    repeats: Column = ONE


def network_parts(networks: NetworkColumns, resolution: int) -> Iterator[Part]:
    """Yield every layer with weights, and the stem's max pool, for square images of ``resolution`` pixels.

    The first block of a stage changes the shape. The other blocks keep it and are yielded once, with their number.
    """
    in_width, in_size = networks.stem_width, np.full_like(networks.in_channels, resolution)
    yield Part([*_stem_layers(networks, in_size)])
    in_size = _strided(in_size, STEM_STRIDES[networks.stem])
    for stage in networks.stages:
        size = _strided(in_size, stage.stride)
        yield Part([*_block_layers(networks, stage, in_width, in_size, size)])
        if networks.block in PROJECTING:
            yield Part([*_conv_norm(in_width, stage.width, size)], ONE if stage.stride > 1 else in_width != stage.width)
        yield Part([*_block_layers(networks, stage, stage.width, size, size)], stage.depth - 1)
        in_width, in_size = stage.width, size
    yield Part([*_head_layers(networks, in_width, in_size)])


def _stem_layers(networks: NetworkColumns, in_size: Column) -> Iterator[Layer]:
    """Yield the layers before the first stage."""
    channels, width, half = networks.in_channels, networks.stem_width, _strided(in_size, 2)
    if networks.stem == "imagenet":
        yield from _conv_norm(channels, width, half, kernel=3)
    elif networks.stem == "cifar":
        yield from _conv_norm(channels, width, in_size, kernel=3)
    elif networks.stem == "resnet":
        yield from _conv_norm(channels, width, half, kernel=7)
        yield _max_pool(width, _strided(half, 2))
    else:
        yield from _conv_norm(channels, width // 2, half, kernel=3)
        yield from _conv_norm(width // 2, width // 2, half, kernel=3)
        yield from _conv_norm(width // 2, width, half, kernel=3)
        yield _max_pool(width, _strided(half, 2))


def _block_layers(
    networks: NetworkColumns, stage: StageColumns, in_width: Column, in_size: Column, size: Column
) -> Iterator[Layer]:
    """Yield the layers of a block without its shortcut: plain 3x3, or 1x1, 3x3, squeeze-and-excitation, 1x1."""
    if networks.block in PLAIN_CONVS:
        yield from _conv_norm(in_width, stage.width, size, kernel=3)
        if PLAIN_CONVS[networks.block] == 2:
            yield from _conv_norm(stage.width, stage.width, size, kernel=3)
        return
    width, inner, group_width = stage.width, stage.inner_width, stage.group_width
    conv_size = np.where(networks.downsamples_after_conv, in_size, size)
    yield from _conv_norm(in_width, inner, in_size)
    if networks.radix.any():
        yield from _split_attention_layers(networks.radix, inner, group_width, conv_size)
    else:
        yield from _conv_norm(group_width, inner, conv_size, kernel=3)
    if networks.se_ratio:
        squeeze = se_width(in_width, networks.se_ratio)
        yield _linear(inner, squeeze)
        yield _linear(squeeze, inner * (squeeze > 0))
    yield from _conv_norm(inner, width, size)


def _split_attention_layers(radix: Column, inner: Column, group_width: Column, size: Column) -> Iterator[Layer]:
    """Yield a 3x3 convolution into splits, and the layers of split attention, which are empty for radix 0."""
    splits, cardinality = np.maximum(radix, 1), inner // group_width
    hidden = attention_width(inner, radix, cardinality) * (radix > 0)
    yield from _conv_norm(group_width // splits, inner * splits, size, kernel=3)
    yield _linear(group_width, hidden)
    yield _norm(hidden, ONE)
    yield _linear(hidden // cardinality, inner * radix)


def _head_layers(networks: NetworkColumns, in_width: Column, size: Column) -> Iterator[Layer]:
    """Yield the optional 1x1 convolution, and the classifier of the pooled map."""
    if networks.head_width.any():
        yield from _conv_norm(in_width, networks.head_width, size)
        in_width = networks.head_width
    yield _linear(in_width, networks.num_classes)


def _conv_norm(inputs: Column, out_width: Column, size: Column, *, kernel: int = 1) -> Iterator[Layer]:
    """Yield a convolution without bias, whose groups have ``inputs`` input channels, and its batch-norm."""
    pixels = size * size
    yield Layer("conv", inputs, out_width, pixels, kernel)
    yield _norm(out_width, pixels)


def _norm(width: Column, pixels: Column) -> Layer:
    """Return a batch-norm, with a scale and a shift per channel."""
    return Layer("batch_norm", 2 * ONE, width, pixels)


def _max_pool(width: Column, size: Column) -> Layer:
    """Return a 3x3 max pool, which has no weights."""
    return Layer("max_pool", 0 * ONE, width, size * size, kernel=3)


def _linear(in_width: Column, out_width: Column) -> Layer:
    """Return a linear layer with bias: a 1x1 convolution of a 1x1 map."""
    return Layer("conv", in_width + 1, out_width, ONE)


def _strided(size: Column, stride: int) -> Column:
    """Return the side of a padded layer's output, in pixels: size / stride, rounded up."""
    column: Column = -(-size // stride)
    return column
