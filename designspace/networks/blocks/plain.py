"""Blocks without bottleneck: one or two 3x3 convolutions, with or without a shortcut."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from designspace.networks.blocks.bottleneck import shortcut_maps
from designspace.networks.blocks.kind import BlockKind
from designspace.networks.layers import Layer, conv_norm
from designspace.networks.tape import Map, Tape

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns

CONVS = {"basic": 2, "vanilla": 2, "single": 1, "single_residual": 1}
"""Kind -> number of 3x3 convolutions."""
RESIDUAL = ("basic", "single_residual")
"""Kinds with a shortcut, which is projected where the shape changes."""


def _plain(name: str) -> BlockKind:
    """Return a kind of plain block."""
    convs, residual = CONVS[name], name in RESIDUAL
    return BlockKind(
        name=name,
        layers=_layers_of(convs, residual=residual),
        maps=functools.partial(_maps, convs=convs, residual=residual),
        uses=frozenset({"shortcut"}),
    )


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


def _maps(tape: Tape, block: BlockColumns, *, convs: int, residual: bool) -> Map:
    """Write the maps of the convolutions, and those of the shortcut, the sum and the ReLU if there is a shortcut."""
    y, size = tape.x, tape.size(block.width, block.size)
    with tape.module(tape.x):
        for number in range(1, convs + 1):
            y = tape.conv_norm(y, size, activation="" if residual and number == convs else "relu")
        return tape.activation(tape.add(y, shortcut_maps(tape, block, size))) if residual else y


PLAIN = tuple(map(_plain, CONVS))
