"""Changes of a space that a refinement may propose; each is a value that can be applied to the space."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from designspace.spaces.axes import log_uniform
from designspace.spaces.catalog import regnet_axes
from designspace.spaces.constraints import Limit, Order, StageRange
from designspace.spaces.parameters import NETWORK_PARAMETERS, AnyNetAxes, OwnAxes, named_axes
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A narrower range of an axis of numbers for all stages, or one of its values."""

    parameter: str
    low: float
    high: float

    def apply(self, space: DesignSpace) -> DesignSpace:
        """Return the space with the narrower axis.

        Raises:
            InputError: no value of the axis is in the range.
        """
        return _narrowed(space, self.parameter, self.low, self.high)


@dataclass(frozen=True, slots=True)
class FixedText:
    """One text of an axis of texts, such as the name of an activation, for all stages."""

    parameter: str
    text: str

    def apply(self, space: DesignSpace) -> DesignSpace:
        """Return the space with a single text.

        Raises:
            InputError: it is not on the axis.
        """
        return _narrowed(space, self.parameter, self.text, self.text)


def _narrowed(space: DesignSpace, name: str, low: float | str, high: float | str) -> DesignSpace:
    """Return the space in which one axis is narrower."""
    of_parts: dict[str, Any] = {}
    if name in NETWORK_PARAMETERS:
        field = NETWORK_PARAMETERS[name]
        of_parts[field] = getattr(space, field).within(low, high)
    elif name in dict(space.own_network_axes):
        of_parts["own_network_axes"] = _narrowed_own(space.own_network_axes, name, low, high)
    else:
        axes = space.axes
        is_own = name in dict(axes.own)
        axis: Any = _narrowed_own(axes.own, name, low, high) if is_own else named_axes(axes)[name].within(low, high)
        of_axes: dict[str, Any] = {"own" if is_own else name: axis}
        of_parts["axes"] = dataclasses.replace(axes, **of_axes)
    return dataclasses.replace(space, **of_parts)


def _narrowed_own(own: OwnAxes, name: str, low: float | str, high: float | str) -> OwnAxes:
    """Return own axes of which one is narrower."""
    return tuple((other, axis.within(low, high) if other == name else axis) for other, axis in own)


@dataclass(frozen=True, slots=True)
class Line:
    """Depths and widths from a quantised line: the RegNet with the other axes of an AnyNet.

    Widths are no longer drawn from their own axis, so it is a space beside the AnyNet rather than a part of it.
    """

    def apply(self, space: DesignSpace) -> DesignSpace:
        """Return the RegNet; orders and ranges of stages are left out, because its stages follow from the line."""
        axes = space.axes
        assert isinstance(axes, AnyNetAxes)
        stages = space.num_stages
        line = regnet_axes()
        deepest = min(int(line.depth.grid[-1]), stages * int(axes.depth.grid[-1]))
        shared = {name: getattr(axes, name) for name in ("bottleneck_ratio", "group_width", "cardinality", "own")}
        of_line = dataclasses.replace(line, depth=log_uniform(stages, max(stages, deepest)), **shared)
        limits = tuple(constraint for constraint in space.constraints if isinstance(constraint, Limit))
        return dataclasses.replace(space, axes=of_line, constraints=limits)


Change = Order | StageRange | Narrowing | FixedText | Line


def apply(space: DesignSpace, change: Change) -> DesignSpace:
    """Return the space after a change.

    Raises:
        InputError: the space does not allow the change.
    """
    if isinstance(change, Narrowing | FixedText | Line):
        return change.apply(space)
    return space.refine(change)


def apply_all(space: DesignSpace, changes: list[Change], name: str) -> DesignSpace:
    """Return the space after several changes, under another name.

    Raises:
        InputError: the changes contradict each other.
    """
    ordered = sorted(changes, key=lambda change: isinstance(change, Line))  # nothing can be ordered on a line
    try:
        for change in ordered:
            space = apply(space, change)
        return dataclasses.replace(space, name=name)
    except InputError as error:
        raise InputError(f"the accepted proposals contradict each other: {error}") from error
