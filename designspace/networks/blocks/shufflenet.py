"""The unit of ShuffleNetV2 (arXiv 1807.11164, figure 3 c and d)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from designspace.networks.blocks.kind import BlockKind
from designspace.networks.layers import ONE, Layer, conv_norm
from designspace.networks.parameters import Parameter
from designspace.networks.tape import Map, Tape

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns


def _layers(block: BlockColumns) -> Iterator[Layer]:
    """Yield the layers of the branch that transforms, and of the other branch where the shape changes.

    Each branch gives half of the channels. If the shape stays the same, one half of the channels passes unchanged.
    """
    half, changes, kernel = block.width // 2, block.changes_shape, block["kernel_size"]
    if block.stride > 1 or block.in_width is not block.width:
        yield from conv_norm(ONE, block.in_width * changes, block.size, kernel=kernel)
        yield from conv_norm(block.in_width, half * changes, block.size)
    yield from conv_norm(np.where(changes, block.in_width, half), half, block.in_size)
    yield from conv_norm(ONE, half, block.size, kernel=kernel)
    yield from conv_norm(half, half, block.size)


def _maps(tape: Tape, block: BlockColumns) -> Map:
    """Write the maps of both branches, and those of their channels side by side and shuffled."""
    x, half = tape.x, block.width // 2
    before, after = tape.size(half, block.in_size), tape.size(half, block.size)
    size = tape.size(block.width, block.size)
    with tape.module(x):
        if tape.uniform(block.changes_shape):
            with tape.module(x):
                y = tape.conv_norm(x, tape.size(block.in_width, block.size), activation="")
                first, second = tape.conv_norm(y, after), x
        else:
            first, second = tape.chunks(x, after, 2)
        y = tape.conv_norm(tape.conv_norm(second, before), after, activation="")
        y = tape.concatenate(first, tape.conv_norm(y, after), size)
        with tape.module(first):
            return tape.new(size, y)


SHUFFLENET = BlockKind(
    name="shufflenet",
    layers=_layers,
    maps=_maps,
    parameters=(Parameter(name="kernel_size", default=3, low=1, high=63, is_odd=True),),
    width_multiple=2,
)
