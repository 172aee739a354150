"""The bottleneck block ("Designing Network Design Spaces", section 3.2), with split attention (ResNeSt, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from designspace.networks.blocks.kind import SHARED, BlockKind
from designspace.networks.blocks.widths import attention_width, se_width
from designspace.networks.layers import ONE, Column, Layer, conv_norm, linear, scale

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


BOTTLENECK = BlockKind(name="bottleneck", layers=_layers, uses=frozenset(SHARED))
BOTTLENECK_LINEAR = BlockKind(name="bottleneck_linear", layers=_linear_layers, uses=frozenset(SHARED))
