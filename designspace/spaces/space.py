"""Design spaces: axes, constraints, and a template of shared properties, as immutable values without random state."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import yaml

from designspace.networks.blocks import BLOCKS
from designspace.networks.columns import NetworkColumns, StageColumns
from designspace.networks.complexity import Complexity, totals
from designspace.networks.counting import count
from designspace.networks.layers import Column
from designspace.networks.network import Network, Stage
from designspace.spaces.axes import Axis, choice
from designspace.spaces.constraints import Constraint, Order, StageRange
from designspace.spaces.latency import LatencyLimit
from designspace.spaces.membership import Membership, contains
from designspace.spaces.parameters import (
    NETWORK_PARAMETERS,
    REGNET_COLUMNS,
    AnyNetAxes,
    Columns,
    OwnAxes,
    RegNetAxes,
    check_axis,
    check_own_axes,
    named_axes,
    to_python,
    to_python_number,
)
from designspace.spaces.population import SPACE_FILE
from designspace.spaces.sampling import sample
from designspace.spaces.space_checks import check_costs, check_range, is_plain
from designspace.spaces.template import Template
from designspace.support.display import html_table
from designspace.support.errors import InputError
from designspace.support.imported import is_import_name
from designspace.support.text import shown

if TYPE_CHECKING:
    from designspace.spaces.population import Population


MAX_NAME = 100
"""Most characters of a space's name, which is also the name of its run folder."""


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
    own_network_axes: OwnAxes = ()
    """Axes of own parameters that a network has once: of the block, and of the stem and the head, whose names begin
    with ``stem_`` and ``head_``."""
    latency: LatencyLimit | None = None
    """Limit on measured latency, which `designspace.measurement.limited` enforces; None for no limit."""
    is_drawn: ClassVar[bool] = True
    """Whether the networks of its populations were drawn at random."""

    def __post_init__(self) -> None:
        check_space_name(self.name)
        for key, value, kind in (("axes", self.axes, AnyNetAxes | RegNetAxes), ("template", self.template, Template)):
            if not isinstance(value, kind):
                raise InputError(f"{self.name}: {key} must be {_class_names(kind)}, not {shown(value)}")
        for key, attribute in NETWORK_PARAMETERS.items():
            if key == "radix" or getattr(self, attribute) is not None:
                check_axis(key, getattr(self, attribute))
        object.__setattr__(self, "own_network_axes", check_own_axes(self.own_network_axes))
        self._check_own_axes()
        orders = [c for c in self.constraints if isinstance(c, Order)]
        if orders and isinstance(self.axes, RegNetAxes):
            raise InputError(f"{self.name}: a RegNet's stages follow from its line; {orders[0].order} does not apply")
        for order in orders:
            axis = named_axes(self.axes).get(order.parameter)
            if axis is None:
                raise InputError(
                    f"{self.name}: {order.parameter} cannot be {order.order}, because the space has no such axis; "
                    f"choose from: {', '.join(named_axes(self.axes))}"
                )
            if axis.labels and order.order != "shared":
                raise InputError(
                    f"{self.name}: the values of {order.parameter} have no order, so they can only be shared"
                )
            if sum(order.parameter == other.parameter for other in orders) > 1:
                raise InputError(f"{self.name}: there is more than one order for {order.parameter}")
        for limit in self.constraints:
            if isinstance(limit, StageRange):
                check_range(self, limit)
        block = BLOCKS.get(self.template.block)
        if block is not None and "group_width" not in block.uses and not is_plain(self):
            raise InputError(
                f"{self.name}: a {self.template.block} block needs bottleneck_ratio 1, cardinality 1 and radix 0 only"
            )
        if block is not None:
            check_costs(self)

    def _check_own_axes(self) -> None:
        """Raise unless own axes are those of parameters that the block has; a custom block is not imported."""
        kind = BLOCKS.get(self.template.block)
        if kind is None:
            return
        for own, once in ((self.axes.own, False), (self.own_network_axes, True)):
            for name, axis in own:
                if once and name.startswith(("stem_", "head_")):
                    continue
                parameter = kind.parameter(name)
                if parameter.once != once:
                    owner = "put it in axes" if once else f"put it in {OWN_NETWORK_AXES}, because a network has it once"
                    raise InputError(f"{self.name}: {name} is in the wrong place; {owner}")
                for value in axis.values[:: 1 if axis.labels else max(1, len(axis) - 1)].tolist():
                    parameter.check(self.name, to_python(value))

    def __repr__(self) -> str:
        template = self.template
        size = f"{template.in_channels} x {template.resolution} x {template.resolution}"
        count = len(self.constraints) + (self.latency is not None)
        limits = f", {count} constraint{'s' * (count != 1)}" if count else ""
        axes = len(named_axes(self.axes)) + len(self.network_axes())
        return (
            f"DesignSpace({self.name!r}: {self.num_stages} stages, {axes} axes{limits}; "
            f"images of {size}, {template.num_classes} classes)"
        )

    def _repr_html_(self) -> str:
        axes = {**named_axes(self.axes), **self.network_axes()}
        rows = [(name, repr(axis).removeprefix("Axis(").removesuffix(")")) for name, axis in axes.items()]
        limits = [_constraint_text(constraint) for constraint in self.constraints]
        limits += [] if self.latency is None else [str(self.latency)]
        return html_table(repr(self), [*rows, *(("constraint", limit) for limit in limits)])

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
        """Draw n distinct networks; see `designspace.spaces.sampling.sample`.

        Raises:
            InputError: the space has a limit on latency, so that its networks must be measured.
        """
        if self.latency is not None:
            raise InputError(
                f"{self.name} has a limit on latency, which must be measured: use the command sample, or "
                "designspace.measurement.limited.LimitedSampling"
            )
        return sample(self, n, seed)

    def contains(self, network: Network) -> Membership:
        """Return whether any draw gives this network, with the reasons if none does; see `spaces.membership`.

        A limit on latency is not checked, because it takes a measurement.
        """
        return contains(self, network)

    def complexity(self, columns: Columns) -> Complexity[Column]:
        """Count the complexity of realised columns at the template's resolution: three int64 columns."""
        return Complexity(**totals(self.network_columns(columns), self.template.resolution, Complexity._fields))

    def quantity(self, name: str, columns: Columns) -> Column:
        """Count a quantity (`designspace.networks.quantities.COUNTED`) of realised columns as int64. Shape (n,).

        Raises:
            InputError: the quantity is unknown.
        """
        counted = count(self.network_columns(columns), self.template.resolution, [name])[name]
        return np.broadcast_to(counted, len(columns["d1"])).astype(np.int64)

    def network_columns(self, columns: Columns) -> NetworkColumns:
        """Return the networks of realised columns as columns, for computations on all of them in one pass."""

        # An axis with one value becomes a column of length 1, which costs no time in arithmetic.
        def column(name: str, axis: Axis) -> Column:
            return columns[name][: None if len(axis) > 1 else 1]

        stages = tuple(
            StageColumns(
                columns[f"d{i}"],
                columns[f"w{i}"],
                stride,
                columns[f"b{i}"],
                columns[f"g{i}"],
                {name: column(f"{name}{i}", axis) for name, axis in self.axes.own},
            )
            for i, stride in enumerate(self.template.strides, start=1)
        )
        shared = {
            attribute: column(key, axis)
            for key, attribute in NETWORK_PARAMETERS.items()
            if (axis := getattr(self, attribute)) is not None
        }
        own = {name: column(name, axis) for name, axis in self.own_network_axes}
        return self.template.columns(stages, **shared, parameters=own)

    def network(self, row: Mapping[str, Any]) -> Network:
        """Return the network of one row of realised columns."""
        stages = tuple(
            Stage(
                int(row[f"d{i}"]),
                int(row[f"w{i}"]),
                stride,
                to_python_number(row[f"b{i}"]),
                int(row[f"g{i}"]),
                tuple((name, to_python(row[f"{name}{i}"])) for name, _ in self.axes.own),
            )
            for i, stride in enumerate(self.template.strides, start=1)
        )
        shared = {
            attribute: int(row[key])
            for key, attribute in NETWORK_PARAMETERS.items()
            if getattr(self, attribute) is not None
        }
        own = tuple((name, to_python(row[name])) for name, _ in self.own_network_axes)
        return self.template.network(stages, **shared, parameters=own)

    def network_axes(self) -> dict[str, Axis]:
        """Return the axes of parameters that a network has once, by key: radix, stem_width and avd_first, own ones."""
        shared = {
            key: axis for key, attribute in NETWORK_PARAMETERS.items() if (axis := getattr(self, attribute)) is not None
        }
        return shared | dict(self.own_network_axes)

    def text_columns(self) -> set[str]:
        """Return the names of the columns whose entries are texts."""
        stages = range(1, self.num_stages + 1)
        of_stages = {f"{name}{i}" for name, axis in self.axes.own if axis.labels for i in stages}
        return of_stages | {name for name, axis in self.own_network_axes if axis.labels}

    @property
    def imported_names(self) -> tuple[str, ...]:
        """Names of the user's own classes of which its networks consist, such as ``mine:Block``."""
        template = self.template
        return tuple(name for name in (template.block, template.stem.kind, template.head) if is_import_name(name))

    def column_names(self) -> list[str]:
        """Return the names of the columns that describe a realised network, in the order of population.csv."""
        prefixes = (*"dwbg", *(name for name, _ in self.axes.own))
        names = [f"{prefix}{i}" for prefix in prefixes for i in range(1, self.num_stages + 1)]
        if isinstance(self.axes, RegNetAxes):
            names += REGNET_COLUMNS
        return [*names, *self.network_axes()]

    def part(self, indices: Sequence[int]) -> DesignSpace:
        """Return the source of a part of a population: the space itself."""
        return self

    def files(self) -> dict[str, str]:
        """Return the file that describes the space: name -> text."""
        return {SPACE_FILE: yaml.safe_dump(self.to_dict(), sort_keys=False)}

    def to_dict(self) -> dict[str, Any]:
        """Return a complete description by plain values (space.yaml); `space_from_dict` creates an equal space."""
        axes: dict[str, Any] = {name: axis.to_dict() for name, axis in named_axes(self.axes).items()}
        if isinstance(self.axes, RegNetAxes) and self.axes.w_a is None:
            axes["w_a"] = "w_0"
        return {
            "name": self.name,
            "family": "regnet" if isinstance(self.axes, RegNetAxes) else "anynet",
            "axes": axes,
            **{
                key: axis.to_dict()
                for key, attribute in NETWORK_PARAMETERS.items()
                if (axis := getattr(self, attribute)) is not None
            },
            **_own_fields(self.own_network_axes),
            "constraints": [constraint.to_dict() for constraint in self.constraints],
            **({} if self.latency is None else {"latency": self.latency.to_dict()}),
            "template": _template_fields(self.template),
        }


OWN_NETWORK_AXES = "network_axes"
"""Key of `DesignSpace.own_network_axes` in files."""


def _own_fields(own: OwnAxes) -> dict[str, Any]:
    """Return axes of a network's own parameters as plain values; empty if there are none."""
    return {OWN_NETWORK_AXES: {name: axis.to_dict() for name, axis in own}} if own else {}


def _template_fields(template: Template) -> dict[str, Any]:
    """Return a template as plain values; without the head if it is linear, which earlier versions do not know."""
    fields = {**dataclasses.asdict(template), "strides": list(template.strides)}
    if template.head == "linear":
        del fields["head"]
    return fields


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


def _constraint_text(constraint: Constraint) -> str:
    """Return what a constraint requires as text."""
    if isinstance(constraint, Order):
        return f"{constraint.parameter} {constraint.order.replace('_', '-')}"
    return str(constraint).replace(" outside ", " from ").replace(" above ", " at most ")  # str() says what is rejected
