"""Widths within blocks, computed in one place for counting, drawing and building networks.

The functions take columns with one entry per network (or single numbers, like NumPy's own functions) and broadcast
them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from designspace.networks.layers import Column

MIN_ATTENTION_WIDTH = 32


def inner_width(width: ArrayLike, bottleneck_ratio: ArrayLike) -> Column:
    """Return the channels of the 3x3 convolution, width / b, at least 1 (paper section 3.2)."""
    column: Column = np.maximum(1, np.rint(np.divide(np.asarray(width, np.float64), bottleneck_ratio))).astype(np.int64)
    return column


def se_width(in_width: ArrayLike, se_ratio: float) -> Column:
    """Return the squeeze width: a fraction of the block's *input* width, rounded half to even; 0 for none."""
    column: Column = np.rint(np.asarray(in_width, np.int64) * se_ratio).astype(np.int64)
    return column


def attention_width(inner: ArrayLike, radix: ArrayLike, cardinality: ArrayLike) -> Column:
    """Return the hidden channels of split attention: max(inner * radix / 4, 32), as in the authors' code.

    The width is rounded up to a multiple of the cardinality, which the two grouped 1x1 convolutions need. This changes
    none of the published networks; the original code raises for many sampled ones.
    """
    least = np.maximum(np.multiply(inner, radix) // 4, MIN_ATTENTION_WIDTH)
    column: Column = -(-least // cardinality) * cardinality
    return column


def compatible_widths(width: ArrayLike, bottleneck_ratio: ArrayLike, group_width: ArrayLike) -> tuple[Column, Column]:
    """Turn drawn widths and group widths into ones that can be built: (width, group width).

    The group width is cut to the inner width, and the inner width is rounded to the nearest multiple of the group
    width, half to even ("Designing Network Design Spaces", appendix D; pycls rounds in this way, torchvision does not).
    For an inverted bottleneck (b < 1) it is a multiple of both the group width and 1/b. If the new width does not give
    that inner width (for example with b = 0.3 or 1.2), the nearest multiple that some width gives is used.
    """
    # Whole numbers stay floats here: floats hold them exactly and divide far faster than integers.
    ratio = np.asarray(bottleneck_ratio, np.float64)
    # The small term makes 27 / (1/3) 81 instead of 80.999...; no drawn values come closer to a whole number.
    inner = np.maximum(1, np.floor(np.asarray(width) / ratio + 1e-9))
    new_group_width = np.minimum(group_width, inner)
    multiple = new_group_width
    if np.any(ratio < 1):
        expansion = np.maximum(1, np.floor(1 / ratio + 1e-9))
        multiple = np.lcm(new_group_width.astype(np.int64), expansion.astype(np.int64))
    inner = np.maximum(multiple, np.rint(inner / multiple) * multiple)
    new_width = np.floor(inner * ratio + 1e-9).astype(np.int64)
    return _fit_inner_widths(new_width, new_group_width.astype(np.int64), inner, ratio)


_STEPS = 1000
"""Number of multiples to try on either side before changing the groups instead."""


def _fit_inner_widths(
    new_width: Column,
    group_width: Column,
    inner: Column,
    ratio: Column,
    groups: Column | None = None,
    splits: ArrayLike = 1,
) -> tuple[Column, Column]:
    """Correct widths whose inner width is not a multiple of their group width: (width, group width).

    The inner width becomes the nearest multiple of the group width that some width gives, upwards first: one for which
    round(round(inner * b) / b) = inner. With ``groups``, the number of groups stays and their width changes, which
    remains a multiple of ``splits``. If no multiple is near, the group width becomes the greatest common divisor of
    itself and the inner width.
    """
    # Whole ratios and those of at least 2 always fit.
    if not np.any((ratio < 2) & (ratio != np.rint(ratio))):
        return new_width, group_width
    misfits = (new_width < 1) | (inner_width(new_width, ratio) % group_width != 0)
    if not np.any(misfits):
        return new_width, group_width
    multiple = group_width if groups is None else groups * splits
    columns = np.broadcast_arrays(new_width, group_width, inner, ratio, multiple, splits)
    width, group_width, inner, ratio, multiple, splits = (column.flatten() for column in columns)
    rows = np.flatnonzero(misfits)
    for step in (step * sign for step in range(_STEPS) for sign in (1, -1)):
        count = np.maximum(1, np.rint(inner[rows] / multiple[rows])).astype(np.int64) + step
        target = count * multiple[rows]
        candidate = np.maximum(1, np.rint(target * ratio[rows])).astype(np.int64)
        fits = (count >= 1) & (inner_width(candidate, ratio[rows]) == target)
        width[rows[fits]] = candidate[fits]
        if groups is not None:
            group_width[rows[fits]] = count[fits] * splits[rows[fits]]
        rows = rows[~fits]
        if not len(rows):
            break
    width[rows] = np.maximum(1, width[rows])
    group_width[rows] = np.gcd(group_width[rows], inner_width(width[rows], ratio[rows]))
    return width.reshape(misfits.shape), group_width.reshape(misfits.shape)


def widths_for_cardinality(
    width: ArrayLike, bottleneck_ratio: ArrayLike, cardinality: ArrayLike, radix: ArrayLike = 0
) -> tuple[Column, Column]:
    """Turn drawn widths and cardinalities into widths that can be built: (width, group width).

    ResNeXt and ResNeSt fix the number of groups, and the group width follows. The inner width is rounded to the nearest
    multiple of cardinality * radix, the number of groups of a split-attention convolution; if it is smaller than that,
    the cardinality is cut.
    """
    ratio = np.asarray(bottleneck_ratio, np.float64)
    splits = np.maximum(radix, 1)
    inner = np.maximum(1, np.floor(np.asarray(width, np.int64) / ratio + 1e-9)).astype(np.int64)
    groups = np.maximum(1, np.minimum(cardinality, inner // splits))
    group_width = np.maximum(1, np.rint(inner / (groups * splits))).astype(np.int64) * splits
    new_width = np.rint(group_width * groups * ratio).astype(np.int64)
    return _fit_inner_widths(new_width, group_width, inner, ratio, groups, splits)
