"""The parameters that a space draws, and how draws become stages that can be built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from designspace.networks.blocks import Int, compatible_widths, widths_of_cardinality
from designspace.networks.complexity import Column
from designspace.spaces.axes import Axis
from designspace.spaces.constraints import STAGE_PARAMETERS
from designspace.support.errors import InputError

Columns = dict[str, Column]
"""Column name -> one entry for each network. Stage parameters are d1..dk, w1..wk, b1..bk, g1..gk."""

LETTERS = dict(zip(STAGE_PARAMETERS, "dwbgc", strict=True))
"""Stage parameter -> the letter of its columns."""
REGNET_COLUMNS = ("depth", "w_0", "w_a", "w_m")
WHOLE = ("radix", "stem_width", "avd_first")
"""Parameters that a network has once."""


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
        _check_groups(self)


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
        _check_groups(self)


def _check_groups(axes: AnyNetAxes | RegNetAxes) -> None:
    """Raise unless exactly one of group width and cardinality is given."""
    if (axes.group_width is None) == (axes.cardinality is None):
        raise InputError("a space needs an axis for group_width or for cardinality, and not for both")


def named_axes(axes: AnyNetAxes | RegNetAxes) -> dict[str, Axis]:
    """The axes that there are, by the name of their parameter."""
    return {f.name: axis for f in dataclasses.fields(axes) if (axis := getattr(axes, f.name)) is not None}


def groups_axis(axes: AnyNetAxes | RegNetAxes) -> Axis:
    """The axis of group widths or of cardinalities, whichever there is."""
    axis = axes.group_width or axes.cardinality
    assert axis is not None
    return axis


def realise(
    axes: AnyNetAxes | RegNetAxes, width: NDArray[Any], bottleneck_ratio: Any, groups: Any, radix: Int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make drawn widths and groups of one stage compatible: columns of widths and group widths that can be built.

    ``groups`` are group widths or cardinalities, whichever the axes are for. All columns are of shape (n,).
    """
    if axes.group_width:
        realised = compatible_widths(width, bottleneck_ratio, groups)
    else:
        realised = widths_of_cardinality(width, bottleneck_ratio, groups, radix)
    new_width, group_width = realised
    assert not isinstance(new_width, int)
    assert not isinstance(group_width, int)
    return new_width, group_width
