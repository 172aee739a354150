"""One block of draws from a space: draw, realise, cost, and keep what meets the constraints, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks.blocks import Column
from designspace.networks.complexity import totals
from designspace.networks.regnet import quantized_linear, sift
from designspace.spaces.constraints import QUANTITIES, STAGE_PARAMETERS, Order
from designspace.spaces.parameters import LETTERS, REGNET_COLUMNS, AnyNetAxes, Columns, RegNetAxes, named_axes, realise
from designspace.spaces.streams import Streams

if TYPE_CHECKING:
    from designspace.spaces.space import DesignSpace


class Draw(NamedTuple):
    """What became of a block of draws."""

    accepted: Columns
    rows: NDArray[np.int64]
    """The number within the block of each accepted draw, rising."""
    fate: NDArray[np.int8]
    """For each draw of the block 0 if it was accepted, else 1 + the number of the reason."""
    reasons: list[str]
    """Why draws were rejected, in the order in which the constraints are asked."""


def draw(space: DesignSpace, streams: Streams, count: int) -> Draw:
    """Take the next ``count`` draws from the streams: realise them, cost them, keep what meets the constraints.

    Cheap constraints come first, so that most draws are never costed.
    """
    sieve = _Sieve(count)
    if isinstance(space.axes, RegNetAxes):
        columns = _draw_regnet(space, space.axes, streams, count, sieve)
    else:
        columns = _draw_anynet(space, space.axes, streams, count)
    for name, axis in space.whole_axes().items():
        columns[name] = axis.draw(sieve.take(streams.next(name, count)))
    columns = _realise(space, columns)
    columns = _keep_divisible(space, columns, sieve)
    for limit in space.constraints:
        if not isinstance(limit, Order):
            # Most rows fall to a limit of multiply-adds: the rest is counted for those that are left.
            columns = _cost(space, columns, QUANTITIES[:1] if limit.quantity == QUANTITIES[0] else QUANTITIES)
            columns = sieve.keep(columns, limit.allows(columns), str(limit))
    return Draw(_cost(space, columns, QUANTITIES), sieve.rows, sieve.fate, sieve.reasons)


def _draw_anynet(space: DesignSpace, axes: AnyNetAxes, streams: Streams, count: int) -> Columns:
    """Draw the parameters of each stage; orders are met by construction."""
    orders = {c.parameter: c.order for c in space.constraints if isinstance(c, Order)}
    columns: Columns = {}
    for parameter in STAGE_PARAMETERS:
        axis = named_axes(axes).get(parameter)
        if axis is None:
            continue
        names = [f"{LETTERS[parameter]}{i}" for i in range(1, space.num_stages + 1)]
        order = orders.get(parameter)
        if order == "shared":
            columns.update(dict.fromkeys(names, axis.draw(streams.next(names[0], count))))
            continue
        words = [streams.next(name, count) for name in names]
        drawn = [axis.draw(column) for column in words] if order is None else axis.draw_non_decreasing(words)
        columns.update(zip(names if order != "non_increasing" else reversed(names), drawn, strict=True))
    return columns


def _draw_regnet(space: DesignSpace, axes: RegNetAxes, streams: Streams, count: int, sieve: _Sieve) -> Columns:
    """Draw the six parameters and quantise; only networks with the asked number of stages and levels stay."""
    given, stages = named_axes(axes), space.num_stages
    # Every column starts as its words, which are looked up for the rows alone that are still in.
    columns: Columns = {name: streams.next(name, count) for name in given}
    columns["depth"] = given["depth"].draw(columns["depth"])
    columns = sieve.keep(columns, columns["depth"] >= stages, f"not {stages} stages")
    columns.update({name: given[name].draw(columns[name]) for name in REGNET_COLUMNS[1:] if name in given})
    if axes.w_a is None:
        columns["w_a"] = columns["w_0"].astype(np.float64)
    other, columns["skips"] = sift(stages, *(columns[name] for name in REGNET_COLUMNS))
    columns = sieve.keep(columns, ~other, f"not {stages} stages")
    columns = sieve.keep(columns, ~columns["skips"], "a width level is skipped")
    del columns["skips"]
    columns.update({name: axis.draw(columns[name]) for name, axis in given.items() if name not in REGNET_COLUMNS})
    quantized = quantized_linear(*(columns[name] for name in REGNET_COLUMNS))
    for i in range(1, stages + 1):
        inside = i <= quantized.depths.shape[1]
        columns[f"d{i}"] = quantized.depths[:, i - 1] if inside else np.zeros_like(quantized.num_stages)
        columns[f"w{i}"] = quantized.widths[:, i - 1] if inside else np.zeros_like(quantized.num_stages)
        for parameter in STAGE_PARAMETERS[2:]:
            if parameter in columns:
                columns[f"{LETTERS[parameter]}{i}"] = columns[parameter]
    for parameter in STAGE_PARAMETERS[2:]:
        columns.pop(parameter, None)
    columns["levels"] = quantized.num_levels
    columns = sieve.keep(columns, quantized.num_stages == stages, f"not {stages} stages")
    columns = sieve.keep(columns, columns["levels"] == stages, "a width level is skipped")
    del columns["levels"]
    return columns


def _realise(space: DesignSpace, columns: Columns) -> Columns:
    """Make widths and group widths of each stage compatible."""
    letter = LETTERS["group_width" if space.axes.group_width else "cardinality"]
    for i in range(1, space.num_stages + 1):
        groups = columns.pop(f"{letter}{i}")
        drawn = columns[f"w{i}"], columns[f"b{i}"], groups
        columns[f"w{i}"], columns[f"g{i}"] = realise(space.axes, *drawn, columns["radix"])
    return columns


def _cost(space: DesignSpace, columns: Columns, quantities: Sequence[str]) -> Columns:
    """Return the columns with those of the named costs."""
    missing = [quantity for quantity in quantities if quantity not in columns]
    return columns | totals(space.network_columns(columns), space.template.resolution, missing)


def _keep_divisible(space: DesignSpace, columns: Columns, sieve: _Sieve) -> Columns:
    """Keep what can be split: radix r needs a group width divisible by r."""
    splits = np.maximum(columns["radix"], 1)
    if np.all(splits == 1):
        return columns
    mask = np.ones(len(splits), bool)
    for i in range(1, space.num_stages + 1):
        mask &= columns[f"g{i}"] % splits == 0
    return sieve.keep(columns, mask, "radix does not divide a group width")


class _Sieve:
    """Which of a block's draws are still in, and why the others fell."""

    def __init__(self, count: int) -> None:
        self.rows: NDArray[np.int64] = np.arange(count)
        self.fate = np.zeros(count, np.int8)
        self.reasons: list[str] = []

    def keep(self, columns: Columns, mask: NDArray[np.bool_], reason: str) -> Columns:
        """Keep the rows of the mask and note the reason for the others."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        self.fate[self.rows[~mask]] = 1 + self.reasons.index(reason)
        kept = np.flatnonzero(mask)
        self.rows = self.rows[kept]
        return {name: column[kept] for name, column in columns.items()}

    def take(self, column: Column) -> Column:
        """The entries of a column of the whole block that are still in."""
        return column[self.rows]
