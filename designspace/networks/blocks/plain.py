"""Blocks without bottleneck: one or two 3x3 convolutions, with or without a shortcut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from designspace.networks.blocks.kind import BlockKind
from designspace.networks.layers import Layer, conv_norm

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns

CONVS = {"basic": 2, "vanilla": 2, "single": 1, "single_residual": 1}
"""Kind -> number of 3x3 convolutions."""
RESIDUAL = ("basic", "single_residual")
"""Kinds with a shortcut, which is projected where the shape changes."""


def _plain(name: str) -> BlockKind:
    """Return a kind of plain block."""
    return BlockKind(name=name, layers=_layers_of(CONVS[name], residual=name in RESIDUAL), uses=frozenset({"shortcut"}))


def _layers_of(convs: int, *, residual: bool) -> Callable[[BlockColumns], Iterator[Layer]]:
    """Return the function that lists the layers of a kind."""

    def layers(block: BlockColumns) -> Iterator[Layer]:
        in_width = block.in_width
        for _ in range(convs):
            yield from conv_norm(in_width, block.width, block.size, kernel=3)
            in_width = block.width
        if residual and (block.stride > 1 or block.in_width is not block.width):
            yield from conv_norm(block.in_width, block.width * block.changes_shape, block.size)

    return layers


PLAIN = tuple(map(_plain, CONVS))
