"""Resampled EDFs: what the bands and the power of comparisons rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from designspace.analysis.edf import EDF

_GRID = 128
"""Errors, at most, at which a bootstrap looks: quantiles, between which it fills in (see `largest_deviations`)."""


def quantile_grid(curves: Sequence[EDF]) -> NDArray[np.float64]:
    """The distinct errors of some EDFs, or so many of their quantiles that each EDF has its share. Ascending."""
    each = _GRID // len(curves)
    parts = []
    for curve in curves:
        places = np.searchsorted(curve.probabilities, np.linspace(0, 1, each + 1)[1:] - 1e-12)
        parts.append(curve.errors[np.minimum(places, curve.n - 1)] if curve.n > each else curve.errors)
    return np.unique(np.concatenate([*parts, [max(float(curve.errors[-1]) for curve in curves)]]))


def deviations(
    curves: Sequence[EDF], grid: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Resampled EDF less EDF, at the errors of a grid; of several EDFs the sum. Shape (resamples, grid).

    Multiplier bootstrap (van der Vaart and Wellner, Weak Convergence and Empirical Processes, 1996, section 2.9): each
    network deviates with its weight times a standard normal number. Those of all networks between two errors of the
    grid are drawn as their sum, so that the cost does not depend on n.
    """
    total = np.zeros((resamples, grid.size), np.float32)
    for curve in curves:
        values, growth = _parts(curve, grid)
        if len(values) > 1:  # the same in one step for all bins of complexity, from the covariance at the grid
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
    """Largest and least value, over all errors, of the `deviations` of each resample. Shapes (resamples,).

    Between two errors of the grid the process goes on as a Brownian bridge, whose largest value, given both ends, is
    drawn exactly; else a band from few networks or a coarse grid would be too narrow. Where one error is shared by
    several networks it jumps instead.
    """
    rng = np.random.default_rng(seed)
    at = deviations(curves, grid, resamples, rng)
    growth = sum((_parts(curve, grid)[1].sum(axis=0) for curve in curves), np.zeros(grid.size))
    within = np.where(_shared(curves, grid), 0.0, np.diff(growth, prepend=0.0)).astype(np.float32)
    before = np.concatenate([np.zeros((resamples, 1), np.float32), at[:, :-1]], axis=1)
    middle, slope = before + at, (before - at) ** 2
    span = [np.sqrt(slope + 2 * within * rng.standard_exponential(at.shape, np.float32)) for _ in range(2)]
    return ((middle + span[0]) / 2).max(axis=1), ((middle - span[1]) / 2).min(axis=1)


def upper_quantile(values: NDArray[np.float32], level: float) -> float:
    """The value that a part ``level`` of the values exceeds."""
    return float(np.quantile(values, 1 - level))


def _parts(curve: EDF, grid: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parts of an EDF that are resampled apart: each one's own EDF at a grid, and its variance up to there.

    The variance is that of the sum of the weights, before they are scaled to the sum 1. Shapes (parts, grid).
    """
    values = curve(grid)[None]
    if curve.weights is None:
        return values, values / curve.n
    if curve.strata is None:
        squares = np.concatenate([[0.0], np.cumsum(curve.weights**2)])
        return values, squares[np.searchsorted(curve.errors, grid, side="right")][None]
    shares, sizes, own = _strata(curve.weights, curve.strata, np.searchsorted(grid, curve.errors), grid.size)
    # A bin of n networks shows (n - 1) / n of its variance.
    return own, (shares**2 / np.maximum(sizes - 1, 1))[:, None] * own


def _strata(
    weights: NDArray[np.float64], strata: NDArray[np.int64], cells: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.float64]]:
    """The share of F that each bin holds, its networks, and its own EDF at the grid: shapes (b,), (b,), (b, grid).

    A bin of one network says nothing of its variance, so it goes together with the next (the last with the one before).
    """
    names, member = np.unique(strata, return_inverse=True)
    group = np.arange(names.size)
    sizes = np.bincount(member)
    for place in range(names.size - 1):
        if sizes[place] == 1:
            group[group == group[place]] = group[place + 1]
            sizes[place + 1] += 1
    if names.size > 1 and sizes[-1] == 1:
        group[-1] = group[-2]
    _, joined = np.unique(group, return_inverse=True)
    member = joined[member]
    count = int(joined.max()) + 1
    counts = np.bincount(member * size + cells, minlength=count * size).reshape(count, size)
    totals = counts.sum(axis=1)
    shares = np.bincount(member, weights=weights, minlength=count).astype(np.float64)
    return shares, totals, np.cumsum(counts, axis=1) / totals[:, None]


def _shared(curves: Sequence[EDF], grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether several networks have this error of a grid, and none an error between it and the one before."""
    networks, between = np.zeros(grid.size, np.int64), np.zeros(grid.size, np.int64)
    for curve in curves:
        not_above = np.searchsorted(curve.errors, grid, side="right")
        before = np.concatenate([[0], not_above[:-1]])
        networks += not_above - before
        between += np.searchsorted(curve.errors, grid, side="left") - before
    shared: NDArray[np.bool_] = (networks > 1) & (between == 0)
    return shared
