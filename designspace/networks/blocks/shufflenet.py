"""The unit of ShuffleNetV2 (arXiv 1807.11164, figure 3 c and d)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from designspace.networks.blocks.kind import BlockKind
from designspace.networks.layers import ONE, Layer, conv_norm
from designspace.networks.parameters import Parameter

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


SHUFFLENET = BlockKind(
    name="shufflenet",
    layers=_layers,
    parameters=(Parameter(name="kernel_size", default=3, low=1, high=63, is_odd=True),),
    width_multiple=2,
)
