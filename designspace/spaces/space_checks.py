"""Checks of a design space: costs that can be counted, ranges that its axes allow, and blocks without groups."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from designspace.spaces.constraints import StageRange
from designspace.spaces.parameters import RegNetAxes, named_axes
from designspace.support.errors import InputError

if TYPE_CHECKING:  # space.py imports this module
    from designspace.spaces.space import DesignSpace

MAX_COST = 4e18
"""Highest number of multiply-adds that a space may have, because columns of costs are int64."""


def check_costs(space: DesignSpace) -> None:
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
    own = math.prod(max(1.0, float(axis.grid[-1])) for _, axis in axes.own if not axis.labels)
    radix = max(1.0, float(space.radix.grid[-1]))
    blocks = own * depth * 9 * (width + inner + stem) ** 2 * radix * (1 + template.se_ratio)
    total = (side / template.strides[0] + 1) ** 2 * blocks
    total += template.resolution**2 * 49 * template.in_channels * stem
    total += (width + template.num_classes) * (template.head_width + template.num_classes)
    if total > MAX_COST:
        raise InputError(
            f"{space.name}: its largest networks may cost {total:.0e} multiply-adds, but at most {MAX_COST:.0e} can "
            "be counted; lower the widths, the depths or the resolution"
        )


def check_range(space: DesignSpace, limit: StageRange) -> None:
    """Raise unless the range of a stage allows values of an axis of numbers."""
    if isinstance(space.axes, RegNetAxes):
        raise InputError(f"{space.name}: a RegNet's stages follow from its line, so a range of one does not apply")
    axis = named_axes(space.axes).get(limit.parameter)
    if axis is None or axis.labels:
        numbers = [name for name, other in named_axes(space.axes).items() if not other.labels]
        raise InputError(
            f"{space.name}: {limit.parameter} cannot have a range, because the space has no such axis of numbers; "
            f"choose from: {', '.join(numbers)}"
        )
    if limit.stage > space.num_stages:
        raise InputError(f"{space.name}: a range needs a stage from 1 to {space.num_stages}, not {limit.stage}")
    if not limit.allows_value(axis.values).any():
        raise InputError(
            f"{space.name}: no value of {limit.parameter} is from {limit.low:g} to {limit.high:g}; its axis is {axis!r}"
        )


def is_plain(space: DesignSpace) -> bool:
    """Return whether no network of the space has a bottleneck, groups or splits."""
    cardinality = space.axes.cardinality
    axes = (space.axes.bottleneck_ratio, cardinality)
    return all(axis is not None and axis.values.tolist() == [1] for axis in axes) and space.radix.values.tolist() == [0]
