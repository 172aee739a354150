"""Any counted quantity of networks as columns."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from designspace.networks.columns import NetworkColumns
from designspace.networks.complexity import totals
from designspace.networks.layers import Column
from designspace.networks.memory import MEMORY
from designspace.networks.quantities import COUNTED
from designspace.support.errors import unknown


def count(networks: NetworkColumns, resolution: int, quantities: Iterable[str]) -> dict[str, Column]:
    """Count quantities of networks for square images of ``resolution`` pixels.

    Args:
        networks: the networks.
        resolution: side of the images, in pixels.
        quantities: keys of `COUNTED`; counting fewer takes less time.

    Returns:
        Columns by name, each of shape (n,), or (1,) if all networks have the same value.

    Raises:
        InputError: a quantity is unknown, or ``resolution`` is not a positive number of pixels.
    """
    names = list(quantities)
    for name in names:
        if name not in COUNTED:
            raise unknown("counted quantity", name, COUNTED)
    if not networks.stages[0].width.size:  # an empty population
        return {name: np.zeros(0, np.int64) for name in names}
    sums = totals(networks, resolution, [name for name in names if name not in MEMORY])
    return {name: MEMORY[name](networks, resolution) if name in MEMORY else sums[name] for name in names}
