"""Parameters that a space draws, and their conversion into stages that can be built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from numpy.typing import ArrayLike

from designspace.networks.blocks.widths import compatible_widths, widths_for_cardinality
from designspace.networks.layers import Column
from designspace.networks.network import MAX_DEPTH, MAX_RATIO, MAX_WIDTH
from designspace.networks.regnet import WIDTH_STEP
from designspace.spaces.axes import Axis
from designspace.spaces.constraints import STAGE_PARAMETERS
from designspace.support.errors import InputError
from designspace.support.text import shown

Columns = dict[str, Column]
"""Column name -> one entry per network. Stage parameters are d1..dk, w1..wk, b1..bk, g1..gk."""

LETTERS = dict(zip(STAGE_PARAMETERS, "dwbgc", strict=True))
"""Stage parameter -> letter of its columns."""
OwnAxes = tuple[tuple[str, Axis], ...]
"""Names of own parameters of a block, stem or head, and their axes, in the order of the names."""
REGNET_COLUMNS = ("depth", "w_0", "w_a", "w_m")
NETWORK_PARAMETERS = {"radix": "radix", "stem_width": "stem_width", "avd_first": "downsampling_first"}
"""Parameters that a network has once: key in files and columns -> attribute of `DesignSpace`."""


@dataclass(frozen=True, slots=True)
class AnyNetAxes:
    """Axes of an AnyNet, whose stages each have a depth, width, bottleneck ratio and groups (paper section 3.2).

    Groups are given by their width (AnyNetX) or by their number, the cardinality (ResNeXt, ResNeSt). A cardinality of 1
    is a full convolution, the only choice for blocks without bottleneck.
    """

    depth: Axis
    width: Axis
    bottleneck_ratio: Axis
    group_width: Axis | None = None
    cardinality: Axis | None = None
    own: OwnAxes = ()
    """Axes of the block's own parameters, each of which every stage draws."""

    def __post_init__(self) -> None:
        _check_axes(self)


@dataclass(frozen=True, slots=True)
class RegNetAxes:
    """Axes of a RegNet's six numbers (paper section 3.3): depth d, w_0, w_a, w_m, b, and g or the cardinality."""

    depth: Axis
    w_0: Axis
    w_a: Axis | None
    """None if w_a is always equal to w_0 (figure 9)."""
    w_m: Axis
    bottleneck_ratio: Axis
    group_width: Axis | None = None
    cardinality: Axis | None = None
    own: OwnAxes = ()
    """Axes of the block's own parameters, which all stages share, like b and g."""

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
"""Parameters that are whole numbers -> lowest and highest values."""
_REAL_RANGES = {"bottleneck_ratio": (1 / MAX_RATIO, MAX_RATIO), "w_a": (0, MAX_WIDTH), "w_m": (1.001, MAX_RATIO)}
MAX_REGNET_DEPTH = 1000
"""Most blocks of a RegNet, because draws are quantised block by block, many draws at a time."""


def check_axis(name: str, axis: Any) -> None:
    """Raise unless an axis has only values that its parameter may take.

    Raises:
        InputError: it is not an axis, or has a value that no network can have.
    """
    if not isinstance(axis, Axis):
        raise InputError(f"{name} must be an axis (log_uniform, uniform, choice or powers_of_two), not {shown(axis)}")
    if axis.labels:
        raise InputError(f"{name}: each of values must be a number, not {axis.labels[0]!r}")
    lowest, highest = axis.grid[0], axis.grid[-1]
    if name in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[name]
        fraction = next((value for value in axis.grid if value != value.to_integral_value()), None)
        invalid = next((value for value in (lowest, highest) if not low <= value <= high), fraction)
        if invalid is not None:
            raise InputError(f"{name} takes whole numbers from {low} to {high}, not {_short(invalid)}")
    else:
        low_, high_ = _REAL_RANGES[name]
        invalid = next((value for value in (lowest, highest) if not low_ <= value <= high_), None)
        if invalid is not None:
            raise InputError(f"{name} takes numbers from {low_:g} to {high_}, not {_short(invalid)}")
    if name == "w_0" and (invalid := next((value for value in axis.grid if value % WIDTH_STEP), None)) is not None:
        raise InputError(f"w_0 takes multiples of {WIDTH_STEP}, not {_short(invalid)}")


def _short(value: Decimal) -> str:
    """Return a value of an axis as text, whole numbers without a point."""
    return str(value) if value != value.to_integral_value() else str(int(value))


def _check_axes(axes: AnyNetAxes | RegNetAxes) -> None:
    """Raise unless all axes fit their parameters and exactly one of group width and cardinality has an axis."""
    object.__setattr__(axes, "own", check_own_axes(axes.own))
    for name, axis in ((field.name, getattr(axes, field.name)) for field in dataclasses.fields(axes)[:-1]):
        if axis is not None or name not in ("group_width", "cardinality", "w_a"):
            check_axis(name, axis)
    if (axes.group_width is None) == (axes.cardinality is None):
        raise InputError("a space needs an axis for group_width or for cardinality, but not for both")
    if isinstance(axes, RegNetAxes) and axes.depth.grid[-1] > MAX_REGNET_DEPTH:
        raise InputError(f"a RegNet's depth is at most {MAX_REGNET_DEPTH}, not {_short(axes.depth.grid[-1])}")


def check_own_axes(own: Any) -> OwnAxes:
    """Return axes of own parameters in the order of their names, after checking them.

    Raises:
        InputError: a name is not that of a parameter, occurs twice, or its axis is not one.
    """
    named = dict(own)
    for name, axis in named.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{shown(name)} cannot be the name of a parameter")
        if not isinstance(axis, Axis):
            raise InputError(f"{name} must be an axis (log_uniform, uniform or choice), not {shown(axis)}")
    if len(named) != len(own):
        raise InputError(f"a parameter has two axes: {', '.join(name for name, _ in own)}")
    return tuple(sorted(named.items()))


def named_axes(axes: AnyNetAxes | RegNetAxes) -> dict[str, Axis]:
    """Return all axes that are not None, by parameter."""
    fields = dataclasses.fields(axes)[:-1]
    return {f.name: axis for f in fields if (axis := getattr(axes, f.name)) is not None} | dict(axes.own)


def column_prefix(parameter: str) -> str:
    """Return the beginning of the names of a stage parameter's columns, which the number of the stage follows."""
    return LETTERS.get(parameter, parameter)


def with_law(axes: AnyNetAxes | RegNetAxes, law: str) -> AnyNetAxes | RegNetAxes:
    """Return the axes with another law for all log-uniform ones (see `designspace.spaces.axes.log_uniform`).

    Raises:
        InputError: the law is unknown, or no axis is log-uniform.
    """
    changed: dict[str, Any] = {
        name: axis.with_law(law)
        for name, axis in named_axes(axes).items()
        if axis.kind == "log_uniform" and name not in dict(axes.own)
    }
    if not changed:
        raise InputError(f"law={shown(law)} is for log-uniform axes, and the space has none; leave out law")
    return dataclasses.replace(axes, **changed)


def groups_axis(axes: AnyNetAxes | RegNetAxes) -> Axis:
    """Return the axis of group widths or cardinalities, whichever is not None."""
    axis = axes.group_width or axes.cardinality
    assert axis is not None
    return axis


def realise(
    axes: AnyNetAxes | RegNetAxes, width: Column, bottleneck_ratio: ArrayLike, groups: ArrayLike, radix: ArrayLike
) -> tuple[Column, Column]:
    """Turn drawn widths and groups of one stage into columns of widths and group widths that can be built.

    ``groups`` are group widths or cardinalities, depending on the axes.
    """
    if axes.group_width:
        return compatible_widths(width, bottleneck_ratio, groups)
    return widths_for_cardinality(width, bottleneck_ratio, groups, radix)


def to_python(value: Any) -> float | str:
    """Return an entry of a column as a Python number, as an int if it is whole, or as text."""
    return str(value) if isinstance(value, str) else to_python_number(value)


def to_python_number(value: Any) -> float:
    """Return a number of a column as a Python number, as an int if it is whole."""
    number = float(value)
    return int(number) if number.is_integer() else number
