"""Constraints: what makes one space a refinement of another.

A refinement is its parent *conditioned on* the constraint ("Designing Network Design Spaces", section 3.2). Constraints
on the order of one parameter's values are drawn exactly, the others by rejection, cheapest first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from designspace.support.errors import InputError, unknown

STAGE_PARAMETERS = ("depth", "width", "bottleneck_ratio", "group_width")
ORDERS = ("shared", "non_decreasing", "non_increasing")
QUANTITIES = ("flops", "params", "activations")


@dataclass(frozen=True, slots=True)
class Order:
    """How the values of one parameter relate from stage to stage of an AnyNet: shared, or rising, or falling."""

    parameter: str
    order: str

    def __post_init__(self) -> None:
        if self.parameter not in STAGE_PARAMETERS:
            raise unknown("parameter", self.parameter, STAGE_PARAMETERS)
        if self.order not in ORDERS:
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
        if self.quantity not in QUANTITIES:
            raise unknown("complexity", self.quantity, QUANTITIES)
        if not 0 <= self.low <= self.high or math.isinf(self.low):
            raise InputError(f"a {self.quantity} band needs 0 <= low <= high, not {self.low} to {self.high}")

    def __str__(self) -> str:
        return f"{self.quantity} outside {_short(self.low)} to {_short(self.high)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an equal constraint."""
        return {"kind": "band", "quantity": self.quantity, "low": self.low, "high": self.high}


Constraint = Order | Band


def from_dict(fields: Mapping[str, Any]) -> Constraint:
    """The constraint that `to_dict` described.

    Raises:
        InputError: an unknown kind, or fields that do not fit it.
    """
    rest = dict(fields)
    kind = rest.pop("kind", None)
    try:
        if kind == "band":
            return Band(**rest)
        if kind in ORDERS:
            return Order(order=kind, **rest)
    except TypeError as error:
        raise InputError(f"constraint {dict(fields)}: {error}") from error
    raise unknown("kind of constraint", kind, [*ORDERS, "band"])


def _short(value: float) -> str:
    """A number as people write it: 3.6e8 as 360M.

    >>> _short(360e6), _short(2.5e9), _short(1200), _short(7)
    ('360M', '2.5G', '1.2k', '7')
    """
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if factor <= value < math.inf:
            return f"{value / factor:.4g}{suffix}"
    return f"{value:g}"
