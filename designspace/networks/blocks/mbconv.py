"""MBConv, the block of MobileNetV2 and EfficientNet (arXiv 1801.04381, 1905.11946)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from designspace.networks.blocks.kind import BlockKind
from designspace.networks.layers import ONE, Column, Layer, conv_norm, linear
from designspace.networks.parameters import Parameter
from designspace.networks.tape import Map, Tape

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns

ACTIVATIONS = ("relu", "silu", "gelu", "hardswish")


def expanded_width(in_width: ArrayLike, expansion: ArrayLike) -> Column:
    """Return the channels of the depthwise convolution: in_width * expansion, rounded down, at least 1."""
    width: Column = np.maximum(1, np.floor(np.multiply(in_width, expansion).astype(np.float64) + 1e-9)).astype(np.int64)
    return width


def squeezed_width(in_width: ArrayLike, se_ratio: ArrayLike) -> Column:
    """Return the squeeze width: a fraction of the block's *input* width, rounded down as in pycls; 0 for none."""
    width: Column = np.floor(np.multiply(in_width, se_ratio).astype(np.float64) + 1e-9).astype(np.int64)
    return width


def _layers(block: BlockColumns) -> Iterator[Layer]:
    """Yield the layers: 1x1 where it expands, depthwise k x k, squeeze-and-excitation, 1x1 without activation."""
    expanded = expanded_width(block.in_width, block["expansion"])
    expands = (expanded != block.in_width) * ONE
    yield from conv_norm(block.in_width, expanded * expands, block.in_size)
    yield from conv_norm(ONE, expanded, block.size, kernel=block["kernel_size"])
    if block.networks.se_ratio:
        squeezed = squeezed_width(block.in_width, block["se_ratio"])
        yield linear(expanded, squeezed)
        yield linear(squeezed, expanded * (squeezed > 0))
    yield from conv_norm(expanded, block.width, block.size)


def _maps(tape: Tape, block: BlockColumns) -> Map:
    """Write the maps of a block: transform, and sum where the shape stays the same."""
    x, activation = tape.x, str(tape.uniform(block["activation"]))
    expanded = expanded_width(block.in_width, block["expansion"])
    with tape.module(x):
        y = x
        if tape.uniform(expanded != block.in_width):
            y = tape.conv_norm(y, tape.size(expanded, block.in_size), activation)
        y = tape.conv_norm(y, tape.size(expanded, block.size), activation)
        if block.networks.se_ratio:
            squeezed = squeezed_width(block.in_width, block["se_ratio"])
            if tape.uniform(squeezed > 0):
                y = tape.squeeze_excitation(y, expanded, squeezed, activation)
        y = tape.conv_norm(y, tape.size(block.width, block.size), activation="")
        return y if tape.uniform(block.changes_shape) else tape.add(x, y)


MBCONV = BlockKind(
    name="mbconv",
    layers=_layers,
    maps=_maps,
    parameters=(
        Parameter(name="activation", default="silu", choices=ACTIVATIONS, once=True),
        Parameter(name="expansion", default=6.0, low=1 / 64, high=64),
        Parameter(name="kernel_size", default=3, low=1, high=63, is_odd=True),
    ),
    uses=frozenset({"se_ratio"}),
)
