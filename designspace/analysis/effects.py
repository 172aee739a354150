"""Effect sizes: how far apart two populations are, with intervals in closed form.

All functions compare errors in percent; less is better. If a population is a single network, there is no variance to
compute an interval from: intervals of differences are then NaN, and those of probabilities 0 to 1. Intervals are not
corrected for multiple comparisons: with many pairs of spaces, some of them will miss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.brunner_munzel import permutation_p
from designspace.analysis.edf import check_level
from designspace.support.display import Outlined
from designspace.support.errors import InputError

_NETWORKS_PER_K = 10
"""An interval for the best of k needs this many times k networks; fewer tell too little about the best of a space."""
_MIN_NETWORKS_FOR_T = 15
"""With fewer networks than this, P(A < B) = 1/2 is tested by permutation."""
_MIN_RARE_PAIRS = 3
"""If fewer independent pairs than this have the rarer outcome, the variance is unreliable, and pairs are counted."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with an interval that covers the true value with probability 1 - ``level``."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided p value of the hypothesis of no difference: a difference of 0, or a probability of 1/2."""
    level: float = 0.05

    def negated(self) -> Estimate:
        """Return the estimate of the negative value."""
        return Estimate(-self.value, -self.high, -self.low, self.p, self.level)


@dataclass(frozen=True, eq=False, repr=False)
class BestOfK(Outlined):
    """The probability that the best of k networks of A has a lower error than the best of k of B, for some k."""

    k: NDArray[np.int64]  # (ks,)
    probability: NDArray[np.float64]  # (ks,)
    """Ties count half."""
    low: NDArray[np.float64]  # (ks,)
    """NaN if k is more than a tenth of the networks of A or B."""
    high: NDArray[np.float64]  # (ks,)
    level: float
    """Each interval covers the true value with probability 1 - ``level``, separately for each k."""
    n_a: int
    n_b: int

    @property
    def with_replacement(self) -> NDArray[np.bool_]:  # (ks,)
        """Whether k exceeds the number of networks of A or B, so that they are drawn with replacement."""
        return self.k > min(self.n_a, self.n_b)

    def table(self) -> pd.DataFrame:
        """Return one row per k."""
        numbers = {"k": self.k, "probability": self.probability, "low": self.low, "high": self.high}
        return pd.DataFrame({**numbers, "with_replacement": self.with_replacement})


def mean_difference(a: ArrayLike, b: ArrayLike, level: float = 0.05) -> Estimate:
    """Estimate the mean error of ``a`` less that of ``b``, in percentage points, with Welch's t interval (1947).

    If neither population varies, the interval is a point. With few networks, some of which failed and count at chance
    level, it covers too seldom, since a sample without failures shows nothing of their variance: 85% of 1,000 intervals
    at 95% with 10% failures at 90% error and 8 against 32 networks. The studentised bootstrap covers 77% there, and
    with skewed errors, too, it covers less than Welch's interval (90% against 93%).

    Raises:
        InputError: ``a`` or ``b`` is empty, or ``level`` is not between 0 and 1.
    """
    values = _checked_pair(a, b, level)
    difference = float(values[0].mean() - values[1].mean())
    if min(errors.size for errors in values) < 2:
        return Estimate(difference, math.nan, math.nan, math.nan, level)
    variances = [float(errors.var(ddof=1)) / errors.size for errors in values]
    return difference_interval(difference, variances, [errors.size - 1 for errors in values], level)


def difference_interval(
    difference: float, variances: Sequence[float], freedoms: Sequence[float], level: float
) -> Estimate:
    """Return a difference with its t interval, from the parts of its variance and their degrees of freedom."""
    from scipy.special import stdtr, stdtrit  # these functions alone start faster than scipy.stats

    error = math.sqrt(sum(variances))
    if not error:
        return Estimate(difference, difference, difference, float(difference == 0), level)
    freedom = _degrees_of_freedom(variances, freedoms)
    half = error * float(stdtrit(freedom, 1 - level / 2))
    p = 2 * float(stdtr(freedom, -abs(difference) / error))
    return Estimate(difference, difference - half, difference + half, p, level)


def median_difference(a: ArrayLike, b: ArrayLike, level: float = 0.05) -> Estimate:
    """Estimate the median error of ``a`` less that of ``b``, with the interval of Price and Bonett (2002).

    The unit is percentage points. The variance of each median is computed from the distance between two order
    statistics around it, so the populations may have different shapes, and failures at chance level hardly matter.

    Raises:
        InputError: ``a`` or ``b`` is empty, or ``level`` is not between 0 and 1.
    """
    from scipy.special import ndtr, ndtri

    values = _checked_pair(a, b, level)
    difference = float(np.median(values[0]) - np.median(values[1]))
    if min(errors.size for errors in values) < 2:
        return Estimate(difference, math.nan, math.nan, math.nan, level)
    error = math.sqrt(sum(_median_variance(errors) for errors in values))
    if not error:
        return Estimate(difference, difference, difference, float(difference == 0), level)
    half = -float(ndtri(level / 2)) * error
    p = 2 * float(ndtr(-abs(difference) / error))
    return Estimate(difference, difference - half, difference + half, p, level)


def probability_lower(a: ArrayLike, b: ArrayLike, level: float = 0.05) -> Estimate:
    """Estimate P(A < B) + P(A = B) / 2: the probability that a random network of A has the lower error, ties shared.

    The estimate is exact over all pairs. The interval uses DeLong's variance (1988) on the logit scale, with the
    degrees of freedom of Brunner and Munzel (2000). It stays within 0 and 1 and is valid for populations of different
    shapes; the interval of Mann and Whitney is not.

    Populations that hardly overlap carry little information about that variance. If fewer than three of
    m = min(n_a, n_b) independent pairs are expected to have the rarer outcome, the interval is at least as wide as that
    of Clopper and Pearson for m pairs, and so covers more often than 1 - ``level``. The p value is that of Brunner and
    Munzel, on the scale of the probability, or that of Mann and Whitney if the variance is zero. With fewer than 15
    networks in A or B, it is the permutation p value of the same statistic (`permutation_p`), since the t distribution
    is too narrow there for equal spaces.

    The p value decides whether the probability differs from 1/2. With few networks, the interval may include 1/2
    although p is below ``level``, because it is wider on purpose. At 8 against 8, with means one standard deviation
    apart, it covers 99%, and in 32% of 2,000 draws p was below 5% and the interval included 1/2. The opposite never
    happened.

    Raises:
        InputError: ``a`` or ``b`` is empty, or ``level`` is not between 0 and 1.

    >>> probability_lower([1, 2], [2, 3]).value
    0.875
    """
    first, second = _checked_pair(a, b, level)
    estimate = probability_interval(first, second, level)
    if 1 < min(first.size, second.size) < _MIN_NETWORKS_FOR_T:
        return replace(estimate, p=permutation_p(first, second))
    return estimate


def probability_interval(a: ArrayLike, b: ArrayLike, level: float = 0.05) -> Estimate:
    """Return `probability_lower` with the p value of the t distribution for any number of networks.

    It takes a fraction of a millisecond, where a permutation p value of few networks takes hundreds.

    Raises:
        InputError: as `probability_lower`.
    """
    first, second = _checked_pair(a, b, level)
    above = 1 - not_above(second, first) / second.size  # fraction of B above each error of A, ties shared
    below = not_above(first, second) / first.size
    return _probability(float(above.mean()), (above, below), 1, level, (first, second))


def best_of_k(a: ArrayLike, b: ArrayLike, k: int | Sequence[int] | NDArray[np.int64], level: float = 0.05) -> BestOfK:
    """Estimate P(the best of k networks of A has a lower error than the best of k of B), ties shared, for each k.

    This is what a random search of k networks gains from the better space. It is the average over *all* choices of k
    networks of A and k of B, without replacement: an unbiased estimate (a U-statistic) without random draws. The r-th
    best of n is the best of such a choice with probability C(n - r, k - 1) / C(n, k).

    The interval uses the jackknife variance, which has a closed form, on the logit scale; near 0 and 1 it is as wide
    as that of n / k independent pairs, and so covers more often than 1 - ``level`` (see `probability_lower`). It is NaN
    if k is more than a tenth of the networks of A or B. If k exceeds the number of networks of A or B, both are drawn
    with replacement. The best network seen then takes the role of the best of the space, which it is not, so read such
    numbers as a description of these networks.

    Raises:
        InputError: ``a`` or ``b`` is empty, a k is below 1, or ``level`` is not between 0 and 1.

    >>> best_of_k([1, 4], [2, 3], [1, 2]).probability.tolist()
    [0.5, 1.0]
    """
    first, second = _checked_pair(a, b, level)
    ks = np.atleast_1d(np.asarray(k))
    if not ks.size or not np.issubdtype(ks.dtype, np.integer) or (ks < 1).any():
        raise InputError(f"k must be whole numbers >= 1, not {k!r}")
    estimates = [_best_of_one_k(first, second, int(size), level) for size in ks]
    probability, low, high = (np.array(column) for column in zip(*estimates, strict=True))
    return BestOfK(ks.astype(np.int64), probability, low, high, level, first.size, second.size)


def _best_of_one_k(a: NDArray[np.float64], b: NDArray[np.float64], k: int, level: float) -> tuple[float, float, float]:
    """Return the probability and both ends of its interval for one k, from ascending errors."""
    if k > min(a.size, b.size):
        survival = [(1 - np.arange(errors.size + 1) / errors.size) ** k for errors in (a, b)]
    else:
        survival = [_survival(errors.size, k) for errors in (a, b)]
    # Probability that the best of k of the other population is above each error of this one (ties count half).
    above = [_above(survival[1], b, a), _above(survival[0], a, b)]
    value = float(-np.diff(survival[0]) @ above[0])
    if min(value, 1 - value) < 1e-12:  # rounding
        value = float(round(value))
    if k * _NETWORKS_PER_K > min(a.size, b.size):
        return value, math.nan, math.nan
    kernels = (_win_given_network(above[0], k), 1 - _win_given_network(above[1], k))
    estimate = _probability(value, kernels, k, level, (a, b))
    return value, estimate.low, estimate.high


def _survival(n: int, k: int) -> NDArray[np.float64]:
    """Return P(none of k out of n is among the r best) = C(n - r, k) / C(n, k), for r = 0 to n. Shape (n + 1,)."""
    survival = np.zeros(n + 1)
    # It is a product of factors below 1 - k / n. Values below e^-45 are negligible in all later sums.
    last = min(n - k, math.ceil(45 * n / max(k, 1)))
    survival[0] = 1
    survival[1 : last + 1] = np.exp(np.cumsum(np.log1p(-k / (n - np.arange(last)))))
    return survival


def _above(survival: NDArray[np.float64], errors: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(best of k is above an error) + P(best of k is equal to it) / 2, for each error in ``at``."""
    below, not_above = np.searchsorted(errors, at, side="left"), np.searchsorted(errors, at, side="right")
    return np.asarray((survival[below] + survival[not_above]) / 2)


def _win_given_network(above: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return P(the best of k wins), given that one of the k is a certain network, for each network. Shape (n,).

    Networks are in ascending order of error. The other k - 1 are drawn from the other networks. Either they are all
    worse than the certain network, or the best of them counts.
    """
    survival = _survival(above.size - 1, k - 1)  # P(none of the r best other networks is among the k - 1)
    better = np.concatenate([[0.0], np.cumsum(-np.diff(survival) * above[:-1])])
    return np.asarray(above * survival + better)


def _probability(
    value: float,
    kernels: tuple[NDArray[np.float64], NDArray[np.float64]],
    k: int,
    level: float,
    errors: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Estimate:
    """Return a probability with its interval, from its kernels: the estimate given each network of A, and of B."""
    sizes = [kernel.size for kernel in kernels]
    if min(sizes) < 2:
        return Estimate(value, 0.0, 1.0, _mann_whitney_p(*errors), level)
    pairs = min(n // k for n in sizes)
    if value in (0, 1):
        return Estimate(value, *_clopper_pearson(value, pairs, level), _mann_whitney_p(*errors), level)
    variances = []
    for n, kernel in zip(sizes, kernels, strict=True):
        deviations = kernel - value
        deviations[np.abs(deviations) < 1e-12] = 0  # rounding
        variances.append((n - 1) / n * (k / (n - k)) ** 2 * float(deviations @ deviations))
    total = sum(variances)
    if not total:  # all ties
        same = (level / 2) ** (1 / pairs)
        return Estimate(value, value * same, 1 - (1 - value) * same, _mann_whitney_p(*errors), level)
    return probability_of_variances(value, variances, [n / k - 1 for n in sizes], pairs, level)


def probability_of_variances(
    value: float, variances: Sequence[float], freedoms: Sequence[float], pairs: int, level: float
) -> Estimate:
    """Return a probability with its interval on the logit scale, from the parts of its variance.

    Args:
        value: the probability.
        variances: the parts of its variance.
        freedoms: their degrees of freedom.
        pairs: number of independent pairs; if few are expected to have the rarer outcome, the interval is that of
            Clopper and Pearson at least.
        level: one minus the confidence.
    """
    from scipy.special import stdtr, stdtrit

    total = sum(variances)
    if value in (0, 1) or not total:  # the variance of the sample says nothing
        p = min(1.0, 2 * 0.5**pairs) if value in (0, 1) else 1.0  # sign test
        return Estimate(value, *_clopper_pearson(value, pairs, level), p, level)
    spread = math.sqrt(total) / (value * (1 - value))
    freedom = _degrees_of_freedom(variances, freedoms)
    logit = math.log(value / (1 - value))
    half = spread * float(stdtrit(freedom, 1 - level / 2))
    low, high = (1 / (1 + math.exp(-min(max(end, -700), 700))) for end in (logit - half, logit + half))
    if pairs * min(value, 1 - value) < _MIN_RARE_PAIRS - 1e-9:  # not by rounding
        ends = _clopper_pearson(value, pairs, level)
        low, high = min(low, ends[0]), max(high, ends[1])
    p = 2 * float(stdtr(freedom, -abs(value - 0.5) / math.sqrt(total)))
    return Estimate(value, low, high, p, level)


def _clopper_pearson(value: float, pairs: int, level: float) -> tuple[float, float]:
    """Return the ends of the interval of Clopper and Pearson (1934) for a probability, from independent pairs."""
    from scipy.special import betaincinv

    wins = pairs * value
    low = float(betaincinv(wins, pairs - wins + 1, level / 2)) if value > 0 else 0.0
    return low, float(betaincinv(wins + 1, pairs - wins, 1 - level / 2)) if value < 1 else 1.0


def _mann_whitney_p(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the two-sided p value of Mann and Whitney; 1 if all errors are equal."""
    from scipy import stats

    if min(a[0], b[0]) == max(a[-1], b[-1]):
        return 1.0  # the test would divide by zero
    return float(stats.mannwhitneyu(a, b, alternative="two-sided").pvalue)


def _median_variance(ascending: NDArray[np.float64]) -> float:
    """Return the variance of the median, from the interval between two order statistics and its confidence."""
    from scipy.special import bdtr, ndtri

    n = ascending.size
    below = max(1, round((n + 1) / 2 - math.sqrt(n)))
    # Fraction of samples whose interval misses the median on one side (binomial distribution).
    missed = float(bdtr(below - 1, n, 0.5))
    width = ascending[n - below] - ascending[below - 1]
    return float((width / (-2 * ndtri(missed))) ** 2)


def _degrees_of_freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the degrees of freedom of a sum of variances (Welch and Satterthwaite)."""
    parts = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    return sum(variances) ** 2 / parts


def not_above(
    errors: NDArray[np.float64], at: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return how many of some ascending errors are below each error in ``at``; equal ones count half.

    With weights, return the sum of theirs.
    """
    below, up_to = np.searchsorted(errors, at, side="left"), np.searchsorted(errors, at, side="right")
    if weights is None:
        return np.asarray((below + up_to) / 2)
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    return np.asarray((sums[below] + sums[up_to]) / 2)


def _checked_pair(a: ArrayLike, b: ArrayLike, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the errors of both populations, checked, in ascending order."""
    check_level(level)
    first, second = (np.sort(np.asarray(errors, np.float64).ravel()) for errors in (a, b))
    for values in (first, second):
        if not values.size or not np.isfinite(values).all():
            raise InputError("two populations to compare need at least one error each, and all errors must be finite")
    return first, second
