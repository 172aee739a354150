"""Screening of a space without training: the networks that meet limits, and their share of all networks.

TinyNAS (MCUNet, arXiv 2007.10319, section 3.1) chooses among search spaces by the distribution of the flops of the
networks that fit a device: networks of more flops are likelier to have low errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.networks import blocks
from designspace.networks.columns import NetworkColumns
from designspace.networks.layers import Column
from designspace.networks.quantities import COUNTED
from designspace.spaces.constraints import Band
from designspace.spaces.drawing import draw_block, unbuilt_reason
from designspace.spaces.parameters import Columns
from designspace.spaces.sampling import (
    BLOCK_SIZE,
    MAX_DRAWS_WITHOUT_NEW,
    MAX_UNBUILT_DRAWS,
    TRACED_BLOCK_SIZE,
    InfeasibleError,
)
from designspace.spaces.seeds import independent_seed
from designspace.spaces.space import DesignSpace
from designspace.spaces.streams import Streams
from designspace.support.checks import text, whole
from designspace.support.errors import unknown
from designspace.support.text import prefixed

SEARCH_FACTOR = 20
"""Number of networks that are drawn at most to find ``n`` that fit, relative to those drawn for the share."""

Within = Callable[[NetworkColumns, int], NDArray[np.bool_]]
"""Takes networks and the resolution, and returns which of the networks meet a limit."""


def limit_text(limit: Band) -> str:
    """Return what a limit allows as text.

    >>> limit_text(Band("params", 0, 5e6)), limit_text(Band("peak_memory", 1e3, 320e3))
    ('params up to 5.00 M', 'peak_memory from 1.00 kB to 320 kB')
    """
    low, high = (prefixed(end, COUNTED[limit.quantity].unit) for end in (limit.low, limit.high))
    return f"{limit.quantity} from {low} to {high}" if limit.low else f"{limit.quantity} up to {high}"


@dataclass(frozen=True, eq=False)
class Screened:
    """What screening found in one space.

    Networks are independent draws from the space, so a network that is drawn twice counts twice.
    """

    space: DesignSpace
    drawn: int
    """Number of networks drawn to estimate the share that fits."""
    fitting: int
    """Number of these that meet all limits."""
    values: NDArray[np.float64]  # (number of networks that fit,)
    """The requested quantity of the first networks that fit."""
    searched: int
    """Number of networks drawn until there were enough that fit, or the search ended."""


def screen(
    space: DesignSpace,
    limits: Sequence[Band] = (),
    of: str = "flops",
    *,
    within: Within | None = None,
    n: int = 500,
    draws: int = 10_000,
    seed: int = 0,
) -> Screened:
    """Draw networks of a space, and return the share that meets some limits and a quantity of those that do.

    The space's own constraints hold for all networks that are drawn; the limits come on top. If fewer than ``n`` of the
    drawn networks fit, up to `SEARCH_FACTOR` times as many networks are drawn. The result depends on the arguments
    alone.

    Args:
        space: the space, for images of its template's resolution.
        limits: the limits; without any, all networks fit.
        within: a further limit that is checked last, such as a prediction of latency.
        of: the quantity to return, a key of `designspace.networks.quantities.COUNTED`.
        n: number of networks that fit to look for.
        draws: number of networks to draw for the share.
        seed: draws of different spaces with the same seed are independent.

    Raises:
        InputError: a number is out of range, the quantity is unknown, or the user's block cannot be built in any draw.
        InfeasibleError: the space's own constraints leave no network.
    """
    n, draws = whole("n", n, 1), whole("draws", draws, 1)
    if text("of", of) not in COUNTED:
        raise unknown("counted quantity", of, COUNTED)
    streams = _Draws(space, seed)
    values: list[Column] = []
    searched = fitting = found = 0
    while searched < draws or (found < n and searched < SEARCH_FACTOR * draws):
        columns = streams.next()
        if columns is None:
            continue
        # Only as many rows as are needed count, so that the result does not depend on the size of the blocks.
        fits = _meets(space, columns, limits, within)[: SEARCH_FACTOR * draws - searched]
        fitting += int(fits[: max(0, draws - searched)].sum())
        rows = np.flatnonzero(fits)[: n - found]
        if rows.size:
            values.append(_quantity(space, of, {name: column[rows] for name, column in columns.items()}))
        searched += fits.size
        found += rows.size
    flat = np.concatenate(values).astype(np.float64) if values else np.zeros(0)
    return Screened(space, draws, fitting, flat, searched)


class _Draws:
    """The networks of a space, one block of draws after the other."""

    def __init__(self, space: DesignSpace, seed: int) -> None:
        self._space = space
        self._streams = Streams(independent_seed(space, seed))
        self._size = TRACED_BLOCK_SIZE if blocks.get(space.template.block).is_traced else BLOCK_SIZE
        self._rejected: Counter[str] = Counter()
        self._in_vain = 0
        self._has_any = False

    def next(self) -> Columns | None:
        """Return the realised networks of the next block that meet the space's own constraints; None without any."""
        block = draw_block(self._space, self._streams, self._size)
        for index, reason in enumerate(block.reasons, start=1):
            self._rejected[reason] += int((block.outcomes == index).sum())
        if block.rows.size:
            self._in_vain, self._has_any = 0, True
            return block.accepted
        self._in_vain += self._size
        if block.error and not self._has_any and self._rejected[unbuilt_reason(self._space)] >= MAX_UNBUILT_DRAWS:
            raise block.error
        if self._in_vain >= MAX_DRAWS_WITHOUT_NEW:
            raise InfeasibleError(self._space, 1, 0, self._rejected.total(), dict(self._rejected))
        return None


def _meets(space: DesignSpace, columns: Columns, limits: Sequence[Band], within: Within | None) -> NDArray[np.bool_]:
    """Return which networks meet all limits; those that take longer are checked for fewer networks."""
    mask = np.ones(len(columns["d1"]), np.bool_)
    order = list(COUNTED)
    for limit in sorted(limits, key=lambda limit: order.index(limit.quantity)):
        rows = np.flatnonzero(mask)
        if not rows.size:
            break
        part = {name: column[rows] for name, column in columns.items()}
        mask[rows] = limit.allows({limit.quantity: _quantity(space, limit.quantity, part)})
    rows = np.flatnonzero(mask)
    if within is not None and rows.size:
        part = {name: column[rows] for name, column in columns.items()}
        mask[rows] = within(space.network_columns(part), space.template.resolution)
    return mask


def _quantity(space: DesignSpace, name: str, columns: Columns) -> Column:
    """Return a counted quantity of realised networks."""
    return columns[name] if name in columns else space.quantity(name, columns)
