"""The block of ConvNeXt (arXiv 2201.03545, figure 4), and the downsampling before one that changes the shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from designspace.networks.blocks.kind import BlockKind
from designspace.networks.blocks.mbconv import ACTIVATIONS, expanded_width
from designspace.networks.layers import ONE, Layer, conv, scale
from designspace.networks.parameters import Parameter

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


CONVNEXT = BlockKind(
    name="convnext",
    layers=_layers,
    parameters=(
        Parameter(name="activation", default="gelu", choices=ACTIVATIONS, once=True),
        Parameter(name="expansion", default=4.0, low=1 / 64, high=64),
        Parameter(name="kernel_size", default=7, low=1, high=63, is_odd=True),
    ),
)
