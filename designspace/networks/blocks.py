"""The shape arithmetic of stems, blocks and heads, written once.

Every function takes ints, or integer columns with one entry for each network of a population, and gives the layers
that a module with those shapes has. `designspace.networks.complexity` folds over them; `designspace.models` takes its
widths from the same helpers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int = int | NDArray[Any]
"""A number, or a column of whole numbers with one entry for each network."""
Real = float | NDArray[Any]

MIN_ATTENTION_WIDTH = 32
PLAIN_CONVS = {"basic": 2, "vanilla": 2, "single": 1, "single_residual": 1}
"""Blocks without bottleneck, and how many 3x3 convolutions each has."""
PROJECTING = ("bottleneck", "basic", "single_residual")
"""Blocks with a shortcut that is projected where the shape changes."""


class Layer(NamedTuple):
    """A layer with learned weights, or the stem's max pool (which the activation count includes)."""

    kind: str
    """``conv`` (a linear layer is a 1x1 convolution of a 1x1 map), ``batch_norm`` or ``max_pool``."""
    in_width: Int
    out_width: Int
    size: Int
    """Height and width of the output, in pixels."""
    kernel: int = 1
    groups: Int = 1
    bias: bool = False
    repeats: Int = 1
    """How often the layer stands there: 0 where a network of the population lacks it."""


def inner_width(width: Int, bottleneck_ratio: Real) -> Int:
    """Channels of the 3x3 convolution, width / b, at least 1 (paper section 3.2)."""
    if isinstance(width, int) and isinstance(bottleneck_ratio, (int, float)):
        return max(1, round(width / bottleneck_ratio))
    column: NDArray[Any] = np.maximum(1, np.rint(width / bottleneck_ratio)).astype(np.int64)
    return column


def se_width(in_width: Int, se_ratio: float) -> Int:
    """Squeeze width: a part of the block's *input* width, rounded half to even; 0 means no squeeze-and-excitation."""
    if isinstance(in_width, int):
        return round(in_width * se_ratio)
    return np.rint(in_width * se_ratio).astype(np.int64)


def attention_width(inner: Int, radix: Int, cardinality: Int) -> Int:
    """Hidden channels of split attention: max(inner * radix / 4, 32), as in the authors' code.

    Rounded up to a multiple of the cardinality, which the two grouped 1x1 convolutions need. That changes none of the
    published networks, but the original raises for many sampled ones.
    """
    wanted = np.maximum(inner * radix // 4, MIN_ATTENTION_WIDTH)
    rounded: NDArray[Any] = -(-wanted // cardinality) * cardinality
    return int(rounded) if isinstance(inner, int) else rounded


def compatible_widths(width: Int, bottleneck_ratio: Real, group_width: Int) -> tuple[Int, Int]:
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
    new_width, groups_of = _mended(new_width, groups_of, inner, ratio)
    if isinstance(width, int):
        return int(new_width), int(groups_of)
    return new_width, groups_of


_STEPS = 1000
"""Multiples to either side that are tried before the groups are changed instead."""


def _mended(
    new_width: Any, group_width: Any, inner: Any, ratio: Any, groups: Any = None, splits: Any = 1
) -> tuple[Any, Any]:
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
    shape = np.shape(misfits)
    multiple = group_width if groups is None else groups * splits
    given = (new_width, group_width, inner, ratio, multiple, splits)
    columns = [np.array(np.broadcast_to(column, shape)).ravel() for column in given]
    width, groups_of, inner, ratio, multiple, splits = columns
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
    return width.reshape(shape), groups_of.reshape(shape)


def halved(size: int, stride: int) -> int:
    """Side of the output of a padded layer, in pixels: size / stride, rounded up."""
    return -(-size // stride)


def widths_of_cardinality(width: Int, bottleneck_ratio: Real, cardinality: Int, radix: Int = 0) -> tuple[Int, Int]:
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
    new_width, group_width = _mended(new_width, group_width, inner, ratio, groups, splits)
    if isinstance(width, int):
        return int(new_width), int(group_width)
    return new_width, group_width


def stem_layers(kind: str, in_channels: int, width: Int, size: int) -> tuple[list[Layer], int]:
    """The layers of a stem, and the side of its output in pixels."""
    if kind == "imagenet":
        return list(_conv_norm(in_channels, width, halved(size, 2), kernel=3)), halved(size, 2)
    if kind == "cifar":
        return list(_conv_norm(in_channels, width, size, kernel=3)), size
    half, quarter = halved(size, 2), halved(halved(size, 2), 2)
    if kind == "resnet":
        layers = list(_conv_norm(in_channels, width, half, kernel=7))
    else:
        layers = [
            *_conv_norm(in_channels, width // 2, half, kernel=3),
            *_conv_norm(width // 2, width // 2, half, kernel=3),
            *_conv_norm(width // 2, width, half, kernel=3),
        ]
    return [*layers, Layer("max_pool", width, width, quarter, kernel=3)], quarter


class BlockShape(NamedTuple):
    """What the layers of a block follow from. Sizes in pixels; a column holds one entry for each network."""

    block: str
    in_width: Int
    width: Int
    bottleneck_ratio: Real
    group_width: Int
    se_ratio: float
    radix: Int
    stride: int
    in_size: int
    pools_after: bool | NDArray[np.bool_]
    """Whether an average pool after the 3x3 convolution applies the stride."""
    repeats: Int = 1
    """How many such blocks stand there."""


def block_layers(shape: BlockShape) -> Iterator[Layer]:
    """The layers of one block, its shortcut's included."""
    out_size = halved(shape.in_size, shape.stride)
    if shape.block in PLAIN_CONVS:
        yield from _conv_norm(shape.in_width, shape.width, out_size, kernel=3, repeats=shape.repeats)
        if PLAIN_CONVS[shape.block] == 2:
            yield from _conv_norm(shape.width, shape.width, out_size, kernel=3, repeats=shape.repeats)
    else:
        yield from _bottleneck_layers(shape, out_size)
    if shape.block in PROJECTING:
        # All blocks but a stage's first have one width (the same object) and no stride, so that no column is compared.
        if shape.stride != 1:
            yield from _conv_norm(shape.in_width, shape.width, out_size, repeats=shape.repeats)
        elif shape.in_width is not shape.width:
            changes = shape.in_width != shape.width
            yield from _conv_norm(shape.in_width, shape.width, out_size, repeats=shape.repeats * changes)


def _bottleneck_layers(shape: BlockShape, out_size: int) -> Iterator[Layer]:
    """1x1, 3x3 (grouped, or split attention), squeeze-and-excitation, 1x1."""
    inner = inner_width(shape.width, shape.bottleneck_ratio)
    cardinality = inner // shape.group_width
    # The average pool of avd halves the map before or after the 3x3 convolution instead of within it.
    conv_size: Int = np.where(shape.pools_after, shape.in_size, out_size)
    if isinstance(shape.pools_after, bool):
        conv_size = int(conv_size)
    repeats = shape.repeats
    yield from _conv_norm(shape.in_width, inner, shape.in_size, repeats=repeats)
    splits = max(shape.radix, 1) if isinstance(shape.radix, int) else np.maximum(shape.radix, 1)
    groups = cardinality * splits
    yield from _conv_norm(inner, inner * splits, conv_size, kernel=3, groups=groups, repeats=repeats)
    if np.any(shape.radix):
        attends = repeats * (np.asarray(shape.radix) > 0)
        hidden = attention_width(inner, shape.radix, cardinality)
        yield Layer("conv", inner, hidden, 1, groups=cardinality, bias=True, repeats=attends)
        yield Layer("batch_norm", hidden, hidden, 1, repeats=attends)
        yield Layer("conv", hidden, inner * splits, 1, groups=cardinality, bias=True, repeats=attends)
    if shape.se_ratio:
        squeeze = se_width(shape.in_width, shape.se_ratio)
        excites = repeats * (np.asarray(squeeze) > 0)
        yield Layer("conv", inner, squeeze, 1, bias=True, repeats=excites)
        yield Layer("conv", squeeze, inner, 1, bias=True, repeats=excites)
    yield from _conv_norm(inner, shape.width, out_size, repeats=repeats)


def head_layers(in_width: Int, head_width: int, num_classes: int, size: int) -> Iterator[Layer]:
    """The optional 1x1 convolution, and the classifier on the pooled map, unless there are no classes."""
    if head_width:
        yield from _conv_norm(in_width, head_width, size)
        in_width = head_width
    if num_classes:
        yield Layer("conv", in_width, num_classes, 1, bias=True)


def _conv_norm(
    in_width: Int, out_width: Int, size: Int, *, kernel: int = 1, groups: Int = 1, repeats: Int = 1
) -> Iterator[Layer]:
    """A convolution without bias and its batch-norm."""
    yield Layer("conv", in_width, out_width, size, kernel=kernel, groups=groups, repeats=repeats)
    yield Layer("batch_norm", out_width, out_width, size, repeats=repeats)
