"""Resampled EDFs, from which bands and the power of comparisons are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from designspace.analysis.edf import EDF

_MAX_GRID = 128
"""Maximum number of errors at which a bootstrap evaluates EDFs: quantiles of the errors (see `largest_deviations`)."""


def quantile_grid(curves: Sequence[EDF]) -> NDArray[np.float64]:
    """Return the distinct errors of some EDFs, or an equal number of quantiles of each, in ascending order."""
    count = _MAX_GRID // len(curves)
    parts = []
    for curve in curves:
        indices = np.searchsorted(curve.probabilities, np.linspace(0, 1, count + 1)[1:] - 1e-12)
        parts.append(curve.errors[np.minimum(indices, curve.n - 1)] if curve.n > count else curve.errors)
    return np.unique(np.concatenate([*parts, [max(float(curve.errors[-1]) for curve in curves)]]))


def deviations(
    curves: Sequence[EDF], grid: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return resampled EDF less EDF at the errors of a grid, summed over several EDFs. Shape (resamples, grid).

    This is the multiplier bootstrap (van der Vaart and Wellner, Weak Convergence and Empirical Processes, 1996, section
    2.9): each network deviates with its weight times a standard normal number. The deviations of all networks between
    two errors of the grid are drawn as their sum, so that the cost does not depend on n.
    """
    total = np.zeros((resamples, grid.size), np.float32)
    for curve in curves:
        values, growth = _parts(curve, grid)
        if len(values) > 1:  # the same for all bins of complexity at once, from the covariance at the grid
            covariance = np.minimum.outer(growth.sum(axis=0), growth.sum(axis=0))
            covariance -= (values.T * growth[:, -1]) @ values
            variances, directions = np.linalg.eigh(covariance)
            root = (directions * np.sqrt(np.maximum(variances, 0))).astype(np.float32)
            total += rng.standard_normal(total.shape, np.float32) @ root.T
            continue
        spread = np.sqrt(np.diff(growth[0], prepend=0.0)).astype(np.float32)
        path = np.cumsum(rng.standard_normal(total.shape, np.float32) * spread, axis=1)
        total += path - path[:, -1:] * values[0].astype(np.float32)
    return total


def largest_deviations(
    curves: Sequence[EDF], grid: NDArray[np.float64], *, resamples: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the largest and least value, over all errors, of the `deviations` of each resample. Shapes (resamples,).

    Between two errors of the grid the process is a Brownian bridge, whose largest value, given both ends, is drawn
    exactly; otherwise a band from few networks or a coarse grid would be too narrow. If several networks share an
    error, the process jumps instead.
    """
    rng = np.random.default_rng(seed)
    path = deviations(curves, grid, resamples, rng)
    growth = sum((_parts(curve, grid)[1].sum(axis=0) for curve in curves), np.zeros(grid.size))
    within = np.where(_is_shared(curves, grid), 0.0, np.diff(growth, prepend=0.0)).astype(np.float32)
    before = np.concatenate([np.zeros((resamples, 1), np.float32), path[:, :-1]], axis=1)
    middle, slope = before + path, (before - path) ** 2
    span = [np.sqrt(slope + 2 * within * rng.standard_exponential(path.shape, np.float32)) for _ in range(2)]
    return ((middle + span[0]) / 2).max(axis=1), ((middle - span[1]) / 2).min(axis=1)


def upper_quantile(values: NDArray[np.float32], level: float) -> float:
    """Return the value that a fraction ``level`` of the values exceeds."""
    return float(np.quantile(values, 1 - level))


def _parts(curve: EDF, grid: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the EDF at a grid, and the variance up to each of its errors, for each part that is resampled separately.

    The variance is that of the sum of the weights, before they are scaled to sum 1. Shapes (parts, grid).
    """
    values = curve(grid)[None]
    if curve.weights is None:
        return values, values / curve.n
    if curve.strata is None:
        squares = np.concatenate([[0.0], np.cumsum(curve.weights**2)])
        return values, squares[np.searchsorted(curve.errors, grid, side="right")][None]
    shares, sizes, edfs = _strata(curve.weights, curve.strata, np.searchsorted(grid, curve.errors), grid.size)
    # A sample of n networks underestimates the variance of its bin by the factor (n - 1) / n.
    return edfs, (shares**2 / np.maximum(sizes - 1, 1))[:, None] * edfs


def _strata(
    weights: NDArray[np.float64], strata: NDArray[np.int64], cells: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.float64]]:
    """Return each bin's share of F, number of networks and EDF at the grid: shapes (b,), (b,), (b, grid).

    The variance of a bin of one network cannot be estimated, so it is joined with the next bin (the last bin with the
    previous one).
    """
    names, member = np.unique(strata, return_inverse=True)
    group = np.arange(names.size)
    sizes = np.bincount(member)
    for index in range(names.size - 1):
        if sizes[index] == 1:
            group[group == group[index]] = group[index + 1]
            sizes[index + 1] += 1
    if names.size > 1 and sizes[-1] == 1:
        group[-1] = group[-2]
    _, joined = np.unique(group, return_inverse=True)
    member = joined[member]
    count = int(joined.max()) + 1
    counts = np.bincount(member * size + cells, minlength=count * size).reshape(count, size)
    totals = counts.sum(axis=1)
    shares = np.bincount(member, weights=weights, minlength=count).astype(np.float64)
    return shares, totals, np.cumsum(counts, axis=1) / totals[:, None]


def _is_shared(curves: Sequence[EDF], grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which errors of a grid several networks share, without errors between it and the previous one."""
    networks, between = np.zeros(grid.size, np.int64), np.zeros(grid.size, np.int64)
    for curve in curves:
        not_above = np.searchsorted(curve.errors, grid, side="right")
        before = np.concatenate([[0], not_above[:-1]])
        networks += not_above - before
        between += np.searchsorted(curve.errors, grid, side="left") - before
    is_shared: NDArray[np.bool_] = (networks > 1) & (between == 0)
    return is_shared
