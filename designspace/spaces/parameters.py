"""The parameters that a space draws, and how draws become stages that can be built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from numpy.typing import ArrayLike

from designspace.networks.blocks import Column, compatible_widths, widths_for_cardinality
from designspace.networks.network import MAX_DEPTH, MAX_RATIO, MAX_WIDTH
from designspace.networks.regnet import WIDTH_STEP
from designspace.spaces.axes import Axis
from designspace.spaces.constraints import STAGE_PARAMETERS
from designspace.support.errors import InputError
from designspace.support.text import shown

Columns = dict[str, Column]
"""Column name -> one entry for each network. Stage parameters are d1..dk, w1..wk, b1..bk, g1..gk."""

LETTERS = dict(zip(STAGE_PARAMETERS, "dwbgc", strict=True))
"""Stage parameter -> the letter of its columns."""
REGNET_COLUMNS = ("depth", "w_0", "w_a", "w_m")
NETWORK_PARAMETERS = {"radix": "radix", "stem_width": "stem_width", "avd_first": "downsampling_first"}
"""Parameters that a network has once: key in files and columns -> attribute of `DesignSpace`."""


@dataclass(frozen=True, slots=True)
class AnyNetAxes:
    """Each stage of an AnyNet has its own depth, width, bottleneck ratio and groups (paper section 3.2).

    Groups are given by their width (AnyNetX) or by their number, the cardinality (ResNeXt, ResNeSt). A cardinality of 1
    is a full convolution: all that blocks without bottleneck have.
    """

    depth: Axis
    width: Axis
    bottleneck_ratio: Axis
    group_width: Axis | None = None
    cardinality: Axis | None = None

    def __post_init__(self) -> None:
        _check_axes(self)


@dataclass(frozen=True, slots=True)
class RegNetAxes:
    """A RegNet follows from six numbers (paper section 3.3): depth d, w_0, w_a, w_m, b, and g or the cardinality."""

    depth: Axis
    w_0: Axis
    w_a: Axis | None
    """None where w_a is always equal to w_0 (figure 9)."""
    w_m: Axis
    bottleneck_ratio: Axis
    group_width: Axis | None = None
    cardinality: Axis | None = None

    def __post_init__(self) -> None:
        _check_axes(self)


_INTEGER_RANGES = {
    "depth": (1, MAX_DEPTH),
    "width": (1, MAX_WIDTH),
    "group_width": (1, MAX_WIDTH),
    "cardinality": (1, MAX_WIDTH),
    "w_0": (WIDTH_STEP, MAX_WIDTH),
    "radix": (0, MAX_RATIO),
    "stem_width": (1, MAX_WIDTH),
    "avd_first": (0, 1),
}
"""Parameters that are whole numbers, and their least and highest values."""
_REAL_RANGES = {"bottleneck_ratio": (1 / MAX_RATIO, MAX_RATIO), "w_a": (0, MAX_WIDTH), "w_m": (1.001, MAX_RATIO)}
MAX_REGNET_DEPTH = 1000
"""Blocks of a RegNet: draws are quantised block by block, many at a time."""


def check_axis(name: str, axis: Any) -> None:
    """Raise unless an axis holds values that its parameter may take.

    Raises:
        InputError: it is no axis, or has a value that no network can have.
    """
    if not isinstance(axis, Axis):
        raise InputError(f"{name} must be an axis (log_uniform, uniform, choice or powers_of_two), not {shown(axis)}")
    lowest, highest = axis.grid[0], axis.grid[-1]
    if name in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[name]
        odd = next((value for value in axis.grid if value != value.to_integral_value()), None)
        outside = next((value for value in (lowest, highest) if not low <= value <= high), odd)
        if outside is not None:
            raise InputError(f"{name} takes whole numbers from {low} to {high}, not {_short(outside)}")
    else:
        low_, high_ = _REAL_RANGES[name]
        outside = next((value for value in (lowest, highest) if not low_ <= value <= high_), None)
        if outside is not None:
            raise InputError(f"{name} takes numbers from {low_:g} to {high_}, not {_short(outside)}")
    if name == "w_0" and (odd := next((value for value in axis.grid if value % WIDTH_STEP), None)) is not None:
        raise InputError(f"w_0 takes multiples of {WIDTH_STEP}, not {_short(odd)}")


def _short(value: Decimal) -> str:
    """A value of an axis for a message."""
    return str(value) if value != value.to_integral_value() else str(int(value))


def _check_axes(axes: AnyNetAxes | RegNetAxes) -> None:
    """Raise unless all axes fit their parameters, and there is exactly one of group width and cardinality."""
    for name, axis in ((field.name, getattr(axes, field.name)) for field in dataclasses.fields(axes)):
        if axis is not None or name not in ("group_width", "cardinality", "w_a"):
            check_axis(name, axis)
    if (axes.group_width is None) == (axes.cardinality is None):
        raise InputError("a space needs an axis for group_width or for cardinality, and not for both")
    if isinstance(axes, RegNetAxes) and axes.depth.grid[-1] > MAX_REGNET_DEPTH:
        raise InputError(f"a RegNet's depth is at most {MAX_REGNET_DEPTH}, not {_short(axes.depth.grid[-1])}")


def named_axes(axes: AnyNetAxes | RegNetAxes) -> dict[str, Axis]:
    """The axes that there are, by the name of their parameter."""
    return {f.name: axis for f in dataclasses.fields(axes) if (axis := getattr(axes, f.name)) is not None}


def with_law(axes: AnyNetAxes | RegNetAxes, law: str) -> AnyNetAxes | RegNetAxes:
    """Return axes whose log-uniform ones follow another law (see `designspace.spaces.axes.log_uniform`).

    Raises:
        InputError: an unknown law, or none of the axes is log-uniform.
    """
    changed: dict[str, Any] = {
        name: axis.with_law(law) for name, axis in named_axes(axes).items() if axis.kind == "log_uniform"
    }
    if not changed:
        raise InputError(f"law={shown(law)} is for log-uniform axes, and the space has none; leave law out")
    return dataclasses.replace(axes, **changed)


def groups_axis(axes: AnyNetAxes | RegNetAxes) -> Axis:
    """The axis of group widths or of cardinalities, whichever there is."""
    axis = axes.group_width or axes.cardinality
    assert axis is not None
    return axis


def realise(
    axes: AnyNetAxes | RegNetAxes, width: Column, bottleneck_ratio: ArrayLike, groups: ArrayLike, radix: ArrayLike
) -> tuple[Column, Column]:
    """Make drawn widths and groups of one stage compatible: columns of widths and group widths that can be built.

    ``groups`` are group widths or cardinalities, whichever the axes are for.
    """
    if axes.group_width:
        return compatible_widths(width, bottleneck_ratio, groups)
    return widths_for_cardinality(width, bottleneck_ratio, groups, radix)


def to_python_number(value: Any) -> float:
    """A number of a column as a Python number, whole ones as int."""
    number = float(value)
    return int(number) if number.is_integer() else number
