"""Constraints, which make one space a refinement of another.

A refinement is its parent *conditioned on* the constraint ("Designing Network Design Spaces", section 3.2). Constraints
on the order of one parameter's values are met by exact sampling, the others by rejection, cheapest first. Orders and
ranges hold for drawn values, limits for the costs of the realised network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from designspace.networks.quantities import COUNTED
from designspace.support.checks import make_plain, mapping, number, text, whole
from designspace.support.errors import InputError, unknown
from designspace.support.text import prefixed

STAGE_PARAMETERS = ("depth", "width", "bottleneck_ratio", "group_width", "cardinality")
ORDERS = ("shared", "non_decreasing", "non_increasing")
QUANTITIES = ("flops", "params", "activations")
"""Counted quantities that every population has as columns; constraints may limit any of `COUNTED`."""


@dataclass(frozen=True, slots=True)
class Order:
    """Order of one parameter's values from stage to stage of an AnyNet: shared, non-decreasing or non-increasing.

    The parameter is one of `STAGE_PARAMETERS` or an own one of the block.
    """

    parameter: str
    order: str

    def __post_init__(self) -> None:
        text("parameter", self.parameter)
        if text("order", self.order) not in ORDERS:
            raise unknown("order", self.order, ORDERS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which `from_dict` creates an equal constraint."""
        return {"kind": self.order, "parameter": self.parameter}


@dataclass(frozen=True, slots=True)
class StageRange:
    """A range of one parameter's drawn values in one stage of an AnyNet, both ends included.

    The parameter is one of `STAGE_PARAMETERS` or an own one of the block. A range that holds for all stages is a
    narrower axis instead.
    """

    parameter: str
    stage: int
    """Number of the stage, from 1."""
    low: float
    high: float

    def __post_init__(self) -> None:
        make_plain(self)
        text("parameter", self.parameter)
        whole("stage", self.stage, 1)
        number(f"the lowest {self.parameter} of a range", self.low)
        number(f"the highest {self.parameter} of a range", self.high)
        if self.low > self.high:
            raise InputError(f"a range of {self.parameter} needs low <= high, not {self.low} to {self.high}")

    def __str__(self) -> str:
        return f"{self.parameter} of stage {self.stage} outside {self.low:g} to {self.high:g}"

    def allows_value(self, value: Any) -> Any:
        """Return whether a drawn value is in the range: a bool, or a column of bools."""
        return (value >= self.low) & (value <= self.high)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which `from_dict` creates an equal constraint."""
        return {"kind": "range", **dataclasses.asdict(self)}


@dataclass(frozen=True, slots=True)
class Band:
    """A range of a counted quantity, both ends included."""

    quantity: str
    """A key of `designspace.networks.quantities.COUNTED`."""
    low: float
    high: float

    def __post_init__(self) -> None:
        make_plain(self)
        if text("complexity", self.quantity) not in COUNTED:
            raise unknown("complexity", self.quantity, COUNTED)
        number(f"the lowest {self.quantity} of a band", self.low, 0)
        if self.high != math.inf:  # no upper limit
            number(f"the highest {self.quantity} of a band", self.high, 0)
        if self.low > self.high:
            raise InputError(f"a {self.quantity} band needs 0 <= low <= high, not {self.low} to {self.high}")

    def __str__(self) -> str:
        unit = COUNTED[self.quantity].unit
        low, high = (prefixed(end, unit) for end in (self.low, self.high))
        if unit and not self.low:
            return f"{self.quantity} above {high}"
        return f"{self.quantity} outside {low} to {high}"

    def allows(self, costs: Mapping[str, Any]) -> Any:
        """Return whether networks with these costs are in the band: a bool, or a column of bools."""
        value = costs[self.quantity]
        return (value >= self.low) & (value <= self.high)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which `from_dict` creates an equal constraint."""
        return {"kind": "band", "quantity": self.quantity, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Cap:
    """An upper limit that grows with the multiply-adds f of the network itself: constant + factor * f ** power.

    The paper's constrained RegNetX (section 4, figure 13) limits parameters and activations in this way.
    """

    quantity: str
    constant: float
    factor: float
    power: float

    def __post_init__(self) -> None:
        make_plain(self)
        allowed = [quantity for quantity in COUNTED if quantity != "flops"]
        if text("complexity to cap", self.quantity) not in allowed:
            raise unknown("complexity to cap", self.quantity, allowed)
        for name in ("constant", "factor", "power"):
            number(f"the {name} of a cap", getattr(self, name))

    def __str__(self) -> str:
        start = f"{prefixed(self.constant)} + " if self.constant else ""
        power = f"^{self.power:g}" if self.power != 1 else ""
        return f"{self.quantity} above {start}{self.factor:g} * flops{power}"

    def allows(self, costs: Mapping[str, Any]) -> Any:
        """Return whether networks with these costs are within the limit: a bool, or a column of bools."""
        return costs[self.quantity] <= self.constant + self.factor * np.asarray(costs["flops"], float) ** self.power

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which `from_dict` creates an equal constraint."""
        return {"kind": "cap", **dataclasses.asdict(self)}


Limit = Band | Cap
"""Constraints on the cost of a network; each has ``allows(costs)``."""
Constraint = Order | StageRange | Limit


def from_dict(fields: Mapping[str, Any]) -> Constraint:
    """Return the constraint described by the values of `to_dict`.

    Raises:
        InputError: the kind is unknown, or a key or value does not fit it.
    """
    all_keys = ("kind", "parameter", "stage", "quantity", "low", "high", "constant", "factor", "power")
    kind = text("kind of constraint", mapping("a constraint", fields, all_keys, ["kind"])["kind"])
    if kind not in _KEYS:
        raise unknown("kind of constraint", kind, _KEYS)
    arguments = dict(mapping(f"{kind} constraint", fields, ("kind", *_KEYS[kind]), _KEYS[kind]))
    del arguments["kind"]
    if kind in ORDERS:
        return Order(order=kind, **arguments)
    if kind == "range":
        return StageRange(**arguments)
    return Band(**arguments) if kind == "band" else Cap(**arguments)


_KEYS = {
    **dict.fromkeys(ORDERS, ("parameter",)),
    "range": ("parameter", "stage", "low", "high"),
    "band": ("quantity", "low", "high"),
    "cap": ("quantity", "constant", "factor", "power"),
}
"""Kind of constraint -> keys of its description."""
