"""The widths within blocks: written once, for those who count, draw or build networks.

The functions take whole columns with one entry for each network (or single numbers, as NumPy's own functions do) and
broadcast them. `designspace.networks.layers` lists the layers that follow; `designspace.models` has the modules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Column = NDArray[Any]
"""Numbers: one for each network, or a single one that all networks share. Shape (n,) or (1,)."""

MIN_ATTENTION_WIDTH = 32
PLAIN_CONVS = {"basic": 2, "vanilla": 2, "single": 1, "single_residual": 1}
"""Blocks without bottleneck, and how many 3x3 convolutions each has."""
PROJECTING = ("bottleneck", "basic", "single_residual")
"""Blocks with a shortcut that is projected where the shape changes."""
STEM_STRIDES = {"imagenet": 2, "cifar": 1, "resnet": 4, "deep": 4}
"""Kinds of stems, and by how much each divides the side of an image."""


def inner_width(width: ArrayLike, bottleneck_ratio: ArrayLike) -> Column:
    """Return the channels of the 3x3 convolution, width / b, at least 1 (paper section 3.2)."""
    column: Column = np.maximum(1, np.rint(np.divide(np.asarray(width, np.float64), bottleneck_ratio))).astype(np.int64)
    return column


def se_width(in_width: ArrayLike, se_ratio: float) -> Column:
    """Return the squeeze width: a part of the block's *input* width, rounded half to even. 0 means none."""
    column: Column = np.rint(np.asarray(in_width, np.int64) * se_ratio).astype(np.int64)
    return column


def attention_width(inner: ArrayLike, radix: ArrayLike, cardinality: ArrayLike) -> Column:
    """Return the hidden channels of split attention: max(inner * radix / 4, 32), as in the authors' code.

    Rounded up to a multiple of the cardinality, which the two grouped 1x1 convolutions need. That changes none of the
    published networks, but the original raises for many sampled ones.
    """
    least = np.maximum(np.multiply(inner, radix) // 4, MIN_ATTENTION_WIDTH)
    column: Column = -(-least // cardinality) * cardinality
    return column


def compatible_widths(width: ArrayLike, bottleneck_ratio: ArrayLike, group_width: ArrayLike) -> tuple[Column, Column]:
    """Bring drawn widths and group widths into a form that can be built: (width, group width).

    The group width is cut to the inner width, and the inner width rounded to its nearest multiple of the group width,
    half to even ("Designing Network Design Spaces", appendix D; the rounding is pycls's, torchvision's differs).
    An inverted bottleneck (b < 1) rounds to a multiple of both the group width and 1/b. Where the inner width that
    follows from the new width is not that multiple (b = 0.3 or 1.2, say), the nearest one is taken for which it is.
    """
    # Whole numbers stay floats on the way, which hold them exactly and divide far faster than integers.
    ratio = np.asarray(bottleneck_ratio, np.float64)
    # The small term keeps 27 / (1/3) at 81 where floats would give 80.999...; drawn values are no closer to a whole.
    inner = np.maximum(1, np.floor(np.asarray(width) / ratio + 1e-9))
    groups_of = np.minimum(group_width, inner)
    multiple = groups_of
    if np.any(ratio < 1):
        expansion = np.maximum(1, np.floor(1 / ratio + 1e-9))
        multiple = np.lcm(groups_of.astype(np.int64), expansion.astype(np.int64))
    inner = np.maximum(multiple, np.rint(inner / multiple) * multiple)
    new_width = np.floor(inner * ratio + 1e-9).astype(np.int64)
    groups_of = groups_of.astype(np.int64)
    return _mended(new_width, groups_of, inner, ratio)


_STEPS = 1000
"""Multiples to either side that are tried before the groups are changed instead."""


def _mended(
    new_width: Column,
    group_width: Column,
    inner: Column,
    ratio: Column,
    groups: Column | None = None,
    splits: ArrayLike = 1,
) -> tuple[Column, Column]:
    """Mend the widths whose inner width is not a multiple of their group width: (width, group width).

    The inner width becomes the nearest multiple of the group width that a width has, upwards first: one for which
    round(round(inner * b) / b) = inner. With ``groups``, their number stays instead of their width, which is a multiple
    of ``splits``. Where no multiple is near, the group width becomes the greatest common divisor of itself and the
    inner width.
    """
    # Whole ratios and those from 2 on always fit.
    if not np.any((ratio < 2) & (ratio != np.rint(ratio))):
        return new_width, group_width
    misfits = (new_width < 1) | (inner_width(new_width, ratio) % group_width != 0)
    if not np.any(misfits):
        return new_width, group_width
    multiple = group_width if groups is None else groups * splits
    columns = np.broadcast_arrays(new_width, group_width, inner, ratio, multiple, splits)
    width, groups_of, inner, ratio, multiple, splits = (column.flatten() for column in columns)
    rows = np.flatnonzero(misfits)
    for step in (step * sign for step in range(_STEPS) for sign in (1, -1)):
        count = np.maximum(1, np.rint(inner[rows] / multiple[rows])).astype(np.int64) + step
        wanted = count * multiple[rows]
        candidate = np.maximum(1, np.rint(wanted * ratio[rows])).astype(np.int64)
        fits = (count >= 1) & (inner_width(candidate, ratio[rows]) == wanted)
        width[rows[fits]] = candidate[fits]
        if groups is not None:
            groups_of[rows[fits]] = count[fits] * splits[rows[fits]]
        rows = rows[~fits]
        if not len(rows):
            break
    width[rows] = np.maximum(1, width[rows])
    groups_of[rows] = np.gcd(groups_of[rows], inner_width(width[rows], ratio[rows]))
    return width.reshape(misfits.shape), groups_of.reshape(misfits.shape)


def widths_for_cardinality(
    width: ArrayLike, bottleneck_ratio: ArrayLike, cardinality: ArrayLike, radix: ArrayLike = 0
) -> tuple[Column, Column]:
    """Bring drawn widths and cardinalities into a form that can be built: (width, group width).

    The inner width is rounded to its nearest multiple of cardinality * radix, the groups of a split-attention
    convolution; where it is narrower than that, the cardinality is cut. So ResNeXt and ResNeSt count groups: their
    number is fixed, and their width follows.
    """
    ratio = np.asarray(bottleneck_ratio, np.float64)
    splits = np.maximum(radix, 1)
    inner = np.maximum(1, np.floor(np.asarray(width, np.int64) / ratio + 1e-9)).astype(np.int64)
    groups = np.maximum(1, np.minimum(cardinality, inner // splits))
    group_width = np.maximum(1, np.rint(inner / (groups * splits))).astype(np.int64) * splits
    new_width = np.rint(group_width * groups * ratio).astype(np.int64)
    return _mended(new_width, group_width, inner, ratio, groups, splits)
