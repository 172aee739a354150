"""A design space: axes, constraints, and what all its networks share. A value: it holds no random state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks.blocks import Int, compatible_widths
from designspace.networks.complexity import Column, Complexity, NetworkColumns, StageColumns, totals
from designspace.networks.network import Network, Stage, Stem
from designspace.networks.regnet import quantized_linear, sift
from designspace.spaces import constraints as constraints_
from designspace.spaces.axes import Axis, choice
from designspace.spaces.constraints import QUANTITIES, STAGE_PARAMETERS, Band, Constraint, Order
from designspace.spaces.streams import Streams
from designspace.support.errors import InputError

if TYPE_CHECKING:
    from designspace.spaces.population import Population

Columns = dict[str, Column]
"""Column name -> one entry for each network. Stage parameters are d1..dk, w1..wk, b1..bk, g1..gk."""

LETTERS = dict(zip(STAGE_PARAMETERS, "dwbg", strict=True))
REGNET_COLUMNS = ("depth", "w_0", "w_a", "w_m")


@dataclass(frozen=True, slots=True)
class Template:
    """What all networks of a space share."""

    stem: Stem = dataclasses.field(default_factory=Stem)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    """Stride of each stage; their number is the number of stages."""
    block: str = "bottleneck"
    se_ratio: float = 0.0
    shortcut: str = "conv"
    downsampling: str = "conv"
    head_width: int = 0
    num_classes: int = 1000
    in_channels: int = 3
    resolution: int = 224
    """Side of the square images that complexity is counted at, in pixels."""

    def __post_init__(self) -> None:
        if not self.strides:
            raise InputError("a space needs at least one stage")
        if self.block not in ("bottleneck", "bottleneck_linear"):
            raise InputError(f"spaces draw bottleneck ratios and group widths, which a block {self.block!r} has not")
        if isinstance(self.resolution, bool) or not isinstance(self.resolution, int) or self.resolution < 1:
            raise InputError(f"resolution must be a whole number of pixels >= 1, not {self.resolution!r}")
        # A network of the least shape checks all other fields.
        self.network(tuple(Stage(1, 8, stride, 1, 8) for stride in self.strides), radix=0)

    def network(self, stages: tuple[Stage, ...], radix: int) -> Network:
        """The network with those stages."""
        return Network(
            self.stem,
            stages,
            block=self.block,
            se_ratio=self.se_ratio,
            radix=radix,
            shortcut=self.shortcut,
            downsampling=self.downsampling,
            head_width=self.head_width,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
        )

    def columns(self, stages: tuple[StageColumns, ...], radix: Int) -> NetworkColumns:
        """The networks with those stages, as columns."""
        return NetworkColumns(
            self.stem,
            stages,
            radix,
            block=self.block,
            se_ratio=self.se_ratio,
            downsampling=self.downsampling,
            head_width=self.head_width,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
        )


@dataclass(frozen=True, slots=True)
class AnyNetAxes:
    """Each stage of an AnyNet has its own depth, width, bottleneck ratio and group width (paper section 3.2)."""

    depth: Axis
    width: Axis
    bottleneck_ratio: Axis
    group_width: Axis


@dataclass(frozen=True, slots=True)
class RegNetAxes:
    """A RegNet follows from six numbers (paper section 3.3): depth d, w_0, w_a, w_m, b and g."""

    depth: Axis
    w_0: Axis
    w_a: Axis
    w_m: Axis
    bottleneck_ratio: Axis
    group_width: Axis


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
    template: Template = Template()
    radix: Axis = dataclasses.field(default_factory=lambda: choice([0]))
    """Radix of split attention, one for the whole network."""
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        orders = [c for c in self.constraints if isinstance(c, Order)]
        if orders and isinstance(self.axes, RegNetAxes):
            raise InputError(f"{self.name}: a RegNet's stages follow from its line; {orders[0].order} does not apply")
        for order in orders:
            if sum(order.parameter == other.parameter for other in orders) > 1:
                raise InputError(f"{self.name}: more than one order is given for {order.parameter}")

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

    def draw(self, streams: Streams, count: int) -> Draw:
        """Take the next ``count`` draws from the streams: realise them, cost them, keep what meets the constraints.

        Cheap constraints come first, so that most draws are never costed.
        """
        sieve = _Sieve(count)
        if isinstance(self.axes, RegNetAxes):
            columns = self._draw_regnet(self.axes, streams, count, sieve)
        else:
            columns = self._draw_anynet(self.axes, streams, count)
        columns["radix"] = sieve.take(self.radix.draw(streams.next("radix", count)))
        columns = self._realise(columns)
        columns = self._keep_divisible(columns, sieve)
        for band in self.constraints:
            if isinstance(band, Band):
                # Most rows fall to a limit of multiply-adds: the rest is counted for those that are left.
                self._count(columns, QUANTITIES[:1] if band.quantity == QUANTITIES[0] else QUANTITIES)
                value = columns[band.quantity]
                columns = sieve.keep(columns, (value >= band.low) & (value <= band.high), str(band))
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
        networks = self.template.columns(stages, _one_or_column(columns["radix"]))
        counted = totals(networks, self.template.resolution, [q for q in quantities if q not in columns])
        columns.update({quantity: np.asarray(value, np.int64) for quantity, value in counted.items()})

    def network(self, row: Mapping[str, Any]) -> Network:
        """The network of one row of realised columns."""
        stages = tuple(
            Stage(int(row[f"d{i}"]), int(row[f"w{i}"]), stride, plain(row[f"b{i}"]), int(row[f"g{i}"]))
            for i, stride in enumerate(self.template.strides, start=1)
        )
        return self.template.network(stages, int(row["radix"]))

    def column_names(self) -> list[str]:
        """The columns that describe a realised network of this space, in the order of population.csv."""
        names = [f"{letter}{i}" for letter in "dwbg" for i in range(1, self.num_stages + 1)]
        if isinstance(self.axes, RegNetAxes):
            names += REGNET_COLUMNS
        return [*names, "radix"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that say all about this space (space.yaml); `from_dict` makes an equal one."""
        return {
            "name": self.name,
            "family": "regnet" if isinstance(self.axes, RegNetAxes) else "anynet",
            "axes": {f.name: getattr(self.axes, f.name).to_dict() for f in dataclasses.fields(self.axes)},
            "radix": self.radix.to_dict(),
            "constraints": [constraint.to_dict() for constraint in self.constraints],
            "template": {**dataclasses.asdict(self.template), "strides": list(self.template.strides)},
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> DesignSpace:
        """The space that `to_dict` described.

        Raises:
            InputError: a field is missing, unknown or out of range.
        """
        try:
            kind = {"anynet": AnyNetAxes, "regnet": RegNetAxes}[fields["family"]]
            template = dict(fields["template"])
            stem, strides = Stem(**template.pop("stem")), tuple(template.pop("strides"))
            return DesignSpace(
                name=fields["name"],
                axes=kind(**{name: Axis.from_dict(axis) for name, axis in fields["axes"].items()}),
                template=Template(stem=stem, strides=strides, **template),
                radix=Axis.from_dict(fields["radix"]),
                constraints=tuple(constraints_.from_dict(constraint) for constraint in fields["constraints"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not the description of a design space: {error!r}") from error

    def _draw_anynet(self, axes: AnyNetAxes, streams: Streams, count: int) -> Columns:
        """Draw the parameters of each stage; orders are met by construction."""
        orders = {c.parameter: c.order for c in self.constraints if isinstance(c, Order)}
        columns: Columns = {}
        for parameter in STAGE_PARAMETERS:
            axis: Axis = getattr(axes, parameter)
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
        names = [f.name for f in dataclasses.fields(axes)]
        columns: Columns = {name: getattr(axes, name).draw(streams.next(name, count)) for name in names}
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
            columns[f"b{i}"], columns[f"g{i}"] = columns["bottleneck_ratio"], columns["group_width"]
        del columns["bottleneck_ratio"], columns["group_width"]
        columns["levels"] = quantized.num_levels
        columns = sieve.keep(columns, quantized.num_stages == stages, f"not {stages} stages")
        columns = sieve.keep(columns, columns["levels"] == stages, "a width level is skipped")
        del columns["levels"]
        return columns

    def _realise(self, columns: Columns) -> Columns:
        """Make widths and group widths of each stage compatible."""
        for i in range(1, self.num_stages + 1):
            width, group_width = compatible_widths(columns[f"w{i}"], columns[f"b{i}"], columns[f"g{i}"])
            columns[f"w{i}"], columns[f"g{i}"] = np.asarray(width), np.asarray(group_width)
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


def plain(value: Any) -> float:
    """A number of a column as a Python number, whole ones as int."""
    number = float(value)
    return int(number) if number.is_integer() else number
