"""Design spaces: axes, constraints, and a template of shared properties, as immutable values without random state."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designspace.networks.blocks.plain import CONVS as PLAIN_CONVS
from designspace.networks.columns import NetworkColumns, StageColumns
from designspace.networks.complexity import Complexity, totals
from designspace.networks.layers import Column
from designspace.networks.network import Network, Stage
from designspace.spaces.axes import Axis, choice
from designspace.spaces.constraints import Constraint, Order
from designspace.spaces.membership import Membership, contains
from designspace.spaces.parameters import (
    NETWORK_PARAMETERS,
    REGNET_COLUMNS,
    AnyNetAxes,
    Columns,
    RegNetAxes,
    check_axis,
    named_axes,
    to_python_number,
)
from designspace.spaces.sampling import sample
from designspace.spaces.template import Template
from designspace.support.display import html_table
from designspace.support.errors import InputError
from designspace.support.text import shown

if TYPE_CHECKING:
    from designspace.spaces.population import Population


MAX_NAME = 100
"""Most characters of a space's name, which is also the name of its run folder."""
MAX_COST = 4e18
"""Highest number of multiply-adds that a space may have, because columns of costs are int64."""


@dataclass(frozen=True)
class DesignSpace:
    """A set of networks and a distribution over it: independent axes, conditioned on constraints.

    `refine` returns a smaller space; every network of the child is in its parent.

    Raises:
        InputError: a constraint does not fit the axes.
    """

    name: str
    axes: AnyNetAxes | RegNetAxes
    template: Template = dataclasses.field(default_factory=Template)
    radix: Axis = dataclasses.field(default_factory=lambda: choice([0]))
    """Radix of split attention, one for the whole network."""
    stem_width: Axis | None = None
    """Width of the stem; None for the template's width."""
    downsampling_first: Axis | None = None
    """Whether an average pool downsamples before the 3x3 convolution (1) or after it (0); None for the template's
    downsampling. The key in files is ``avd_first``."""
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        check_space_name(self.name)
        for key, value, kind in (("axes", self.axes, AnyNetAxes | RegNetAxes), ("template", self.template, Template)):
            if not isinstance(value, kind):
                raise InputError(f"{self.name}: {key} must be {_class_names(kind)}, not {shown(value)}")
        for key, attribute in NETWORK_PARAMETERS.items():
            if key == "radix" or getattr(self, attribute) is not None:
                check_axis(key, getattr(self, attribute))
        orders = [c for c in self.constraints if isinstance(c, Order)]
        if orders and isinstance(self.axes, RegNetAxes):
            raise InputError(f"{self.name}: a RegNet's stages follow from its line; {orders[0].order} does not apply")
        for order in orders:
            if order.parameter not in named_axes(self.axes):
                raise InputError(
                    f"{self.name}: {order.parameter} cannot be {order.order}, because the space has no such axis"
                )
            if sum(order.parameter == other.parameter for other in orders) > 1:
                raise InputError(f"{self.name}: there is more than one order for {order.parameter}")
        if self.template.block in PLAIN_CONVS and not _is_plain(self):
            raise InputError(
                f"{self.name}: a {self.template.block} block needs bottleneck_ratio 1, cardinality 1 and radix 0 only"
            )
        _check_costs(self)

    def __repr__(self) -> str:
        template = self.template
        size = f"{template.in_channels} x {template.resolution} x {template.resolution}"
        limits = f", {len(self.constraints)} constraint{'s' * (len(self.constraints) != 1)}" if self.constraints else ""
        axes = len(named_axes(self.axes)) + len(self.network_axes())
        return (
            f"DesignSpace({self.name!r}: {self.num_stages} stages, {axes} axes{limits}; "
            f"images of {size}, {template.num_classes} classes)"
        )

    def _repr_html_(self) -> str:
        axes = {**named_axes(self.axes), **self.network_axes()}
        rows = [(name, repr(axis).removeprefix("Axis(").removesuffix(")")) for name, axis in axes.items()]
        return html_table(
            repr(self), [*rows, *(("constraint", _constraint_text(constraint)) for constraint in self.constraints)]
        )

    @property
    def num_stages(self) -> int:
        """Number of stages of every network."""
        return len(self.template.strides)

    def refine(self, *constraints: Constraint, name: str | None = None) -> DesignSpace:
        """Return this space conditioned on further constraints.

        A shared order replaces any other order of the same parameter, because it is narrower.
        """
        shared = {c.parameter for c in constraints if isinstance(c, Order) and c.order == "shared"}
        others = [c for c in self.constraints if not (isinstance(c, Order) and c.parameter in shared)]
        return dataclasses.replace(self, name=name or self.name, constraints=(*others, *constraints))

    def sample(self, n: int, seed: int = 0) -> Population:
        """Draw n distinct networks; see `designspace.spaces.sampling.sample`."""
        return sample(self, n, seed)

    def contains(self, network: Network) -> Membership:
        """Return whether any draw gives this network, with the reasons if none does; see `spaces.membership`."""
        return contains(self, network)

    def complexity(self, columns: Columns) -> Complexity[Column]:
        """Count the complexity of realised columns at the template's resolution: three int64 columns."""
        return Complexity(**totals(self.network_columns(columns), self.template.resolution, Complexity._fields))

    def network_columns(self, columns: Columns) -> NetworkColumns:
        """Return the networks of realised columns as columns, for computations on all of them in one pass."""
        stages = tuple(
            StageColumns(columns[f"d{i}"], columns[f"w{i}"], stride, columns[f"b{i}"], columns[f"g{i}"])
            for i, stride in enumerate(self.template.strides, start=1)
        )
        # An axis with one value becomes a column of length 1, which costs no time in arithmetic.
        parameters = {
            NETWORK_PARAMETERS[key]: columns[key][: None if len(axis) > 1 else 1]
            for key, axis in self.network_axes().items()
        }
        return self.template.columns(stages, **parameters)

    def network(self, row: Mapping[str, Any]) -> Network:
        """Return the network of one row of realised columns."""
        stages = tuple(
            Stage(int(row[f"d{i}"]), int(row[f"w{i}"]), stride, to_python_number(row[f"b{i}"]), int(row[f"g{i}"]))
            for i, stride in enumerate(self.template.strides, start=1)
        )
        return self.template.network(stages, **{NETWORK_PARAMETERS[key]: int(row[key]) for key in self.network_axes()})

    def network_axes(self) -> dict[str, Axis]:
        """Return the axes of parameters that a network has once, by key: radix, and stem_width and avd_first if any."""
        return {
            key: axis for key, attribute in NETWORK_PARAMETERS.items() if (axis := getattr(self, attribute)) is not None
        }

    def column_names(self) -> list[str]:
        """Return the names of the columns that describe a realised network, in the order of population.csv."""
        names = [f"{letter}{i}" for letter in "dwbg" for i in range(1, self.num_stages + 1)]
        if isinstance(self.axes, RegNetAxes):
            names += REGNET_COLUMNS
        return [*names, *self.network_axes()]

    def to_dict(self) -> dict[str, Any]:
        """Return a complete description by plain values (space.yaml); `space_from_dict` creates an equal space."""
        axes: dict[str, Any] = {name: axis.to_dict() for name, axis in named_axes(self.axes).items()}
        if isinstance(self.axes, RegNetAxes) and self.axes.w_a is None:
            axes["w_a"] = "w_0"
        return {
            "name": self.name,
            "family": "regnet" if isinstance(self.axes, RegNetAxes) else "anynet",
            "axes": axes,
            **{key: axis.to_dict() for key, axis in self.network_axes().items()},
            "constraints": [constraint.to_dict() for constraint in self.constraints],
            "template": {**dataclasses.asdict(self.template), "strides": list(self.template.strides)},
        }


def _class_names(kind: Any) -> str:
    """Return the names of a class or a union of classes as text."""
    return " or ".join(class_.__name__ for class_ in getattr(kind, "__args__", (kind,)))


_FORBIDDEN_IN_NAMES = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")


def check_space_name(name: Any) -> None:
    """Raise unless a space's name can also be the name of a folder.

    Raises:
        InputError: it is not text, empty, too long, begins with a dot, or contains a path separator or a control
            character.
    """
    if not isinstance(name, str):
        raise InputError(f"name must be text, not {shown(name)}; in YAML, write a number in quotes: name: '2024'")
    if not name.strip() or len(name) > MAX_NAME or name.startswith(".") or _FORBIDDEN_IN_NAMES.search(name):
        raise InputError(
            f"name must be text of 1 to {MAX_NAME} characters that can name a folder, without / and \\ and without "
            f"a dot at the beginning, not {shown(name)}"
        )


def _check_costs(space: DesignSpace) -> None:
    """Raise if the costs of the largest networks may not fit into 64 bits.

    The bound is generous: it assumes the highest width and the first stage's resolution for all blocks. It is 4e15 for
    the paper's RegNetX at 224 pixels; the limit of int64 is 9e18.
    """
    axes, template = space.axes, space.template
    if isinstance(axes, RegNetAxes):
        depth = float(axes.depth.grid[-1])
        slope = axes.w_0 if axes.w_a is None else axes.w_a
        width = (float(axes.w_0.grid[-1]) + float(slope.grid[-1]) * depth) * float(axes.w_m.grid[-1]) ** 0.5
    else:
        depth = float(axes.depth.grid[-1]) * space.num_stages
        width = float(axes.width.grid[-1])
    inner = width * max(1.0, 1 / float(axes.bottleneck_ratio.grid[0]))
    stem = float(space.stem_width.grid[-1]) if space.stem_width else template.stem.width
    side = template.resolution / (1 if template.stem.kind == "cifar" else 2)
    blocks = depth * 9 * (width + inner + stem) ** 2 * max(1.0, float(space.radix.grid[-1])) * (1 + template.se_ratio)
    total = (side / template.strides[0] + 1) ** 2 * blocks
    total += template.resolution**2 * 49 * template.in_channels * stem
    total += (width + template.num_classes) * (template.head_width + template.num_classes)
    if total > MAX_COST:
        raise InputError(
            f"{space.name}: its largest networks may cost {total:.0e} multiply-adds, but at most {MAX_COST:.0e} can "
            "be counted; lower the widths, the depths or the resolution"
        )


def _constraint_text(constraint: Constraint) -> str:
    """Return what a constraint requires as text."""
    if isinstance(constraint, Order):
        return f"{constraint.parameter} {constraint.order.replace('_', '-')}"
    return str(constraint).replace(" outside ", " from ").replace(" above ", " at most ")  # str() says what is rejected


def _is_plain(space: DesignSpace) -> bool:
    """Return whether no network of the space has a bottleneck, groups or splits."""
    cardinality = space.axes.cardinality
    axes = (space.axes.bottleneck_ratio, cardinality)
    return all(axis is not None and axis.values.tolist() == [1] for axis in axes) and space.radix.values.tolist() == [0]
