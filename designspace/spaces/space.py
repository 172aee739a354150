"""A design space: axes, constraints, and what all its networks share. A value: it holds no random state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from designspace.networks.blocks import PLAIN_CONVS, Int
from designspace.networks.complexity import (
    Column,
    Complexity,
    NetworkColumns,
    StageColumns,
    totals,
)
from designspace.networks.network import Network, Stage, Stem
from designspace.spaces import constraints as constraints_
from designspace.spaces.axes import Axis, choice
from designspace.spaces.constraints import QUANTITIES, Constraint, Order
from designspace.spaces.parameters import REGNET_COLUMNS, WHOLE, AnyNetAxes, Columns, RegNetAxes, named_axes
from designspace.spaces.template import Template
from designspace.support.display import html_table
from designspace.support.errors import InputError, unknown

if TYPE_CHECKING:
    from designspace.spaces.membership import Membership
    from designspace.spaces.population import Population


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

    def __repr__(self) -> str:
        template = self.template
        size = f"{template.in_channels} x {template.resolution} x {template.resolution}"
        limits = f", {len(self.constraints)} constraint{'s' * (len(self.constraints) != 1)}" if self.constraints else ""
        axes = len(named_axes(self.axes)) + len(self.whole_axes())
        return (
            f"DesignSpace({self.name!r}: {self.num_stages} stages, {axes} axes{limits}; "
            f"images of {size}, {template.num_classes} classes)"
        )

    def _repr_html_(self) -> str:
        axes = {**named_axes(self.axes), **self.whole_axes()}
        rows = [(name, repr(axis).removeprefix("Axis(").removesuffix(")")) for name, axis in axes.items()]
        return html_table(
            repr(self), [*rows, *(("constraint", _in_words(constraint)) for constraint in self.constraints)]
        )

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

    def complexity(self, columns: Mapping[str, Column]) -> Complexity:
        """Cost realised columns at the template's resolution: three int64 columns."""
        counted = dict(columns)
        self.count(counted, QUANTITIES)
        return Complexity(*(counted[quantity] for quantity in QUANTITIES))

    def count(self, columns: Columns, quantities: Sequence[str]) -> None:
        """Add the named costs of realised columns to them, those that are not there yet: an int64 column each."""
        counted = totals(
            self.network_columns(columns),
            self.template.resolution,
            [q for q in quantities if q not in columns],
        )
        columns.update({quantity: np.asarray(value, np.int64) for quantity, value in counted.items()})

    def network_columns(self, columns: Columns) -> NetworkColumns:
        """The networks of realised columns, for what looks at all of them in one pass."""
        stages = tuple(
            StageColumns(columns[f"d{i}"], columns[f"w{i}"], stride, columns[f"b{i}"], columns[f"g{i}"])
            for i, stride in enumerate(self.template.strides, start=1)
        )
        whole = {name: _one_or_column(columns[name]) for name in self.whole_axes()}
        return self.template.columns(stages, **whole)

    def network(self, row: Mapping[str, Any]) -> Network:
        """The network of one row of realised columns."""
        stages = tuple(
            Stage(int(row[f"d{i}"]), int(row[f"w{i}"]), stride, plain(row[f"b{i}"]), int(row[f"g{i}"]))
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
        axes: dict[str, Any] = {name: axis.to_dict() for name, axis in named_axes(self.axes).items()}
        if isinstance(self.axes, RegNetAxes) and self.axes.w_a is None:
            axes["w_a"] = "w_0"
        return {
            "name": self.name,
            "family": "regnet" if isinstance(self.axes, RegNetAxes) else "anynet",
            "axes": axes,
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
                axes=FAMILIES[family](**{name: _axis(name, axis) for name, axis in rest.pop("axes").items()}),
                template=Template(**template),
                constraints=tuple(constraints_.from_dict(constraint) for constraint in rest.pop("constraints", ())),
                **{name: Axis.from_dict(rest.pop(name)) for name in WHOLE if name in rest},
                **rest,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not the description of a design space: {error!r}") from error


FAMILIES: dict[str, type[AnyNetAxes] | type[RegNetAxes]] = {"anynet": AnyNetAxes, "regnet": RegNetAxes}


def _axis(name: str, described: Any) -> Any:
    """An axis as it was described; None for a w_a that is w_0."""
    return None if (name, described) == ("w_a", "w_0") else Axis.from_dict(described)


def _in_words(constraint: Constraint) -> str:
    """What a constraint demands."""
    if isinstance(constraint, Order):
        return f"{constraint.parameter} {constraint.order.replace('_', '-')}"
    return str(constraint).replace(" outside ", " from ").replace(" above ", " at most ")  # these say what it rejects


def _is_plain(space: DesignSpace) -> bool:
    """Whether all networks can have blocks without bottleneck, groups and splits."""
    cardinality = space.axes.cardinality
    axes = (space.axes.bottleneck_ratio, cardinality)
    return all(axis is not None and axis.values.tolist() == [1] for axis in axes) and space.radix.values.tolist() == [0]


def _one_or_column(column: Column) -> Int:
    """A column of one whole number throughout as that number, which costs no time in arithmetic."""
    return int(column[0]) if len(column) and bool((column == column[0]).all()) else column


def plain(value: Any) -> float:
    """A number of a column as a Python number, whole ones as int."""
    number = float(value)
    return int(number) if number.is_integer() else number
