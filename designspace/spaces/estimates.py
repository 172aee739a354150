"""Estimates of costs for blocks that must be built to be counted, so that most draws are rejected without building.

The cost of a block is close to a polynomial of degree 2 in its input and output widths, for given values of its other
parameters. It is fitted to a few dozen blocks. A draw is rejected by its estimate only if it misses the limits by more
than `SAFETY` times the largest relative error of the fits, which is 0 for most blocks; all others are counted exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks import blocks
from designspace.networks.columns import BlockColumns, StageColumns, block_positions, network_parts
from designspace.networks.complexity import SUMS, cost_of
from designspace.networks.layers import ONE, Column, Part
from designspace.networks.regnet import WIDTH_STEP
from designspace.networks.user_class import CannotBuildError
from designspace.spaces.constraints import Band, Limit
from designspace.spaces.parameters import Columns, RegNetAxes

if TYPE_CHECKING:
    from designspace.spaces.space import DesignSpace

SAFETY = 4
"""Factor between the largest error of the fits and the distance from the limits at which estimates reject."""
POINTS = 6
"""Number of widths, at equal ratios, to whose pairs the polynomials are fitted."""
_LARGEST_ERROR = 0.1
"""Error of the fits above which estimates reject nothing."""
_REGNET_WIDTHS = 4096
"""Widest stage of a RegNet to fit to; wider ones are extrapolated."""


class _Fit(NamedTuple):
    """Polynomials in the widths of a block: one per quantity."""

    coefficients: NDArray[np.float64]
    """Shape (number of quantities, number of terms)."""
    error: float
    """Largest relative error."""


class Estimator:
    """Estimated costs of the networks of one space, whose block lists no layers."""

    def __init__(self, space: DesignSpace) -> None:
        self._space = space
        self._widths = _fitted_widths(space)
        self._fits: dict[tuple[object, ...], _Fit | None] = {}

    def may_allow(self, limit: Limit, columns: Columns) -> NDArray[np.bool_]:
        """Return whether a limit may allow networks, as far as their estimated costs tell. Shape (n,)."""
        count = len(columns["d1"])
        if limit.quantity not in SUMS:  # a peak is not a sum over blocks
            return np.ones(count, bool)
        costs, error = self._costs(columns)
        margin = SAFETY * error + 1e-6
        if not count or margin > SAFETY * _LARGEST_ERROR:
            return np.ones(count, bool)
        low, high = ({name: value * factor for name, value in costs.items()} for factor in (1 - margin, 1 + margin))
        if isinstance(limit, Band):
            return np.asarray((high[limit.quantity] >= limit.low) & (low[limit.quantity] <= limit.high))
        # A cap compares a cost with a power of the flops; the most favourable errors are assumed.
        return np.asarray(limit.allows({**low, "flops": high["flops"]}) | limit.allows(low))

    def _costs(self, columns: Columns) -> tuple[dict[str, Column], float]:
        """Return estimated costs, one column per quantity, and the largest relative error of the fits."""
        networks = self._space.network_columns(columns)
        totals = np.zeros((len(SUMS), len(columns["d1"])))
        largest = 0.0
        for part in network_parts(networks, self._space.template.resolution, with_blocks=False):
            totals += [np.broadcast_to(cost_of(part, quantity), totals[0].shape) for quantity in SUMS]
        for block, repeats in block_positions(networks, self._space.template.resolution):
            estimates, error = self._block_costs(block, len(totals[0]))
            totals += estimates * repeats
            largest = max(largest, error)
        return dict(zip(SUMS, totals, strict=True)), largest

    def _block_costs(self, block: BlockColumns, count: int) -> tuple[NDArray[np.float64], float]:
        """Return the estimated costs of the blocks at one position, and the largest relative error of their fits."""
        names = _other_parameters(block)
        values = [np.broadcast_to(block[name], count) for name in names]
        settings = list(zip(*(column.tolist() for column in values), strict=True)) if names else [()] * count
        costs, largest = np.zeros((len(SUMS), count)), 0.0
        in_width, width = (np.broadcast_to(column, count) for column in (block.in_width, block.width))
        is_same = block.in_width is block.width
        indices: dict[tuple[object, ...], list[int]] = {}
        for index, setting in enumerate(settings):
            indices.setdefault(setting, []).append(index)
        for setting, rows in indices.items():
            fit = self._fit(block, dict(zip(names, setting, strict=True)), is_same=is_same)
            if fit is None:
                return costs, 1.0
            costs[:, rows] = fit.coefficients @ _terms(in_width[rows], width[rows], is_same=is_same)
            largest = max(largest, fit.error)
        return costs, largest

    def _fit(self, block: BlockColumns, setting: dict[str, object], *, is_same: bool) -> _Fit | None:
        """Return the fit for blocks with some parameters at one position; None if too few of them can be built."""
        key = (block.stride, int(block.in_size.flat[0]), is_same, *setting.items())
        if key not in self._fits:
            self._fits[key] = self._fitted(block, setting, is_same=is_same)
        return self._fits[key]

    def _fitted(self, block: BlockColumns, setting: dict[str, object], *, is_same: bool) -> _Fit | None:
        """Fit polynomials to the costs of some blocks."""
        if is_same:
            width = in_width = self._widths
        else:
            in_width, width = (grid.ravel() for grid in np.meshgrid(self._widths, self._widths, indexing="ij"))
            different = in_width != width
            in_width, width = in_width[different], width[different]
        while len(width):
            point = _block_at(block, setting, in_width, width)
            try:
                part = Part([*blocks.get(point.networks.block).layers(point)])
                break
            except CannotBuildError as error:
                buildable = ~np.broadcast_to(error.rows, width.shape)
                in_width, width = in_width[buildable], width[buildable]
        terms = _terms(in_width, width, is_same=is_same)
        if len(width) < len(terms) + 2:
            return None
        coefficients, largest = [], 0.0
        for quantity in SUMS:
            cost = np.broadcast_to(cost_of(part, quantity), width.shape).astype(np.float64)
            weights = 1 / np.maximum(cost, 1)
            solution = np.linalg.lstsq((terms * weights).T, cost * weights, rcond=None)[0]
            coefficients.append(solution)
            largest = max(largest, float(np.max(np.abs(solution @ terms - cost) * weights)))
        return _Fit(np.array(coefficients), largest)


def _fitted_widths(space: DesignSpace) -> NDArray[np.int64]:
    """Return the widths to fit to: at equal ratios over the widths of the space, as far as its axis has them."""
    axes = space.axes
    if isinstance(axes, RegNetAxes):
        grid = np.arange(axes.w_0.values[0], _REGNET_WIDTHS + 1, WIDTH_STEP)
    else:
        grid = axes.width.values
    targets = np.geomspace(grid[0], grid[-1], POINTS)
    return np.unique(grid[np.searchsorted(grid, targets).clip(0, len(grid) - 1)])


def _terms(in_width: Column, width: Column, *, is_same: bool) -> NDArray[np.float64]:
    """Return the terms of the polynomials as columns. Shape (number of terms, n)."""
    a, b = (np.asarray(column, np.float64) for column in (in_width, width))
    if is_same:
        return np.array([np.ones_like(b), b, b * b])
    return np.array([np.ones_like(b), a, b, a * a, a * b, b * b])


def _other_parameters(block: BlockColumns) -> list[str]:
    """Return the parameters of a block that its widths do not determine, in order."""
    kind = blocks.get(block.networks.block)
    return [*sorted(kind.uses), *(parameter.name for parameter in kind.parameters)]


def _block_at(block: BlockColumns, setting: dict[str, object], in_width: Column, width: Column) -> BlockColumns:
    """Return blocks of other widths at the same position with some parameters."""
    shared = {name: np.array([value]) for name, value in setting.items()}
    ratio = shared.pop("bottleneck_ratio", np.ones(1))
    group_width = shared.pop("group_width", ONE)
    stage = StageColumns(ONE, width, block.stride, ratio, group_width, shared)
    in_width = width if block.in_width is block.width else in_width
    return BlockColumns(block.networks, stage, in_width, block.stride, block.in_size, block.size)
