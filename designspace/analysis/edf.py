"""The error EDF of a population, exactly, raw or normalised by complexity, with simultaneous confidence bands.

Numbers only; `figures` draws them. Papers: "Designing Network Design Spaces" (arXiv 2003.13678) and "On Network Design
Spaces for Visual Recognition" (arXiv 1905.13214).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.support.errors import InputError

_GRID = 128
"""Errors, at most, at which a bootstrap looks: quantiles, between which it fills in (see `largest_deviations`)."""


@dataclass(frozen=True, eq=False)
class EDF:
    """The error EDF F(e) of a population: the part of its networks with an error of at most e.

    Equation 1 of "Designing Network Design Spaces" (section 3.1), with "at most" for "less than", so that F is the
    right-continuous step function of statistics and reaches 1 at the worst error. With weights it is the sum of the
    weights of those networks, as in the complexity-normalised EDF of "On Network Design Spaces" (section 4.2).
    """

    errors: NDArray[np.float64]  # (n,)
    """Per cent, ascending, one for each network that has a weight above 0."""
    probabilities: NDArray[np.float64]  # (n,)
    """F at each of the errors: equal errors have equal values."""
    n: int
    min: float
    """Per cent."""
    mean: float
    """Per cent; weighted like F."""
    median: float
    """Per cent; weighted like F. The middle of the two middle errors where F is 1/2 between them."""
    weights: NDArray[np.float64] | None = None  # (n,)
    """In the order of ``errors``, with the sum 1; None where each network counts alike."""
    strata: NDArray[np.int64] | None = None  # (n,)
    """The complexity bin of each network, where the weights come from bins."""

    @overload
    def __call__(self, error: float) -> float: ...

    @overload
    def __call__(self, error: NDArray[np.float64] | list[float]) -> NDArray[np.float64]: ...

    def __call__(self, error: ArrayLike) -> float | NDArray[np.float64]:
        """F at an error, or at each of an array of errors (per cent)."""
        not_above = np.searchsorted(self.errors, np.asarray(error, np.float64), side="right")
        values: NDArray[np.float64] = np.concatenate([[0.0], self.probabilities])[not_above]
        return float(values) if values.ndim == 0 else values

    def band(self, level: float = 0.05) -> Band:
        """Band that holds the population's true F *everywhere at once* with probability 1 - ``level`` or more.

        Dvoretzky, Kiefer and Wolfowitz (1956) with Massart's constant (1990): F +- sqrt(ln(2 / level) / (2 n)). It is
        a little wider than it need be: of continuous errors a 95% band holds 96.4% of the curves of 16 networks and
        95.5% of those of 50. It does not hold for weighted networks; theirs is the `bootstrap_band`.

        Raises:
            InputError: ``level`` is not between 0 and 1.
        """
        check_level(level)
        if self.weights is not None:
            return self.bootstrap_band(level)
        return _band(self, math.sqrt(math.log(2 / level) / (2 * self.n)), level)

    def bootstrap_band(self, level: float = 0.05, *, resamples: int = 2000, seed: int = 0) -> Band:
        """Simultaneous bootstrap band of constant width, for raw and weighted EDFs.

        The networks are resampled (multiplier bootstrap: each deviates with its weight times a standard normal
        number), and the half width is the quantile of the largest distance between the resampled EDF and this one.
        Where failed networks share the error of chance the band is narrower than that of `band`, which must allow for
        continuous errors; where all errors are equal it has no width, and only that of `band` says something.

        Networks that are weighted by bins of complexity are resampled *within* their bins, as the normalised EDF is
        the mean of the bins' EDFs, whatever their counts; a bin of one network is resampled with the next bin, so that
        no bin counts as known exactly. Such a band is a little too wide: a 95% band covers 96 to 98%.

        Raises:
            InputError: ``level`` is not between 0 and 1.
        """
        check_level(level)
        grid = quantile_grid([self])
        highest, lowest = largest_deviations([self], grid, resamples=resamples, seed=seed)
        return _band(self, upper_quantile(np.maximum(highest, -lowest), level), level)

    def table(self) -> pd.DataFrame:
        """One row for each error: F there."""
        return pd.DataFrame({"error": self.errors, "probability": self.probabilities})


@dataclass(frozen=True, eq=False)
class Band:
    """A simultaneous confidence band around an `EDF`, at each of its errors; left of them it is [0, half_width]."""

    lower: NDArray[np.float64]  # (n,)
    upper: NDArray[np.float64]  # (n,)
    half_width: float
    level: float
    """Probability, at most, that the band misses the true distribution somewhere: 0.05 is a 95% band."""


@dataclass(frozen=True, eq=False)
class ComplexityWeights:
    """Weights that make a population's complexity uniform over bins ("On Network Design Spaces", section 4.2)."""

    weights: NDArray[np.float64]  # (n,)
    """In the order of the networks, sum 1: 1 / (networks in the bin) / (bins used), or 0 if it does not count."""
    bins: NDArray[np.int64]  # (n,)
    """The bin of each network from 0; -1 outside the range."""
    edges: NDArray[np.float64]  # (bins + 1,)
    """Ends of the bins, in the unit of the complexity. A bin holds its lower end, the last one its upper end too."""
    counts: NDArray[np.int64]  # (bins,)
    """Networks in each bin."""
    used: NDArray[np.bool_]  # (bins,)
    """Whether the bin counts: it is not empty, here nor in any population that it is compared with."""

    @property
    def outside(self) -> int:
        """Networks outside the range, which have weight 0."""
        return int((self.bins < 0).sum())

    @property
    def empty(self) -> tuple[int, ...]:
        """The bins without a network."""
        return tuple(np.flatnonzero(self.counts == 0).tolist())

    @property
    def dropped(self) -> tuple[int, ...]:
        """The bins that have networks here, but none in another population: those networks have weight 0."""
        return tuple(np.flatnonzero((self.counts > 0) & ~self.used).tolist())

    def sentence(self) -> str:
        """What was left out, in words.

        >>> complexity_weights([1, 1, 2, 9], bins=2, range=(0, 4)).sentence()
        '2 of 2 bins of complexity used; 1 of 4 networks outside the range'
        """
        parts = [f"{int(self.used.sum())} of {self.used.size} bins of complexity used"]
        if self.empty:
            parts.append(f"{len(self.empty)} empty")
        if self.dropped:
            lost = int(self.counts[list(self.dropped)].sum())
            parts.append(f"{len(self.dropped)} dropped ({lost} networks), as another population has none there")
        if self.outside:
            parts.append(f"{self.outside} of {self.weights.size} networks outside the range")
        return "; ".join(parts)

    def table(self) -> pd.DataFrame:
        """One row for each bin: its ends, its networks, and whether it is used."""
        return pd.DataFrame(
            {"low": self.edges[:-1], "high": self.edges[1:], "networks": self.counts, "used": self.used}
        )


def edf(errors: ArrayLike, weights: ArrayLike | ComplexityWeights | None = None) -> EDF:
    """The EDF of errors in per cent, in any order.

    Args:
        errors: one for each network.
        weights: one for each network, in the same order; they are scaled to the sum 1, and a network of weight 0 does
            not count at all. None counts each once. Those of `complexity_weights` give the normalised EDF.

    Raises:
        InputError: there is no error, or one is not a finite number; the weights do not fit.

    >>> F = edf([40.0, 30.0, 40.0, 50.0])
    >>> F(29.9), F(30.0), F(40.0), F(99.0)
    (0.0, 0.25, 0.75, 1.0)
    >>> edf([40.0, 30.0], weights=[3, 1])(30.0)
    0.25
    """
    given = np.asarray(errors, np.float64).ravel()
    if not given.size:
        raise InputError("an EDF needs at least one error")
    if not np.isfinite(given).all():
        raise InputError("an EDF needs finite errors; count a failed trial at chance level or leave it out")
    if weights is None:
        ascending = np.sort(given)
        probabilities = np.searchsorted(ascending, ascending, side="right") / ascending.size
        _freeze(ascending, probabilities)
        mean, median = float(ascending.mean()), float(np.median(ascending))
        return EDF(ascending, probabilities, ascending.size, float(ascending[0]), mean, median)
    bins = weights.bins if isinstance(weights, ComplexityWeights) else None
    values = np.asarray(weights.weights if isinstance(weights, ComplexityWeights) else weights, np.float64).ravel()
    if values.size != given.size:
        raise InputError(f"an EDF needs a weight for each of the {given.size} errors, not {values.size} weights")
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise InputError("the weights of an EDF must be finite numbers >= 0, not all of them 0")
    counted = np.flatnonzero(values > 0)
    order = counted[np.argsort(given[counted], kind="stable")]
    ascending, sums = given[order], np.cumsum(values[order])
    shares = values[order] / sums[-1]
    probabilities = (sums / sums[-1])[np.searchsorted(ascending, ascending, side="right") - 1]
    strata = None if bins is None else bins[order]
    _freeze(ascending, probabilities, shares, strata)
    # Where F is 1/2 but for rounding, the errors on both sides are in the middle.
    middle = [ascending[int(np.searchsorted(probabilities, 0.5 + sign * 1e-12))] for sign in (-1, 1)]
    mean, median = float(shares @ ascending), float(sum(middle) / 2)
    return EDF(ascending, probabilities, ascending.size, float(ascending[0]), mean, median, shares, strata)


def complexity_weights(complexity: ArrayLike, bins: int, range: tuple[float, float] | None = None) -> ComplexityWeights:
    """Weights of the complexity-normalised EDF: each non-empty bin counts alike, and each network in a bin alike.

    "On Network Design Spaces", section 4.2: a network weighs 1 / (networks in its bin) / (non-empty bins), as if the
    population had been drawn with uniform complexity. Bins are equally wide.

    Args:
        complexity: of each network: flops, params or activations.
        bins: their number.
        range: ends of the first and last bin; least and largest complexity where None.

    Raises:
        InputError: there is no network, a number is not finite, or none lies within the range.
    """
    return common_weights([complexity], bins, range)[0]


def common_weights(
    complexities: Sequence[ArrayLike], bins: int, range: tuple[float, float] | None = None
) -> tuple[ComplexityWeights, ...]:
    """The weights of several populations that are to be compared: with the same bins, of which all have networks.

    A bin that is empty in one of them is used in none, for there it has nothing to be compared with; ``dropped`` says
    which. The range is their `common_range` where None.

    Raises:
        InputError: as in `complexity_weights`; or no bin has networks of all populations.
    """
    columns = _columns(complexities)
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise InputError(f"bins must be a whole number >= 1, not {bins!r}")
    low, high = common_range(columns) if range is None else range
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"the range of complexity must be two finite numbers, the lower one first, not {range!r}")
    edges = np.linspace(low, high, bins + 1) if low < high else np.linspace(low - 0.5, high + 0.5, bins + 1)
    places = []
    for column in columns:
        place = np.clip(np.searchsorted(edges, column, side="right") - 1, -1, bins - 1)
        places.append(np.where((column < edges[0]) | (column > edges[-1]), -1, place).astype(np.int64))
    counts = [np.bincount(place[place >= 0], minlength=bins) for place in places]
    used = np.logical_and.reduce([count > 0 for count in counts])
    if not used.any():
        alone = f"no network lies within the range of complexity {low:g} to {high:g}"
        raise InputError(
            alone if len(columns) == 1 else f"no bin of complexity has networks of all populations; {bins=}"
        )
    found = []
    for place, count in zip(places, counts, strict=True):
        share = np.where(used, 1 / np.maximum(count, 1) / used.sum(), 0.0)
        weights = np.where(place >= 0, share[place], 0.0)
        _freeze(weights, place, edges, count, used)
        found.append(ComplexityWeights(weights, place, edges, count, used))
    return tuple(found)


def common_range(complexities: Sequence[ArrayLike]) -> tuple[float, float]:
    """The range of complexity that all populations reach: from the largest minimum to the least maximum.

    Raises:
        InputError: there is no network, a number is not finite, or the populations do not overlap.

    >>> common_range([[1, 5], [2, 9]])
    (2.0, 5.0)
    """
    columns = _columns(complexities)
    low, high = max(float(column.min()) for column in columns), min(float(column.max()) for column in columns)
    if low > high:
        raise InputError(
            f"the populations have no complexity in common: one begins at {low:g}, another ends at {high:g}"
        )
    return low, high


def ks_distance(a: EDF, b: EDF) -> float:
    """Kolmogorov-Smirnov distance D of two EDFs, raw or weighted: the largest distance between them.

    "On Network Design Spaces", section 4.1.

    >>> ks_distance(edf([1, 2]), edf([2, 3]))
    0.5
    """
    errors = np.concatenate([a.errors, b.errors])
    return float(np.abs(a(errors) - b(errors)).max())


def check_level(level: float) -> None:
    """Raise an InputError unless a significance level is between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, as 0.05 for 5%, not {level!r}")


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


def _band(curve: EDF, half_width: float, level: float) -> Band:
    """The band of that half width."""
    lower = np.clip(curve.probabilities - half_width, 0, 1)
    return Band(lower, np.clip(curve.probabilities + half_width, 0, 1), half_width, level)


def _columns(complexities: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """Complexities of populations as checked columns."""
    columns = [np.asarray(column, np.float64).ravel() for column in complexities]
    if not columns or not all(column.size for column in columns):
        raise InputError("weights by complexity need at least one network in each population")
    if not all(np.isfinite(column).all() for column in columns):
        raise InputError("weights by complexity need the finite complexity of each network")
    return columns


def _freeze(*arrays: NDArray[np.generic] | None) -> None:
    """Make arrays read-only."""
    for array in arrays:
        if array is not None:
            array.setflags(write=False)
