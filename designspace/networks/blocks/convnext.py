"""The block of ConvNeXt (arXiv 2201.03545, figure 4), and the downsampling before one that changes the shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from designspace.networks.blocks.kind import BlockKind
from designspace.networks.blocks.mbconv import ACTIVATIONS, expanded_width
from designspace.networks.layers import ONE, Layer, conv, scale
from designspace.networks.parameters import Parameter
from designspace.networks.tape import Map, Tape

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns


def _layers(block: BlockColumns) -> Iterator[Layer]:
    """Yield the layers: downsampling, depthwise k x k, layer norm, an inverted MLP, layer scale."""
    if block.stride > 1 or block.in_width is not block.width:
        changes = block.changes_shape
        yield scale(block.in_width * changes, block.in_size * block.in_size, "layer_norm")
        yield conv(block.in_width, block.width * changes, block.size, kernel=block.stride)
    pixels = block.size * block.size
    hidden = expanded_width(block.width, block["expansion"])
    yield conv(ONE, block.width, block.size, kernel=block["kernel_size"])
    yield scale(block.width, pixels, "layer_norm")
    yield conv(block.width, hidden, block.size)
    yield conv(hidden, block.width, block.size)
    yield scale(block.width, pixels, "scale")


def _maps(tape: Tape, block: BlockColumns) -> Map:
    """Write the maps of a block: downsampling where the shape changes, transform, and sum."""
    size, pixels = tape.size(block.width, block.size), tape.size(ONE, block.size)
    hidden = tape.size(expanded_width(block.width, block["expansion"]), block.size)
    with tape.module(tape.x):
        x = tape.x
        if tape.uniform(block.changes_shape):
            y = tape.layer_norm(x, tape.size(ONE, block.in_size))
            x = tape.patches(y, size, tape.size(block.in_width, block.in_size + block.stride - 1))
        with tape.module(x):
            y = tape.layer_norm(tape.conv(x, size), pixels)
            y = tape.activation(tape.conv(y, hidden), str(tape.uniform(block["activation"])))
            y = tape.conv(y, size)
            y = tape.new(size, y, saved=(y,), gradients=(size,), workspace=(size,))  # the scale, and its own gradient
        return tape.add(x, y)


CONVNEXT = BlockKind(
    name="convnext",
    layers=_layers,
    maps=_maps,
    parameters=(
        Parameter(name="activation", default="gelu", choices=ACTIVATIONS, once=True),
        Parameter(name="expansion", default=4.0, low=1 / 64, high=64),
        Parameter(name="kernel_size", default=7, low=1, high=63, is_odd=True),
    ),
)
