"""A design space: axes, constraints, and what all its networks share. A value: it holds no random state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks.blocks import PLAIN_CONVS, Int
from designspace.networks.complexity import (
    Column,
    Complexity,
    StageColumns,
    totals,
)
from designspace.networks.network import Network, Stage, Stem
from designspace.networks.regnet import quantized_linear, sift
from designspace.spaces import constraints as constraints_
from designspace.spaces.axes import Axis, choice
from designspace.spaces.constraints import QUANTITIES, STAGE_PARAMETERS, Constraint, Order
from designspace.spaces.parameters import LETTERS, REGNET_COLUMNS, WHOLE, AnyNetAxes, RegNetAxes, named_axes, realise
from designspace.spaces.streams import Streams
from designspace.spaces.template import Template
from designspace.support.errors import InputError, unknown

if TYPE_CHECKING:
    from designspace.spaces.membership import Membership
    from designspace.spaces.population import Population

Columns = dict[str, Column]
"""Column name -> one entry for each network. Stage parameters are d1..dk, w1..wk, b1..bk, g1..gk."""


class Draw(NamedTuple):
    """What became of a block of draws."""

    accepted: Columns
    rows: NDArray[np.int64]
    """The number within the block of each accepted draw, rising."""
    fate: NDArray[np.int8]
    """For each draw of the block 0 if it was accepted, else 1 + the number of the reason."""
    reasons: list[str]
    """Why draws were rejected, in the order in which the constraints are asked."""


@dataclass(frozen=True)
class DesignSpace:
    """A set of networks and a distribution over it: independent axes, conditioned on constraints.

    `refine` gives a smaller space; every network of the child is in its parent.

    Raises:
        InputError: a constraint does not fit the axes.
    """

    name: str
    axes: AnyNetAxes | RegNetAxes
    template: Template = dataclasses.field(default_factory=Template)
    radix: Axis = dataclasses.field(default_factory=lambda: choice([0]))
    """Radix of split attention, one for the whole network."""
    stem_width: Axis | None = None
    """Width of the stem; None for the template's."""
    avd_first: Axis | None = None
    """Whether avd's average pool stands before the 3x3 convolution (1) or after it (0); None for the template's."""
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        orders = [c for c in self.constraints if isinstance(c, Order)]
        if orders and isinstance(self.axes, RegNetAxes):
            raise InputError(f"{self.name}: a RegNet's stages follow from its line; {orders[0].order} does not apply")
        for order in orders:
            if order.parameter not in named_axes(self.axes):
                raise InputError(f"{self.name}: {order.order} {order.parameter}, but the space has no such axis")
            if sum(order.parameter == other.parameter for other in orders) > 1:
                raise InputError(f"{self.name}: more than one order is given for {order.parameter}")
        if self.template.block in PLAIN_CONVS and not _is_plain(self):
            raise InputError(
                f"{self.name}: a {self.template.block} block needs bottleneck_ratio 1, cardinality 1 and radix 0 only"
            )
        if self.avd_first is not None and not set(self.avd_first.values.tolist()) <= {0, 1}:
            raise InputError(f"{self.name}: avd_first is 0 or 1, not {self.avd_first.values.tolist()}")

    @property
    def num_stages(self) -> int:
        """Stages of every network."""
        return len(self.template.strides)

    def refine(self, *constraints: Constraint, name: str | None = None) -> DesignSpace:
        """This space conditioned on further constraints.

        A narrower order of the same parameter (shared after rising) takes the wider one's place.
        """
        parameters = {c.parameter for c in constraints if isinstance(c, Order) and c.order == "shared"}
        kept = [c for c in self.constraints if not (isinstance(c, Order) and c.parameter in parameters)]
        return dataclasses.replace(self, name=name or self.name, constraints=(*kept, *constraints))

    def sample(self, n: int, seed: int = 0) -> Population:
        """Draw n distinct networks; see `designspace.spaces.sampling.sample`."""
        from designspace.spaces.sampling import sample  # a population knows its space, so the import goes that way

        return sample(self, n, seed)

    def contains(self, network: Network) -> Membership:
        """Whether any draw gives this network: true, or false with the reasons; see `designspace.spaces.membership`."""
        from designspace.spaces.membership import contains

        return contains(self, network)

    def draw(self, streams: Streams, count: int) -> Draw:
        """Take the next ``count`` draws from the streams: realise them, cost them, keep what meets the constraints.

        Cheap constraints come first, so that most draws are never costed.
        """
        sieve = _Sieve(count)
        if isinstance(self.axes, RegNetAxes):
            columns = self._draw_regnet(self.axes, streams, count, sieve)
        else:
            columns = self._draw_anynet(self.axes, streams, count)
        for name, axis in self.whole_axes().items():
            columns[name] = sieve.take(axis.draw(streams.next(name, count)))
        columns = self._realise(columns)
        columns = self._keep_divisible(columns, sieve)
        for limit in self.constraints:
            if not isinstance(limit, Order):
                # Most rows fall to a limit of multiply-adds: the rest is counted for those that are left.
                self._count(columns, QUANTITIES[:1] if limit.quantity == QUANTITIES[0] else QUANTITIES)
                columns = sieve.keep(columns, limit.allows(columns), str(limit))
        self._count(columns, QUANTITIES)
        return Draw(columns, sieve.rows, sieve.fate, sieve.reasons)

    def complexity(self, columns: Mapping[str, Column]) -> Complexity:
        """Cost realised columns at the template's resolution: three int64 columns."""
        counted = dict(columns)
        self._count(counted, QUANTITIES)
        return Complexity(*(counted[quantity] for quantity in QUANTITIES))

    def _count(self, columns: Columns, quantities: Sequence[str]) -> None:
        """Add the named costs of realised columns to them, those that are not there yet: an int64 column each."""
        stages = tuple(
            StageColumns(columns[f"d{i}"], columns[f"w{i}"], stride, columns[f"b{i}"], columns[f"g{i}"])
            for i, stride in enumerate(self.template.strides, start=1)
        )
        whole = {name: _one_or_column(columns[name]) for name in self.whole_axes()}
        counted = totals(
            self.template.columns(stages, **whole),
            self.template.resolution,
            [q for q in quantities if q not in columns],
        )
        columns.update({quantity: np.asarray(value, np.int64) for quantity, value in counted.items()})

    def network(self, row: Mapping[str, Any]) -> Network:
        """The network of one row of realised columns."""
        stages = tuple(
            Stage(int(row[f"d{i}"]), int(row[f"w{i}"]), stride, _plain(row[f"b{i}"]), int(row[f"g{i}"]))
            for i, stride in enumerate(self.template.strides, start=1)
        )
        return self.template.network(stages, **{name: int(row[name]) for name in self.whole_axes()})

    def whole_axes(self) -> dict[str, Axis]:
        """The axes of what a network has once, by name: the radix, and the stem width and avd_first if they vary."""
        return {name: axis for name in WHOLE if (axis := getattr(self, name)) is not None}

    def column_names(self) -> list[str]:
        """The columns that describe a realised network of this space, in the order of population.csv."""
        names = [f"{letter}{i}" for letter in "dwbg" for i in range(1, self.num_stages + 1)]
        if isinstance(self.axes, RegNetAxes):
            names += REGNET_COLUMNS
        return [*names, *self.whole_axes()]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that say all about this space (space.yaml); `from_dict` makes an equal one."""
        return {
            "name": self.name,
            "family": "regnet" if isinstance(self.axes, RegNetAxes) else "anynet",
            "axes": {name: axis.to_dict() for name, axis in named_axes(self.axes).items()},
            **{name: axis.to_dict() for name, axis in self.whole_axes().items()},
            "constraints": [constraint.to_dict() for constraint in self.constraints],
            "template": {**dataclasses.asdict(self.template), "strides": list(self.template.strides)},
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> DesignSpace:
        """The space that `to_dict` described, or one that a person wrote down.

        Needed are ``name``, ``family`` (anynet or regnet) and ``axes``. Without ``template`` the networks are those of
        the paper's regime, without ``constraints`` there are none, and without ``radix`` it is 0.

        Raises:
            InputError: a field is missing, unknown or out of range.
        """
        if not isinstance(fields, Mapping):
            raise InputError(f"a design space is described by name, family and axes, not by {fields!r}")
        rest = dict(fields)
        try:
            family = rest.pop("family")
            if family not in FAMILIES:
                raise unknown("family", family, FAMILIES)
            template = dict(rest.pop("template", {}))
            if "stem" in template:
                template["stem"] = Stem(**template["stem"])
            if "strides" in template:
                template["strides"] = tuple(template["strides"])
            return DesignSpace(
                name=rest.pop("name"),
                axes=FAMILIES[family](**{name: Axis.from_dict(axis) for name, axis in rest.pop("axes").items()}),
                template=Template(**template),
                constraints=tuple(constraints_.from_dict(constraint) for constraint in rest.pop("constraints", ())),
                **{name: Axis.from_dict(rest.pop(name)) for name in WHOLE if name in rest},
                **rest,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not the description of a design space: {error!r}") from error

    def _draw_anynet(self, axes: AnyNetAxes, streams: Streams, count: int) -> Columns:
        """Draw the parameters of each stage; orders are met by construction."""
        orders = {c.parameter: c.order for c in self.constraints if isinstance(c, Order)}
        columns: Columns = {}
        for parameter in STAGE_PARAMETERS:
            axis = named_axes(axes).get(parameter)
            if axis is None:
                continue
            names = [f"{LETTERS[parameter]}{i}" for i in range(1, self.num_stages + 1)]
            order = orders.get(parameter)
            if order == "shared":
                columns.update(dict.fromkeys(names, axis.draw(streams.next(names[0], count))))
                continue
            words = [streams.next(name, count) for name in names]
            drawn = [axis.draw(column) for column in words] if order is None else axis.draw_non_decreasing(words)
            columns.update(zip(names if order != "non_increasing" else reversed(names), drawn, strict=True))
        return columns

    def _draw_regnet(self, axes: RegNetAxes, streams: Streams, count: int, sieve: _Sieve) -> Columns:
        """Draw the six parameters and quantise; only networks with the asked number of stages and levels stay."""
        columns = {name: axis.draw(streams.next(name, count)) for name, axis in named_axes(axes).items()}
        stages = self.num_stages
        other, columns["skips"] = sift(stages, *(columns[name] for name in REGNET_COLUMNS))
        columns = sieve.keep(columns, ~other, f"not {stages} stages")
        columns = sieve.keep(columns, ~columns["skips"], "a width level is skipped")
        del columns["skips"]
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

    def _realise(self, columns: Columns) -> Columns:
        """Make widths and group widths of each stage compatible."""
        letter = LETTERS["group_width" if self.axes.group_width else "cardinality"]
        for i in range(1, self.num_stages + 1):
            groups = columns.pop(f"{letter}{i}")
            drawn = columns[f"w{i}"], columns[f"b{i}"], groups
            columns[f"w{i}"], columns[f"g{i}"] = realise(self.axes, *drawn, columns["radix"])
        return columns

    def _keep_divisible(self, columns: Columns, sieve: _Sieve) -> Columns:
        """Keep what can be split: radix r needs a group width divisible by r."""
        splits = np.maximum(columns["radix"], 1)
        if np.all(splits == 1):
            return columns
        mask = np.ones(len(splits), bool)
        for i in range(1, self.num_stages + 1):
            mask &= columns[f"g{i}"] % splits == 0
        return sieve.keep(columns, mask, "radix does not divide a group width")


FAMILIES: dict[str, type[AnyNetAxes] | type[RegNetAxes]] = {"anynet": AnyNetAxes, "regnet": RegNetAxes}


def _is_plain(space: DesignSpace) -> bool:
    """Whether all networks can have blocks without bottleneck, groups and splits."""
    cardinality = space.axes.cardinality
    axes = (space.axes.bottleneck_ratio, cardinality)
    return all(axis is not None and axis.values.tolist() == [1] for axis in axes) and space.radix.values.tolist() == [0]


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


def _one_or_column(column: Column) -> Int:
    """A column of one whole number throughout as that number, which costs no time in arithmetic."""
    return int(column[0]) if len(column) and bool((column == column[0]).all()) else column


def _plain(value: Any) -> float:
    """A number of a column as a Python number, whole ones as int."""
    number = float(value)
    return int(number) if number.is_integer() else number
