"""Fits of quantised lines to the widths of networks (equations 2 to 4 of "Designing Network Design Spaces")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.best_values import weighted_quantiles
from designspace.analysis.paired import spearman
from designspace.analysis.quantities import counted_errors
from designspace.analysis.results import Results
from designspace.analysis.stages import stage_columns
from designspace.networks.regnet import WIDTH_STEP, quantized_linear
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric

W_M = (1.5, 3.0)
"""Range of w_m from which the paper's RegNets are drawn, and which is searched."""
_FACTORS = 24
"""Number of values of w_m in the first grids."""
_FINE_FACTORS = 160
"""Number of values of w_m for the best w_0."""
_EXACT_FIT = 1e-12
"""An e_fit below this counts as 0."""
_NEAR_W_0 = WIDTH_STEP * np.array([-1, 0, 1])
_NEAR_W_M = np.array([-3, -2, -1, 0, 1, 2, 3])

_Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LineFit:
    """The quantised line closest to the widths of one network."""

    w_0: int
    w_a: float
    w_m: float
    e_fit: float
    """Mean over blocks of |log(width of the line / width of the network)|, natural logarithm: 0.1 is about 10%."""
    depths: tuple[int, ...]
    """Depths of the line's stages, which may be more or fewer than those of the network."""
    widths: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class PopulationFits(Outlined):
    """The quantised linear fits of the networks of a population."""

    name: str
    trials: tuple[str, ...]
    errors: NDArray[np.float64]
    """As `Results.errors` returns them."""
    failed: NDArray[np.bool_]
    fits: tuple[LineFit, ...]
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    @property
    def e_fit(self) -> NDArray[np.float64]:
        """The error of each fit."""
        return np.array([fit.e_fit for fit in self.fits], np.float64)

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of e_fit and error over the done networks; NaN if one of them is constant."""
        done = ~self.failed
        return spearman(self.e_fit[done], self.errors[done]).value

    def table(self) -> pd.DataFrame:
        """Return one row per network."""
        columns = {"run": self.name, "trial": self.trials, "error": self.metric.oriented(self.errors)}
        columns |= {"failed": self.failed}
        fitted = {name: [getattr(fit, name) for fit in self.fits] for name in ("e_fit", "w_0", "w_a", "w_m")}
        return pd.DataFrame(columns | fitted)


@dataclass(frozen=True, eq=False, repr=False)
class MeanLine(Outlined):
    """A straight line w_j = slope (j + 1) through the widths of good networks, blocks counted from j = 0."""

    name: str
    slope: float
    """Width per block, in channels (48 in the paper's figure 8)."""
    deviation: float
    """Mean over networks and blocks of |log(line / width)|, the distance of the networks from the line."""
    trials: tuple[str, ...]
    """The networks to which it is fitted, the best first."""
    errors: tuple[float, ...]
    depths: tuple[tuple[int, ...], ...]
    widths: tuple[tuple[int, ...], ...]

    def table(self) -> pd.DataFrame:
        """Return one row per block of each network, with the width of the line."""
        rows = []
        for trial, error, depths, widths in zip(self.trials, self.errors, self.depths, self.widths, strict=True):
            for block, width in enumerate(np.repeat(widths, depths).tolist()):
                rows.append([self.name, trial, error, block, width, self.slope * (block + 1)])
        return pd.DataFrame(rows, columns=["run", "trial", "error", "block", "width", "line"])


def fit_line(depths: Sequence[int], widths: Sequence[int], w_m: tuple[float, float] = W_M) -> LineFit:
    """Fit a quantised line to the stages of a network, by a search for the (w_0, w_a, w_m) with the least e_fit.

    The search uses a grid over w_0 (multiples of 8) and w_m, refined around its best points. At each point, the best
    w_a is found exactly, since w_a moves a block to its next level at values that can be listed. w_0 and w_a have no
    upper limit.

    A line that fits exactly is always found. Of 88 networks (48 of our populations, 40 random ones), 86 have an e_fit
    at most that of the best of all w_0 with 601 values of w_m; for the other two it is 2% larger.

    Args:
        depths: blocks of each stage.
        widths: width of each stage.
        w_m: range of w_m.

    Raises:
        InputError: depths and widths do not describe stages, or the range of w_m is not above 1.
    """
    if not 1 < w_m[0] <= w_m[1] < math.inf:
        raise InputError(f"w_m must be a range above 1, not {w_m}")
    blocks = _block_widths(depths, widths)
    points = _ranked(_best_slopes(blocks, _first_grid(np.asarray(widths, np.float64), w_m)))
    # Refine w_0 first: around the best values, with a coarse grid of w_m, then with a fine one.
    for apart, factors, count in ((2, _FACTORS, 6), (1, _FINE_FACTORS, 2)):
        if points[0, 0] < _EXACT_FIT:
            break
        best = np.array(_best_starts(points, count, apart))[:, None]
        starts = np.unique(best + WIDTH_STEP * np.arange(-apart, apart + 1.0))
        grid = _mesh(starts[starts >= WIDTH_STEP], np.geomspace(*w_m, factors))
        points = _ranked(np.concatenate([points, _best_slopes(blocks, grid)]))
    # Then refine w_m around each of the best points, with a few values at a third of the previous step.
    step = math.log(w_m[1] / w_m[0]) / (_FINE_FACTORS - 1)
    for _ in range(3):
        if points[0, 0] < _EXACT_FIT:
            break
        step /= 3
        around = [_mesh(start + _NEAR_W_0, factor * np.exp(step * _NEAR_W_M)) for start, factor in points[:8, 1:3]]
        grid = np.unique(np.concatenate(around).round(9), axis=0)
        grid = grid[(grid[:, 0] >= WIDTH_STEP) & (grid[:, 1] >= w_m[0]) & (grid[:, 1] <= w_m[1])]
        points = _ranked(np.concatenate([points, _best_slopes(blocks, grid)]))
    _, w_0, factor, w_a = points[0].tolist()
    line = quantized_linear([blocks.size], [w_0], [w_a], [factor])
    stages = int(line.num_stages[0])
    e_fit = _distance(np.repeat(line.widths[0], line.depths[0]), blocks)
    stage_values = (tuple(column[0, :stages].tolist()) for column in (line.depths, line.widths))
    return LineFit(int(w_0), w_a, factor, e_fit, *stage_values)


def distance_to_line(depths: Sequence[int], widths: Sequence[int], w_m: tuple[float, float] = W_M) -> float:
    """Return the e_fit of the best line on the first grid of `fit_line`, in less than half of its time.

    It is 0 if a line fits exactly. For the 48 networks of AnyNetXA of `experiments/paper_figures`, it is that of
    `fit_line`.

    Raises:
        InputError: as `fit_line`.
    """
    if not 1 < w_m[0] <= w_m[1] < math.inf:
        raise InputError(f"w_m must be a range above 1, not {w_m}")
    blocks = _block_widths(depths, widths)
    return float(_best_slopes(blocks, _first_grid(np.asarray(widths, np.float64), w_m))[:, 0].min())


def fit_population(results: Results, limit: int | None = None) -> PopulationFits:
    """Fit a line to each finished network of a population (figure 8, right), in the order of the table.

    Args:
        results: a population.
        limit: maximum number of networks to fit, spread evenly over the table; None fits all. Each takes about 20 ms.

    Raises:
        InputError: ``limit`` is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1 network, not {limit}")
    rows, errors = counted_errors(results)
    if limit is not None and rows.size > limit:
        chosen = np.linspace(0, rows.size - 1, limit).round().astype(int)
        rows, errors = rows[chosen], errors[chosen]
    fits = tuple(fit_line(*stages_of_row(results, row)) for row in rows.tolist())
    table = results.table.iloc[rows]
    failed = (table["status"] == "failed").to_numpy(bool)
    return PopulationFits(results.name, tuple(table["trial"].tolist()), errors, failed, fits, results.metric)


def mean_line(results: Results, count: int = 20) -> MeanLine:
    """Return the line w_j = slope (j + 1) through the ``count`` best networks (figure 8, left).

    The slope minimises the mean |log(line / width)|, the distance by which fits are measured. It is the median of
    width / (j + 1) over all blocks, with equal weight per network.

    Raises:
        InputError: ``count`` is below 1, or no trial is done.
    """
    if count < 1:
        raise InputError(f"count must be at least 1 network, not {count}")
    best = results.best(count)
    if best.empty:
        raise InputError(f"{results.name} has no network to draw a line through: {results.counts.sentence()}")
    stages = [stages_of_row(results, row) for row in best.index.tolist()]
    blocks = [_block_widths(depths, widths) for depths, widths in stages]
    ratios = np.concatenate([widths / np.arange(1, widths.size + 1) for widths in blocks])
    weights = np.concatenate([np.full(widths.size, 1 / widths.size) for widths in blocks])
    slope = float(weighted_quantiles(ratios, weights, [0.5])[0])
    deviation = float(np.average(np.abs(np.log(slope / ratios)), weights=weights))
    return MeanLine(
        results.name,
        slope,
        deviation,
        tuple(best["trial"].tolist()),
        tuple(best["final_error"].tolist()),
        tuple(depths for depths, _ in stages),
        tuple(widths for _, widths in stages),
    )


def stages_of_row(results: Results, row: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return depths and widths of the stages of the network in a row of the table."""
    depths, widths = (stage_columns(results, letter)[row] for letter in "dw")
    is_present = np.isfinite(depths)
    return tuple(depths[is_present].astype(int).tolist()), tuple(widths[is_present].astype(int).tolist())


def _block_widths(depths: Sequence[int], widths: Sequence[int]) -> _Row:
    """Return the width of each block. Shape (blocks,)."""
    if not len(depths) or len(depths) != len(widths) or min(*depths, *widths, 1) < 1:
        raise InputError(f"stages need as many depths as widths, all at least 1, not {depths} and {widths}")
    return np.repeat(np.asarray(widths, np.float64), depths)


def _distance(line: NDArray[np.int64], blocks: _Row) -> float:
    """Return the e_fit of a line."""
    return float(np.abs(np.log(line / blocks)).mean())


def _mesh(starts: _Row, factors: _Row) -> NDArray[np.float64]:
    """Return all pairs. Shape (pairs, 2)."""
    return np.stack(np.meshgrid(starts, factors, indexing="ij"), axis=-1).reshape(-1, 2)


def _ranked(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points in order of e_fit; equal ones by their parameters, so that the order is deterministic."""
    return points[np.lexsort(points.T[::-1])]


def _best_starts(ranked: NDArray[np.float64], count: int, apart: int) -> list[float]:
    """Return at most ``count`` w_0 of the best points that are more than ``apart`` steps apart, the best first."""
    starts, first = np.unique(ranked[:, 1], return_index=True)
    chosen: list[float] = []
    for start in starts[np.argsort(first)].tolist():
        if all(abs(start - other) > apart * WIDTH_STEP for other in chosen):
            chosen.append(start)
    return chosen[:count]


def _first_grid(widths: _Row, limits: tuple[float, float]) -> NDArray[np.float64]:
    """Return the initial pairs (w_0, w_m): some spread over the possible range, and those that the widths suggest."""
    highest = max(widths.max(), WIDTH_STEP)
    spread = np.concatenate([np.geomspace(WIDTH_STEP, highest, 12), np.linspace(WIDTH_STEP, highest, 24)])
    first, *others = np.maximum(np.rint(np.concatenate([widths, spread]) / WIDTH_STEP), 1) * WIDTH_STEP
    starts = np.unique([first, *others])
    factors = np.geomspace(*limits, _FACTORS)
    # Starting from the first width, an interval of w_m is rounded to another width after a given number of levels. If
    # some w_m fit all widths, they form an interval whose ends are among these values, so an exact fit is always found.
    half = WIDTH_STEP / 2 - 1e-4
    levels = np.arange(1, math.ceil(math.log(max(widths.max() / first, 2)) / math.log(limits[0])) + 1)
    reachable = np.concatenate([widths + offset for offset in (-half, 0, half)])
    exact = np.unique(((reachable / first) ** (1 / levels[:, None])).round(9))
    exact = exact[(exact >= limits[0]) & (exact <= limits[1])]
    return np.concatenate([_mesh(starts, factors), _mesh(np.array([first]), exact)])


def _best_slopes(blocks: _Row, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the best w_a for each (w_0, w_m) of a grid. Shape (points, 4): e_fit, w_0, w_m, w_a.

    Block j reaches level k at w_a = w_0 (w_m^(k - 1/2) - 1) / j (equation 3). There its part of e_fit changes from
    that of level k - 1 to that of level k. So e_fit is a step function of w_a: the steps are sorted and accumulated,
    and the least sum is reached in one interval.
    """
    start, factor = grid[:, :1], grid[:, 1:]  # (points, 1)
    highest = math.log(2 * blocks.max() / grid[:, 0].min()) / math.log(grid[:, 1].min())
    levels = np.arange(max(2, math.ceil(highest) + 1))
    with np.errstate(over="ignore"):
        widths = np.maximum(np.rint(start * factor**levels / WIDTH_STEP), 1) * WIDTH_STEP  # (points, levels)
        bounds = start * (factor ** (levels[1:] - 0.5) - 1)  # (points, levels - 1)
    parts = np.abs(np.log(widths)[:, :, None] - np.log(blocks)) / blocks.size  # (points, levels, blocks)
    steps = np.diff(parts[:, :, 1:], axis=1).reshape(len(grid), -1)  # block 0 stays at level 0
    thresholds = (bounds[:, :, None] / np.arange(1, blocks.size)).reshape(len(grid), -1)
    thresholds = np.concatenate([np.zeros((len(grid), 1)), thresholds], axis=1)
    order = np.argsort(thresholds, axis=1, kind="stable")
    thresholds = np.take_along_axis(thresholds, order, axis=1)
    steps = np.concatenate([parts[:, 0].sum(axis=1, keepdims=True), steps], axis=1)
    sums = np.cumsum(np.take_along_axis(steps, order, axis=1), axis=1)
    # If several blocks change at the same value, only the last sum is reached.
    ends = np.concatenate([thresholds[:, 1:], np.full((len(grid), 1), np.inf)], axis=1)
    sums = np.where(ends > thresholds * (1 + 1e-9) + 1e-9, sums, np.inf)
    best = sums.argmin(axis=1)[:, None]
    low, high = (np.take_along_axis(side, best, axis=1)[:, 0] for side in (thresholds, ends))
    # The result is the middle of the interval or, since the last interval is unbounded, slightly above its start.
    slope = np.where(np.isfinite(high), (low + np.where(np.isfinite(high), high, 0)) / 2, low * 1.01 + 1)
    return np.column_stack([np.take_along_axis(sums, best, axis=1)[:, 0], grid, slope])
