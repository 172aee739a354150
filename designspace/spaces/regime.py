"""Axes that fit a compute budget, so that ranges need not be tuned by hand for each flop regime.

Multiply-adds grow with the square of the widths, so ranges of widths scale with the square root of the budget, and all
other ranges stay. The scale is the first width ``c`` at which a *typical* network with the space's stem, strides,
resolution and classes costs the budget (about 50 sqrt(GF) at 224 pixels). Nothing is drawn. The ranges contain all 24
published RegNets, each at its own budget.

Percentage of draws within +-5% of a budget (224 pixels, four stages; 100,000 draws of seed 0):

    GF         0.2  0.4  0.8  1.6  3.2  6.4   12   16   32
    AnyNetXA   2.1  2.0  1.9  1.9  2.0  1.9  1.9  1.9  2.0
    AnyNetXB   2.1  1.9  1.8  2.0  2.0  1.9  1.9  1.9  2.0
    AnyNetXC   2.2  2.0  1.8  1.9  2.0  1.9  1.8  1.9  1.9
    AnyNetXD   1.7  1.4  1.3  1.9  2.0  2.0  1.9  1.9  1.9
    AnyNetXE   1.8  1.6  1.6  2.0  2.0  2.0  2.0  2.0  2.1
    RegNetX    1.2  1.9  1.9  1.8  1.9  1.8  2.0  1.9  1.9
    RegNetY    1.2  1.9  1.9  1.8  1.9  1.8  2.0  1.9  1.9

Fashion-MNIST's quickstart band (2 to 3.5 MF at 28 pixels) accepts 11 to 13%. RegNets below c = 6 (28 MF at 224 pixels,
1.3 MF at 28) are accepted less often, because their minimum width of 8 is too wide for such budgets.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from designspace.networks import blocks
from designspace.networks.blocks.widths import compatible_widths
from designspace.networks.columns import StageColumns
from designspace.networks.complexity import totals
from designspace.networks.regnet import WIDTH_STEP, quantized_linear
from designspace.spaces.axes import choice, log_uniform, powers_of_two
from designspace.spaces.constraints import Band
from designspace.spaces.parameters import AnyNetAxes, RegNetAxes
from designspace.spaces.template import Template
from designspace.support.errors import InputError, unknown

REGIMES = ("paper", "auto")

DEPTH = (12, 28)
W_M = (2.0, 3.0)
"""Depth and w_m of good RegNets at every budget (paper section 4 and pycls's sampler), for four stages."""
TYPICAL_DEPTH = 20
TYPICAL_SLOPE = 2 / 3
"""w_a / w_0 of the typical network."""
# Fractions of the typical first width c: lowest and highest w_0 and w_a, and highest g.
W_0 = (0.55, 1.6)
W_A = (0.24, 1.75)
GROUP_WIDTH = 0.9
MAX_TYPICAL_WIDTH = 1 << 12
"""Largest c to consider: 6.7e12 multiply-adds at 224 pixels."""


def auto_axes(
    regime: str, axes: AnyNetAxes | RegNetAxes, band: Band | None, template: Template, block: str | None = None
) -> AnyNetAxes | RegNetAxes:
    """Return the axes of a regime: for ``paper`` ``axes`` itself, for ``auto`` axes that fit a band of flops.

    Raises:
        InputError: the regime is unknown, there is no band, the block must be built to be counted, or as in
            `auto_regnet_axes`.
    """
    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES)
    if regime == "paper":
        return axes
    if axes.group_width is None:
        raise InputError("regime=auto works for spaces that draw group widths: AnyNetX, AnyNetY, RegNetX and RegNetY")
    if band is None:
        raise InputError("regime=auto needs a budget: give flops=[lowest, highest]")
    flops = (band.low, band.high)
    if block is not None and (block in blocks.BLOCKS or ":" in block):
        kind = blocks.get(block)
        if kind.is_traced:
            raise InputError(f"regime=auto needs a block that lists its layers; {block} has no class method layers")
        se_ratio = template.se_ratio if "se_ratio" in kind.uses else 0.0
        template = dataclasses.replace(template, block=kind.name, se_ratio=se_ratio)
    return (
        auto_regnet_axes(flops, template) if isinstance(axes, RegNetAxes) else auto_anynet_axes(axes, flops, template)
    )


def auto_regnet_axes(flops: tuple[float, float], template: Template = Template()) -> RegNetAxes:  # noqa: B008
    """Return RegNet's axes for a band of multiply-adds: d, w_0, w_a, w_m and g log-uniform, b = 1.

    12 <= d <= 28, b = 1 and 2 <= w_m <= 3 as in the paper's section 4 (for k stages, w_m is raised to 3 / (k - 1), so
    that the ratio of the last width to the first stays). w_0, w_a and g are proportional to the width of the budget.
    A wide band gets the ranges of all budgets in it.

    Raises:
        InputError: the band has no upper end, no network of the template is in it, or the template has 1 stage or
            more than 8.
    """
    k = len(template.strides)
    widths = _widths(flops, template)
    power = 3 / (k - 1)
    # No stage is narrower than 8. If that is too wide for the budget, lines get shorter and steeper by the same factor.
    shorter, shorter_high = (min(1.0, (width / WIDTH_STEP) ** 2) for width in widths)
    low, high = (max(width, WIDTH_STEP) for width in widths)
    return RegNetAxes(
        depth=log_uniform(max(k, round(DEPTH[0] * shorter)), max(2 * k, round(DEPTH[1] * shorter_high))),
        w_0=log_uniform(_multiple(W_0[0] * low), _multiple(W_0[1] * high), WIDTH_STEP),
        w_a=log_uniform(round(W_A[0] * low, 1), round(W_A[1] * max(low / shorter, high), 1), 0.1),
        w_m=log_uniform(round(W_M[0] ** power, 3), round(W_M[1] ** power, 3), 0.001),
        bottleneck_ratio=choice([1]),
        group_width=log_uniform(WIDTH_STEP, max(2 * WIDTH_STEP, _multiple(GROUP_WIDTH * high)), WIDTH_STEP),
    )


def typical_costs(template: Template) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first widths c and the typical network's multiply-adds for each: a RegNet of 20 blocks, w_a = 2/3 w_0.

    Raises:
        InputError: the template has 1 stage, or more than 8, for which a line of 20 blocks has too few levels.
    """
    k = len(template.strides)
    if k < 2:
        raise _stages_error(k)
    # With this w_m, the line ends at the last of k levels.
    w_m = (1 + TYPICAL_SLOPE * (TYPICAL_DEPTH - 1)) ** (1 / (k - 1))
    shape = quantized_linear([TYPICAL_DEPTH], [MAX_TYPICAL_WIDTH], [MAX_TYPICAL_WIDTH * TYPICAL_SLOPE], [w_m])
    if shape.num_stages[0] != k:
        raise _stages_error(k)
    first = np.arange(2, MAX_TYPICAL_WIDTH + 1, 2)
    stages, ratio = [], np.ones(1)
    for depth, widest, stride in zip(shape.depths.T, shape.widths.T, template.strides, strict=True):
        width, group_width = compatible_widths(np.rint(first * widest / MAX_TYPICAL_WIDTH), ratio, first // 2)
        stages.append(StageColumns(depth, width, stride, ratio, group_width))
    networks = template.columns(tuple(stages), radix=np.zeros(1, np.int64))
    return first, totals(networks, template.resolution, ["flops"])["flops"]


def auto_anynet_axes(
    axes: AnyNetAxes,
    flops: tuple[float, float],
    template: Template = Template(),  # noqa: B008
) -> AnyNetAxes:
    """Return the paper's AnyNet axes with widths and group widths for a band of multiply-adds (paper section 3.2).

    The paper's w_i <= 1024 and g_i <= 32 are meant for 400 million multiply-adds, where the width c of the budget is
    about 32. So other budgets get c/4 <= w_i <= 32 c and powers of two g_i <= c.

    Raises:
        InputError: as in `auto_regnet_axes`.
    """
    low, high = _widths(flops, template)
    return dataclasses.replace(
        axes,
        width=log_uniform(_multiple(low / 4), _multiple(32 * high), WIDTH_STEP),
        group_width=powers_of_two(1, max(1, round(high))),
    )


def _widths(flops: tuple[float, float], template: Template) -> tuple[float, float]:
    """Return the first widths at which the typical network costs the lower and the upper end of a band."""
    low, high = flops
    widths, costs = typical_costs(template)
    if not (0 <= low <= high and costs[0] <= high and low <= costs[-1] and high < math.inf):
        raise InputError(
            f"regime=auto needs a band of flops with both ends, within {costs[0]:,} to {costs[-1]:,} for this stem, "
            f"stages and resolution, not {low:,} to {high:,}"
        )
    return float(np.interp(low, costs, widths)), float(np.interp(high, costs, widths))


def _multiple(width: float) -> int:
    """Return the nearest multiple of 8, at least 8."""
    return max(1, round(width / WIDTH_STEP)) * WIDTH_STEP


def _stages_error(k: int) -> InputError:
    """Return the error for a number of stages that the typical network cannot have."""
    return InputError(f"regime=auto works for 2 to 8 stages, not {k}; use regime=paper")
