"""The exact error EDF of a population, raw or normalised by complexity, with simultaneous confidence bands.

This module computes numbers only; `figures` draws them. Papers: "Designing Network Design Spaces" (arXiv 2003.13678)
and "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.complexity_weights import ComplexityWeights
from designspace.analysis.resampling import largest_deviations, quantile_grid, upper_quantile
from designspace.support.checks import number
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric


@dataclass(frozen=True, eq=False, repr=False)
class EDF(Outlined):
    """The error EDF F(e) of a population: the fraction of its networks with an error of at most e.

    This is equation 1 of "Designing Network Design Spaces" (section 3.1) with "at most" instead of "less than", so that
    F is the right-continuous step function of statistics and reaches 1 at the worst error. With weights, F is the sum
    of the weights of those networks, as in the complexity-normalised EDF of "On Network Design Spaces" (section 4.2).
    """

    errors: NDArray[np.float64]  # (n,)
    """Ascending, one per network with a weight above 0, as `Results.errors` returns them: lower ones are better."""
    probabilities: NDArray[np.float64]  # (n,)
    """F at each of the errors; equal errors have equal values."""
    n: int
    min: float
    """The best error."""
    mean: float
    """Weighted like F."""
    median: float
    """Weighted like F. If F is 1/2 between two errors, their mean."""
    weights: NDArray[np.float64] | None = None  # (n,)
    """In the order of ``errors``, with sum 1; None if all networks count equally."""
    strata: NDArray[np.int64] | None = None  # (n,)
    """The complexity bin of each network, if the weights come from bins."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better (see `Metric.oriented`)."""
    bounds: Bounds | None = None
    """The possible values of F if some trials were stopped early (see `early_stops`); None if all errors are known."""

    @overload
    def __call__(self, error: float) -> float: ...

    @overload
    def __call__(self, error: NDArray[np.float64] | list[float]) -> NDArray[np.float64]: ...

    def __call__(self, error: ArrayLike) -> float | NDArray[np.float64]:
        """Return F at an error, or at each error of an array (percent)."""
        not_above = np.searchsorted(self.errors, np.asarray(error, np.float64), side="right")
        values: NDArray[np.float64] = np.concatenate([[0.0], self.probabilities])[not_above]
        return float(values) if values.ndim == 0 else values

    def band(self, level: float = 0.05) -> Band:
        """Return a band that contains the true F *everywhere at once* with probability 1 - ``level`` or more.

        Dvoretzky, Kiefer and Wolfowitz (1956) with Massart's constant (1990): F +- sqrt(ln(2 / level) / (2 n)). It is
        slightly wider than necessary: with continuous errors, a 95% band covers 96.4% for 16 networks and 95.5% for 50.
        It is not valid for weighted networks, for which this method returns the `bootstrap_band`.

        Raises:
            InputError: ``level`` is not between 0 and 1.
        """
        check_level(level)
        if self.weights is not None:
            return self.bootstrap_band(level)
        return _band(self, math.sqrt(math.log(2 / level) / (2 * self.n)), level)

    def bootstrap_band(self, level: float = 0.05, *, resamples: int = 2000, seed: int = 0) -> Band:
        """Return a simultaneous bootstrap band of constant width, for raw and weighted EDFs.

        The networks are resampled (multiplier bootstrap: each deviates with its weight times a standard normal
        number), and the half width is a quantile of the largest distance between the resampled EDF and this one. If
        failed networks share the error of chance, the band is narrower than that of `band`, which must allow for
        continuous errors. If all errors are equal, it has no width, and only that of `band` is meaningful.

        Networks that are weighted by bins of complexity are resampled *within* their bins, because the normalised EDF
        is the mean of the EDFs of the bins, whatever their counts. A bin of one network is resampled with the next
        bin, so that no bin counts as known exactly. Such a band is slightly too wide: a 95% band covers 96 to 98%.

        Raises:
            InputError: ``level`` is not between 0 and 1.
        """
        check_level(level)
        grid = quantile_grid([self])
        highest, lowest = largest_deviations([self], grid, resamples=resamples, seed=seed)
        return _band(self, upper_quantile(np.maximum(highest, -lowest), level), level)

    def table(self) -> pd.DataFrame:
        """Return one row per error, with the value of F."""
        return pd.DataFrame({"error": self.metric.oriented(self.errors), "probability": self.probabilities})


@dataclass(frozen=True, eq=False, repr=False)
class Bounds(Outlined):
    """The least and largest possible values of an `EDF` at each of its errors, whatever the unknown errors are."""

    lower: NDArray[np.float64]  # (n,)
    upper: NDArray[np.float64]  # (n,)


@dataclass(frozen=True, eq=False, repr=False)
class Band(Outlined):
    """A simultaneous confidence band around an `EDF`, at each of its errors; below them it is [0, half_width]."""

    lower: NDArray[np.float64]  # (n,)
    upper: NDArray[np.float64]  # (n,)
    half_width: float
    level: float
    """Maximum probability that the band misses the true distribution somewhere: 0.05 for a 95% band."""


def edf(errors: ArrayLike, weights: ArrayLike | ComplexityWeights | None = None, metric: Metric = TOP1_ERROR) -> EDF:
    """Return the EDF of errors in percent, in any order.

    Args:
        errors: one per network.
        weights: one per network, in the same order. They are scaled to sum 1, and a network of weight 0 does not count
            at all. None counts each network once. Those of `complexity_weights` give the normalised EDF.
        metric: what the errors are values of; they are those of `Results.errors`, of which lower ones are better.

    Raises:
        InputError: there is no error, an error is not a finite number, or the weights do not fit the errors.

    >>> F = edf([40.0, 30.0, 40.0, 50.0])
    >>> F(29.9), F(30.0), F(40.0), F(99.0)
    (0.0, 0.25, 0.75, 1.0)
    >>> edf([40.0, 30.0], weights=[3, 1])(30.0)
    0.25
    """
    values = np.asarray(errors, np.float64).ravel()
    if not values.size:
        raise InputError("an EDF needs at least one error")
    if not np.isfinite(values).all():
        raise InputError("an EDF needs finite errors; count failed trials at chance level or leave them out")
    if weights is None:
        ascending = np.sort(values)
        probabilities = np.searchsorted(ascending, ascending, side="right") / ascending.size
        _freeze(ascending, probabilities)
        mean, median = float(ascending.mean()), float(np.median(ascending))
        return EDF(ascending, probabilities, ascending.size, float(ascending[0]), mean, median, metric=metric)
    bins = weights.bins if isinstance(weights, ComplexityWeights) else None
    factors = np.asarray(weights.weights if isinstance(weights, ComplexityWeights) else weights, np.float64).ravel()
    if factors.size != values.size:
        raise InputError(f"an EDF needs one weight per error, {values.size} in all, not {factors.size}")
    if not (np.isfinite(factors).all() and (factors >= 0).all() and factors.any()):
        raise InputError("the weights of an EDF must be finite numbers >= 0, not all of them 0")
    positive = np.flatnonzero(factors > 0)
    order = positive[np.argsort(values[positive], kind="stable")]
    ascending, sums = values[order], np.cumsum(factors[order])
    shares = factors[order] / sums[-1]
    probabilities = (sums / sums[-1])[np.searchsorted(ascending, ascending, side="right") - 1]
    strata = None if bins is None else bins[order]
    _freeze(ascending, probabilities, shares, strata)
    # If F is 1/2 up to rounding, the median is the mean of the errors on both sides.
    middle = [ascending[int(np.searchsorted(probabilities, 0.5 + sign * 1e-12))] for sign in (-1, 1)]
    mean, median = float(shares @ ascending), float(sum(middle) / 2)
    return EDF(ascending, probabilities, ascending.size, float(ascending[0]), mean, median, shares, strata, metric)


def check_level(level: float) -> None:
    """Raise an InputError unless a significance level is a number between 0 and 1."""
    if not 0 < number("level (between 0 and 1, such as 0.05 for 5%)", level) < 1:
        raise InputError(f"level must be between 0 and 1, such as 0.05 for 5%, not {level!r}")


def _band(curve: EDF, half_width: float, level: float) -> Band:
    """Return the band with a half width around a curve."""
    lower = np.clip(curve.probabilities - half_width, 0, 1)
    return Band(lower, np.clip(curve.probabilities + half_width, 0, 1), half_width, level)


def _freeze(*arrays: NDArray[np.generic] | None) -> None:
    """Make arrays read-only."""
    for array in arrays:
        if array is not None:
            array.setflags(write=False)
