"""The number of networks of each space that a claim needs, computed before a sweep.

The two claims are those of this package: one space is better than another (`comparison`), and one space is not worse
than another by more than a margin (`margins`). For populations that have been trained, see `power`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from designspace.analysis.edf import check_level
from designspace.support.checks import number, whole
from designspace.support.errors import InputError

MAX_SIMULATED = 500
"""Maximum number of networks of a space in simulations.

Larger populations are simulated at this size, with a difference that is larger by the root of the ratio, since power
depends on difference x sqrt(n).
"""
MAX_NETWORKS = 10_000_000
"""Maximum number of networks of each space in a plan."""
_DRAWS = 2000
_MAX_LINEAR_SEARCH = 40
_MAX_ERRORS = 4_000_000
"""Maximum number of simulated errors in memory."""


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """The number of networks that a claim needs, and the probability of making it with them."""

    n: int
    """Networks of each space, rounded up to two significant digits."""
    power: float
    """Probability of the claim with ``n`` networks of each space, if the assumption holds."""
    level: float
    """Significance level of the claim."""
    pairs: int
    """Number of pairs of spaces that are compared together."""


def plan_better(
    effect: float, power: float = 0.8, level: float = 0.05, pairs: int = 1, *, draws: int = _DRAWS, seed: int = 0
) -> SamplePlan:
    """Return the number of networks of each space that is needed to show that one space is better.

    See `power_better` for the assumption. The search uses simulated power, so ``n`` has a standard error of about 2%
    with 2,000 draws.

    Args:
        effect: probability that a random network of the better space is the better one, ties shared; above 0.5.
        power: desired probability of the claim.
        level: significance level of the claim.
        pairs: number of pairs of spaces that are compared together, for Holm's correction.
        draws: number of simulated pairs of populations for each size.
        seed: seed of the draws.

    Raises:
        InputError: an argument is out of range, or more than 10 million networks of each space are needed.

    >>> plan_better(0.7).n
    43
    """
    _check(power, level, pairs)
    distance = _shift_of(effect)
    expected = (_quantile(1 - level / pairs / 2) + _quantile(power)) ** 2 * 2 * math.pi / 3 / distance**2

    def power_of(n: int) -> float:
        return power_better(n, effect, level, pairs, draws=draws, seed=seed)

    n = _least_size(power_of, power, expected, f"effect={effect:g}")
    return SamplePlan(n, power_of(n), level, pairs)


def power_better(
    n: int, effect: float, level: float = 0.05, pairs: int = 1, *, draws: int = _DRAWS, seed: int = 0
) -> float:
    """Return the probability that n networks of each space show which one is better.

    This is the claim of `Comparison.better`: the Kolmogorov-Smirnov test shows that the spaces differ, and the test of
    Brunner and Munzel (2000) shows which one is better. Both tests are at ``level / pairs``, the first step of Holm's
    correction (1979), which gives the least power that one of several pairs can have.

    Errors are assumed to be normal with equal spread, up to any monotone transformation, since both tests use only
    ranks. Without ties, an effect P then is a shift of sqrt(2) Phi^-1(P) standard deviations. Populations are drawn and
    tested ``draws`` times; the p value of the KS test is exact (Gnedenko and Korolyuk, 1951).

    Raises:
        InputError: an argument is out of range.
    """
    whole("n", n, 2, MAX_NETWORKS)
    _check(0.5, level, pairs)
    shift = _shift_of(effect)
    size = min(n, MAX_SIMULATED)
    shift *= math.sqrt(n / size)
    whole("draws", draws, 1)
    rng = np.random.default_rng([seed, n])
    least_gap = _least_gap(size, level / pairs)
    count = 0
    for start in range(0, draws, max(1, _MAX_ERRORS // (2 * size))):
        batch = min(max(1, _MAX_ERRORS // (2 * size)), draws - start)
        count += _count_shown(rng, batch, size, shift, least_gap, level / pairs)
    return count / draws


def plan_not_worse(
    margin: float, sd: float, power: float = 0.8, level: float = 0.05, pairs: int = 1, *, both_sides: bool = False
) -> SamplePlan:
    """Return the number of networks of each space needed to show that one is not worse by more than a margin.

    See `power_not_worse` for the assumption.

    Args:
        margin: largest acceptable loss of mean error, in percentage points.
        sd: standard deviation of the errors within each space, in percentage points.
        power: desired probability of the claim.
        level: significance level of the claim.
        pairs: number of pairs of spaces that are compared together, for Holm's correction.
        both_sides: also show that it is not better by more than the margin, so that the spaces are equivalent.

    Raises:
        InputError: an argument is out of range, or more than 10 million networks of each space are needed.

    >>> plan_not_worse(0.5, sd=2).n, plan_not_worse(0.5, sd=2, both_sides=True).n
    (210, 280)
    """
    _check(power, level, pairs)
    beyond = _quantile((1 + power) / 2 if both_sides else power)
    _positive(margin, sd)
    expected = 2 * ((_quantile(1 - level / pairs) + beyond) * sd / margin) ** 2

    def power_of(n: int) -> float:
        return power_not_worse(n, margin, sd, level, pairs, both_sides=both_sides)

    n = _least_size(power_of, power, expected, f"margin={margin:g} with sd={sd:g}")
    return SamplePlan(n, power_of(n), level, pairs)


def power_not_worse(
    n: int, margin: float, sd: float, level: float = 0.05, pairs: int = 1, *, both_sides: bool = False
) -> float:
    """Return the probability that n networks of each space show that one is not worse by more than a margin.

    The claim is tested by a one-sided t test at ``level / pairs`` of a mean difference of at least the margin, or by
    two of them, one for each side (Schuirmann, "A comparison of the two one-sided tests procedure and the power
    approach", 1987). The errors are assumed to be normal, with equal means and the same standard deviation in both
    spaces. The power of one side follows from the noncentral t distribution. For both sides, this returns a lower
    bound: 1 less twice the probability that one side fails.

    Raises:
        InputError: an argument is out of range.
    """
    from scipy.special import nctdtr, stdtrit

    whole("n", n, 2, MAX_NETWORKS)
    _check(0.5, level, pairs)
    _positive(margin, sd)
    freedom = 2 * n - 2
    missed = float(nctdtr(freedom, margin / sd * math.sqrt(n / 2), stdtrit(freedom, 1 - level / pairs)))
    return max(0.0, 1 - 2 * missed) if both_sides else 1 - missed


def _count_shown(rng: np.random.Generator, draws: int, n: int, shift: float, least: int, level: float) -> int:
    """Return the number of simulated pairs in which both tests show that A is better (see `probability_lower`)."""
    from scipy.special import stdtr

    errors = rng.standard_normal((draws, 2 * n))
    errors[:, n:] += shift
    is_a = np.argsort(errors, axis=1) < n  # in ascending order of the errors
    a_below = np.cumsum(is_a, axis=1)
    b_below = np.arange(1, 2 * n + 1) - a_below
    differ = np.abs(a_below - b_below).max(axis=1) >= least
    # Fraction of B above each network of A, and fraction of A below each network of B.
    above = np.where(is_a, 1 - b_below / n, 0.0)
    below = np.where(is_a, 0.0, a_below / n)
    value = above.sum(axis=1) / n
    variances = [((placements**2).sum(axis=1) - n * value**2) / (n - 1) / n for placements in (above, below)]
    total = np.maximum(sum(variances), 1e-300)  # 0 if the populations do not overlap; then the KS test decides
    freedom = total**2 * (n - 1) / np.maximum(sum(variance**2 for variance in variances), 1e-300)
    better = (value > 0.5) & (2 * stdtr(np.clip(freedom, 1, None), -np.abs(value - 0.5) / np.sqrt(total)) < level)
    return int((differ & better).sum())


def _least_gap(n: int, level: float) -> int:
    """Return the least gap of two EDFs of n networks, in networks, that the exact KS test calls significant.

    The p value of a gap h is 2 sum over i >= 1 of (-1)^(i - 1) C(2n, n + i h) / C(2n, n) (Gnedenko and Korolyuk). The
    result is n + 1 if no gap is significant.

    >>> _least_gap(4, 0.05), _least_gap(3, 0.05), _least_gap(100, 0.05)
    (4, 4, 20)
    """
    from scipy.special import gammaln

    for gap in range(max(1, math.floor(math.sqrt(n * math.log(2 / level)) / 2)), n + 1):
        gaps = np.arange(gap, n + 1, gap)
        terms = np.exp(2 * gammaln(n + 1) - gammaln(n + gaps + 1) - gammaln(n - gaps + 1))
        if 2 * float((terms * (-1.0) ** np.arange(terms.size)).sum()) < level:
            return gap
    return n + 1


def _least_size(power_of: Callable[[int], float], power: float, expected: float, assumption: str) -> int:
    """Return the least size of populations, with two significant digits, that has the desired power.

    The search starts near the size expected without the KS test, or with normal quantiles instead of those of t. The p
    values of small populations are discrete, so that an additional network can reduce the power. Therefore small sizes
    are searched one by one, and the result is increased at the end until its power suffices.
    """
    low, high = math.floor(0.7 * expected) if expected > 20 else 1, max(4, math.ceil(1.4 * expected))
    while high <= MAX_NETWORKS and power_of(high) < power:
        low, high = high, 2 * high
    if high > MAX_NETWORKS:
        raise InputError(f"{assumption} needs more than {MAX_NETWORKS:,} networks of each space; choose a larger one")
    if high <= _MAX_LINEAR_SEARCH:
        return next(n for n in range(max(2, low), high + 1) if power_of(n) >= power)
    while high - low > 1 + low // 50:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    step = int(10 ** max(0, len(str(high)) - 2))
    n = -(-high // step) * step
    while power_of(n) < power:
        n += step
    return n


def _check(power: float, level: float, pairs: int) -> None:
    """Raise an InputError unless power, level and pairs are in range."""
    if not 0 < number("power", power) < 1:
        raise InputError(f"power must be between 0 and 1, such as 0.8 for 80%, not {power!r}")
    check_level(number("level", level))
    whole("pairs", pairs, 1)


def _shift_of(effect: float) -> float:
    """Return the shift of normal errors, in standard deviations, that has an effect."""
    if not 0.5 < number("effect", effect) < 1:
        raise InputError(
            f"effect must be above 0.5 and below 1, the probability that a random network of the better space is "
            f"better than one of the other, not {effect!r}"
        )
    return math.sqrt(2) * _quantile(effect)


def _positive(margin: float, sd: float) -> None:
    """Raise an InputError unless the margin and the standard deviation are above 0."""
    for name, value in (("margin", margin), ("sd", sd)):
        if not number(name, value) > 0:
            raise InputError(f"{name} must be above 0 percentage points, not {value!r}")


def _quantile(probability: float) -> float:
    """Return a quantile of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(probability))
