"""The bottleneck block ("Designing Network Design Spaces", section 3.2), with split attention (ResNeSt, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from designspace.networks.blocks.kind import SHARED, BlockKind
from designspace.networks.blocks.widths import attention_width, se_width
from designspace.networks.layers import ONE, Column, Layer, conv_norm, linear, scale
from designspace.networks.tape import Map, Size, Tape

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns


def _linear_layers(block: BlockColumns) -> Iterator[Layer]:
    """Yield the layers without those of a shortcut: 1x1, 3x3 or split attention, squeeze-and-excitation, 1x1."""
    networks, stage = block.networks, block.stage
    inner = stage.inner_width
    conv_size = np.where(networks.downsamples_after_conv, block.in_size, block.size)
    yield from conv_norm(block.in_width, inner, block.in_size)
    if networks.radix.any():
        yield from _split_attention_layers(networks.radix, inner, stage.group_width, conv_size)
    else:
        yield from conv_norm(stage.group_width, inner, conv_size, kernel=3)
    if networks.se_ratio:
        squeezed = se_width(block.in_width, networks.se_ratio)
        yield linear(inner, squeezed)
        yield linear(squeezed, inner * (squeezed > 0))
    yield from conv_norm(inner, block.width, block.size)


def _split_attention_layers(radix: Column, inner: Column, group_width: Column, size: Column) -> Iterator[Layer]:
    """Yield a 3x3 convolution into splits, and the layers of split attention, which are empty for radix 0."""
    splits, cardinality = np.maximum(radix, 1), inner // group_width
    hidden = attention_width(inner, radix, cardinality) * (radix > 0)
    yield from conv_norm(group_width // splits, inner * splits, size, kernel=3)
    yield linear(group_width, hidden)
    yield scale(hidden, ONE)
    yield linear(hidden // cardinality, inner * radix)


def _layers(block: BlockColumns) -> Iterator[Layer]:
    """Yield the layers of a block, with the projection of its shortcut where the shape changes."""
    yield from _linear_layers(block)
    if block.stride > 1 or block.in_width is not block.width:
        yield from conv_norm(block.in_width, block.width * block.changes_shape, block.size)


def _maps(tape: Tape, block: BlockColumns) -> Map:
    """Write the maps of a block: transform, shortcut, sum and ReLU."""
    x, size = tape.x, tape.size(block.width, block.size)
    with tape.module(x):
        y = _transform_maps(tape, block)
        return tape.activation(tape.add(y, shortcut_maps(tape, block, size)))


def _linear_maps(tape: Tape, block: BlockColumns) -> Map:
    """Write the maps of a block without the ReLU, whose shortcut is its input, if both have the same shape."""
    with tape.module(tape.x):
        y = _transform_maps(tape, block)
        return y if tape.uniform(block.changes_shape) else tape.add(y, tape.x)


def shortcut_maps(tape: Tape, block: BlockColumns, size: Size) -> Map:
    """Write the maps of a shortcut, which is projected if the shape changes, and return its output of a size."""
    x = tape.x
    if not tape.uniform(block.changes_shape):
        return x
    with tape.module(x):
        if block.networks.shortcut == "avg_pool" and block.stride > 1:
            x = tape.conv(x, tape.size(block.in_width, block.size))
        return tape.conv_norm(x, size, activation="")


def _transform_maps(tape: Tape, block: BlockColumns) -> Map:
    """Write the maps of 1x1, 3x3 or split attention, average pool, squeeze-and-excitation, and 1x1."""
    networks, inner = block.networks, block.stage.inner_width
    pools = block.stride > 1 and networks.downsamples_by_pool
    pools_after = pools and tape.uniform(networks.downsamples_after_conv)
    y = tape.conv_norm(tape.x, tape.size(inner, block.in_size))
    if pools and not pools_after:
        y = tape.conv(y, tape.size(inner, block.size))
    side = block.in_size if pools_after else block.size
    if radix := int(tape.uniform(networks.radix)):
        y = _split_attention_maps(tape, y, radix, block, side)
    else:
        y = tape.conv_norm(y, tape.size(inner, side))
    if pools_after:
        y = tape.conv(y, tape.size(inner, block.size))
    if networks.se_ratio:
        squeezed = se_width(block.in_width, networks.se_ratio)
        if tape.uniform(squeezed > 0):
            y = tape.squeeze_excitation(y, inner, squeezed)
    return tape.conv_norm(y, tape.size(block.width, block.size), activation="")


def _split_attention_maps(tape: Tape, x: Map, radix: int, block: BlockColumns, side: Column) -> Map:
    """Write the maps of split attention: the splits, the weight of each, and their weighted sum, split by split."""
    inner, cardinality = block.stage.inner_width, block.stage.inner_width // block.stage.group_width
    splits = inner * radix
    size, pooled, weights = tape.size(inner, side), tape.size(inner), tape.size(splits)
    hidden = tape.size(attention_width(inner, radix, cardinality))
    with tape.module(x):
        maps = tape.conv_norm(x, tape.size(splits, side))
        summed = tape.new(pooled, tape.new(weights, tape.mean(maps, splits)), gradients=(None,))
        gates = tape.activation(tape.conv(tape.activation(tape.norm(tape.conv(summed, hidden))), weights), "softmax")
        with tape.module(maps), tape.module(summed), tape.module(gates):
            parts, factors = tape.chunks(maps, size, radix), tape.chunks(gates, pooled, radix)
            y = tape.scale(parts[0], factors[0])
            for part, factor in zip(parts[1:], factors[1:], strict=True):
                y = tape.new(
                    size, y, part, factor, saved=(part, factor), gradients=(None, size, size), workspace=(size,)
                )
            return y


BOTTLENECK = BlockKind(name="bottleneck", layers=_layers, maps=_maps, uses=frozenset(SHARED))
BOTTLENECK_LINEAR = BlockKind(
    name="bottleneck_linear", layers=_linear_layers, maps=_linear_maps, uses=frozenset(SHARED)
)
