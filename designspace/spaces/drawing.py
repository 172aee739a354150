"""Drawing of one block from a space: draw, realise, cost, and keep what meets the constraints, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks.blocks import BLOCKS
from designspace.networks.counting import count
from designspace.networks.layers import Column
from designspace.networks.memory import MEMORY
from designspace.networks.quantities import COUNTED
from designspace.networks.regnet import quantized_linear, sift
from designspace.networks.user_class import CannotBuildError
from designspace.spaces.constraints import QUANTITIES, Limit, Order, StageRange
from designspace.spaces.estimates import Estimator
from designspace.spaces.parameters import (
    LETTERS,
    REGNET_COLUMNS,
    AnyNetAxes,
    Columns,
    RegNetAxes,
    column_prefix,
    named_axes,
    realise,
)
from designspace.spaces.streams import Streams

if TYPE_CHECKING:
    from designspace.spaces.space import DesignSpace


class DrawnBlock(NamedTuple):
    """Accepted draws of a block, and the reasons for rejecting the others."""

    accepted: Columns
    rows: NDArray[np.int64]
    """Index within the block of each accepted draw, ascending."""
    outcomes: NDArray[np.int8]
    """0 for each accepted draw of the block, 1 + the index of the reason for each rejected one."""
    reasons: list[str]
    """Reasons for rejection, in the order in which constraints are checked."""
    error: CannotBuildError | None
    """Error of the last draws whose modules cannot be built; None if there are no such draws."""


def draw_block(space: DesignSpace, streams: Streams, count: int, estimator: Estimator | None = None) -> DrawnBlock:
    """Take the next ``count`` draws from the streams, realise and cost them, and keep what meets the constraints.

    Cheap constraints are checked first, so that most draws are never costed. Those that an ``estimator`` finds far from
    a limit are not costed either.
    """
    sieve = _Sieve(count)
    if isinstance(space.axes, RegNetAxes):
        columns = _draw_regnet(space, space.axes, streams, count, sieve)
    else:
        columns = _keep_in_ranges(space, _draw_anynet(space, space.axes, streams, count), sieve)
    for name, axis in space.network_axes().items():
        columns[name] = axis.draw(sieve.take(streams.next(name, count)))
    columns = _realise(space, columns)
    columns = _keep_divisible(space, columns, sieve)
    limits = [constraint for constraint in space.constraints if isinstance(constraint, Limit)]
    for limit in sorted(limits, key=lambda limit: limit.quantity in MEMORY):
        if estimator is not None:
            columns = sieve.keep(columns, estimator.may_allow(limit, columns), str(limit))
        # A limit on multiply-adds rejects most rows, so the other quantities are counted for the remaining ones.
        quantities = QUANTITIES[:1] if limit.quantity == QUANTITIES[0] else [*QUANTITIES, limit.quantity]
        columns = _cost(space, columns, quantities, sieve)
        columns = sieve.keep(columns, limit.allows(columns), str(limit))
    columns = _cost(space, columns, QUANTITIES, sieve)
    for quantity in COUNTED.keys() - set(QUANTITIES):
        columns.pop(quantity, None)
    return DrawnBlock(columns, sieve.rows, sieve.outcomes, sieve.reasons, sieve.error)


def _draw_anynet(space: DesignSpace, axes: AnyNetAxes, streams: Streams, count: int) -> Columns:
    """Draw the parameters of each stage; they meet the order constraints by construction."""
    orders = {c.parameter: c.order for c in space.constraints if isinstance(c, Order)}
    columns: Columns = {}
    for parameter, axis in named_axes(axes).items():
        names = _names(parameter, space.num_stages)
        order = orders.get(parameter)
        if order == "shared":
            columns.update(dict.fromkeys(names, axis.draw(streams.next(names[0], count))))
            continue
        words = [streams.next(name, count) for name in names]
        drawn = [axis.draw(column) for column in words] if order is None else axis.draw_non_decreasing(words)
        columns.update(zip(names if order != "non_increasing" else reversed(names), drawn, strict=True))
    return columns


def _keep_in_ranges(space: DesignSpace, columns: Columns, sieve: _Sieve) -> Columns:
    """Keep draws whose values are in the ranges of their stages."""
    for limit in space.constraints:
        if isinstance(limit, StageRange):
            drawn = columns[f"{column_prefix(limit.parameter)}{limit.stage}"]
            columns = sieve.keep(columns, limit.allows_value(drawn), str(limit))
    return columns


def _draw_regnet(space: DesignSpace, axes: RegNetAxes, streams: Streams, count: int, sieve: _Sieve) -> Columns:
    """Draw the six parameters and quantise; keep networks with the space's number of stages and no skipped level."""
    drawn_axes, stages = named_axes(axes), space.num_stages
    other, skipped = f"not {stages} stages", "a width level is skipped"
    words = {name: streams.next(name, count) for name in drawn_axes}
    depth = axes.depth.draw(words["depth"])
    line = sieve.keep({"depth": depth}, depth >= stages, other)
    # Values are looked up for the remaining rows only.
    line |= {name: drawn_axes[name].draw(sieve.take(words[name])) for name in REGNET_COLUMNS[1:] if name in drawn_axes}
    if axes.w_a is None:
        line["w_a"] = line["w_0"].astype(np.float64)
    is_other, skips = sift(stages, *(line[name] for name in REGNET_COLUMNS))
    line = sieve.keep(line, ~is_other, other)
    line = sieve.keep(line, ~skips[~is_other], skipped)
    quantized = quantized_linear(*(line[name] for name in REGNET_COLUMNS))
    is_exact = quantized.num_stages == stages
    columns = sieve.keep(line, is_exact, other)
    for letter, values in (("d", quantized.depths), ("w", quantized.widths)):
        of_stages = values[is_exact, :stages].reshape(-1, stages)  # narrower only if no rows are left
        columns |= {f"{letter}{i}": of_stages[:, i - 1] for i in range(1, stages + 1)}
    columns = sieve.keep(columns, quantized.num_levels[is_exact] == stages, skipped)
    for name, axis in drawn_axes.items():
        if name not in REGNET_COLUMNS:
            columns |= dict.fromkeys(_names(name, stages), axis.draw(sieve.take(words[name])))
    return columns


def _names(parameter: str, stages: int) -> list[str]:
    """Return the names of a parameter's columns, one per stage."""
    return [f"{column_prefix(parameter)}{i}" for i in range(1, stages + 1)]


def _realise(space: DesignSpace, columns: Columns) -> Columns:
    """Make the widths and group widths of each stage compatible."""
    letter = LETTERS["group_width" if space.axes.group_width else "cardinality"]
    for i in range(1, space.num_stages + 1):
        groups = columns.pop(f"{letter}{i}")
        drawn = columns[f"w{i}"], columns[f"b{i}"], groups
        columns[f"w{i}"], columns[f"g{i}"] = realise(space.axes, *drawn, columns["radix"])
    return columns


def _cost(space: DesignSpace, columns: Columns, quantities: Sequence[str], sieve: _Sieve) -> Columns:
    """Return the columns together with those of the named costs; drop networks whose modules cannot be built."""
    missing = [quantity for quantity in dict.fromkeys(quantities) if quantity not in columns]
    while True:
        try:
            return columns | count(space.network_columns(columns), space.template.resolution, missing)
        except CannotBuildError as error:
            sieve.error = error
            rows = np.broadcast_to(error.rows, len(columns["d1"]))
            columns = sieve.keep(columns, ~rows, unbuilt_reason(space))


def unbuilt_reason(space: DesignSpace) -> str:
    """Return the reason for rejecting draws of which a custom module cannot be built."""
    return f"{', '.join(space.imported_names)} cannot be built"


def _keep_divisible(space: DesignSpace, columns: Columns, sieve: _Sieve) -> Columns:
    """Keep networks whose widths the block can have, and whose group widths split attention can split.

    Radix r needs group widths divisible by r.
    """
    multiple = BLOCKS[space.template.block].width_multiple if space.template.block in BLOCKS else 1
    if multiple > 1:
        widths = [columns[f"w{i}"] % multiple == 0 for i in range(1, space.num_stages + 1)]
        columns = sieve.keep(columns, np.logical_and.reduce(widths), f"a width is not a multiple of {multiple}")
    splits = np.maximum(columns["radix"], 1)
    if np.all(splits == 1):
        return columns
    mask = np.ones(len(splits), bool)
    for i in range(1, space.num_stages + 1):
        mask &= columns[f"g{i}"] % splits == 0
    return sieve.keep(columns, mask, "radix does not divide a group width")


class _Sieve:
    """Record of which draws of a block remain, and why the others were rejected."""

    def __init__(self, count: int) -> None:
        self.rows: NDArray[np.int64] = np.arange(count)
        self.outcomes = np.zeros(count, np.int8)
        self.reasons: list[str] = []
        self.error: CannotBuildError | None = None

    def keep(self, columns: Columns, mask: NDArray[np.bool_], reason: str) -> Columns:
        """Keep the rows where the mask is true, and record the reason for rejecting the others."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        self.outcomes[self.rows[~mask]] = 1 + self.reasons.index(reason)
        accepted = np.flatnonzero(mask)
        self.rows = self.rows[accepted]
        return {name: column[accepted] for name, column in columns.items()}

    def take(self, column: Column) -> Column:
        """Return the entries of a column of the whole block that belong to the remaining draws."""
        return column[self.rows]
