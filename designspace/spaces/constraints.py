"""Constraints: what makes one space a refinement of another.

A refinement is its parent *conditioned on* the constraint ("Designing Network Design Spaces", section 3.2). Constraints
on the order of one parameter's values are drawn exactly, the others by rejection, cheapest first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from designspace.support.checks import make_plain, mapping, number, text
from designspace.support.errors import InputError, unknown
from designspace.support.text import quantity

STAGE_PARAMETERS = ("depth", "width", "bottleneck_ratio", "group_width", "cardinality")
ORDERS = ("shared", "non_decreasing", "non_increasing")
QUANTITIES = ("flops", "params", "activations")


@dataclass(frozen=True, slots=True)
class Order:
    """How the values of one parameter relate from stage to stage of an AnyNet: shared, or rising, or falling."""

    parameter: str
    order: str

    def __post_init__(self) -> None:
        if text("parameter", self.parameter) not in STAGE_PARAMETERS:
            raise unknown("parameter", self.parameter, STAGE_PARAMETERS)
        if text("order", self.order) not in ORDERS:
            raise unknown("order", self.order, ORDERS)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an equal constraint."""
        return {"kind": self.order, "parameter": self.parameter}


@dataclass(frozen=True, slots=True)
class Band:
    """A range of a complexity, both ends included: multiply-adds, parameters or activations."""

    quantity: str
    low: float
    high: float

    def __post_init__(self) -> None:
        make_plain(self)
        if text("complexity", self.quantity) not in QUANTITIES:
            raise unknown("complexity", self.quantity, QUANTITIES)
        number(f"the least {self.quantity} of a band", self.low, 0)
        if self.high != math.inf:  # no upper limit
            number(f"the most {self.quantity} of a band", self.high, 0)
        if self.low > self.high:
            raise InputError(f"a {self.quantity} band needs 0 <= low <= high, not {self.low} to {self.high}")

    def __str__(self) -> str:
        return f"{self.quantity} outside {quantity(self.low)} to {quantity(self.high)}"

    def allows(self, costs: Mapping[str, Any]) -> Any:
        """Whether networks of such costs are in the band: a bool, or a column of them."""
        value = costs[self.quantity]
        return (value >= self.low) & (value <= self.high)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an equal constraint."""
        return {"kind": "band", "quantity": self.quantity, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Cap:
    """An upper limit that grows with the multiply-adds f of the network itself: constant + factor * f ** power.

    The paper's constrained RegNetX (section 4, figure 13) limits parameters and activations so.
    """

    quantity: str
    constant: float
    factor: float
    power: float

    def __post_init__(self) -> None:
        make_plain(self)
        if text("complexity to cap", self.quantity) not in QUANTITIES[1:]:
            raise unknown("complexity to cap", self.quantity, QUANTITIES[1:])
        for name in ("constant", "factor", "power"):
            number(f"the {name} of a cap", getattr(self, name))

    def __str__(self) -> str:
        start = f"{quantity(self.constant)} + " if self.constant else ""
        power = f"^{self.power:g}" if self.power != 1 else ""
        return f"{self.quantity} above {start}{self.factor:g} * flops{power}"

    def allows(self, costs: Mapping[str, Any]) -> Any:
        """Whether networks of such costs are within the limit: a bool, or a column of them."""
        return costs[self.quantity] <= self.constant + self.factor * np.asarray(costs["flops"], float) ** self.power

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an equal constraint."""
        return {"kind": "cap", **dataclasses.asdict(self)}


Limit = Band | Cap
"""Constraints on what a network costs; each has ``allows(costs)``."""
Constraint = Order | Limit


def from_dict(fields: Mapping[str, Any]) -> Constraint:
    """The constraint that `to_dict` described.

    Raises:
        InputError: an unknown kind, or fields that do not fit it.
    """
    every = ("kind", "parameter", "quantity", "low", "high", "constant", "factor", "power")
    kind = text("kind of constraint", mapping("a constraint", fields, every, ["kind"])["kind"])
    if kind not in _KEYS:
        raise unknown("kind of constraint", kind, _KEYS)
    rest = dict(mapping(f"{kind} constraint", fields, ("kind", *_KEYS[kind]), _KEYS[kind]))
    del rest["kind"]
    if kind in ORDERS:
        return Order(order=kind, **rest)
    return Band(**rest) if kind == "band" else Cap(**rest)


_KEYS = {
    **dict.fromkeys(ORDERS, ("parameter",)),
    "band": ("quantity", "low", "high"),
    "cap": ("quantity", "constant", "factor", "power"),
}
"""Kind of constraint -> the keys that describe it."""
