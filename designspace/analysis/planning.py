"""How many networks of each space does a claim need? To be asked before a sweep.

The two claims are those of this package: one space is better than another (`comparison`), and one space is not worse
than another by more than a margin. `power` answers the question for populations that have been trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from designspace.analysis.edf import check_level
from designspace.support.checks import number, whole
from designspace.support.errors import InputError

LARGEST = 500
"""Networks of a space above which populations are simulated at this size, with a difference that is larger by the root
of the ratio, since power depends on difference x sqrt(n)."""
MOST = 10_000_000
"""Networks above which no plan is made."""
_DRAWS = 2000
_FEW = 40
_CELLS = 4_000_000
"""Errors that are held at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The networks that a claim needs, and the probability of making it with them."""

    n: int
    """Networks of each space, rounded up to two significant digits."""
    power: float
    """Probability of the claim with ``n`` networks of each space, if the assumption holds."""
    level: float
    """Significance level of the claim."""
    pairs: int
    """Pairs of spaces that are compared together."""


def plan_better(
    effect: float, power: float = 0.8, level: float = 0.05, pairs: int = 1, *, draws: int = _DRAWS, seed: int = 0
) -> Plan:
    """Return the networks of each space that are needed to show that one space is better.

    See `power_better` for the assumption. The search uses simulated power, so that ``n`` has a standard error of about
    2% with 2,000 draws.

    Args:
        effect: probability that a random network of the better space has the lower error, ties shared; above 0.5.
        power: wanted probability of the claim.
        level: significance level of the claim.
        pairs: number of pairs of spaces that are compared together, for Holm's correction.
        draws: simulated pairs of populations for each size that is tried.
        seed: seed of the draws.

    Raises:
        InputError: an argument is impossible, or more than 10 million networks of each space are needed.

    >>> plan_better(0.7).n
    43
    """
    _check(power, level, pairs)
    distance = _distance(effect)
    expected = (_quantile(1 - level / pairs / 2) + _quantile(power)) ** 2 * 2 * math.pi / 3 / distance**2

    def power_of(n: int) -> float:
        return power_better(n, effect, level, pairs, draws=draws, seed=seed)

    n = _least_size(power_of, power, expected, f"effect={effect:g}")
    return Plan(n, power_of(n), level, pairs)


def power_better(
    n: int, effect: float, level: float = 0.05, pairs: int = 1, *, draws: int = _DRAWS, seed: int = 0
) -> float:
    """Return the probability that n networks of each space show which one is better.

    That is the claim of `Comparison.better`: the Kolmogorov-Smirnov test shows that the spaces differ, then the test of
    Brunner and Munzel (2000) that the better one is better. Both are made at ``level / pairs``, the first step of
    Holm's correction (1979): the least power that one of several pairs can have.

    The errors are normal with equal spread, up to any monotone transformation: both tests only see ranks. Without ties,
    an effect P then is a shift of sqrt(2) Phi^-1(P) standard deviations. Populations are drawn and tested ``draws``
    times; the p value of the KS test is exact (Gnedenko and Korolyuk, 1951).

    Raises:
        InputError: an argument is impossible.
    """
    whole("n", n, 2, MOST)
    _check(0.5, level, pairs)
    shift = _distance(effect)
    size = min(n, LARGEST)
    shift *= math.sqrt(n / size)
    whole("draws", draws, 1)
    rng = np.random.default_rng([seed, n])
    least = _least_gap(size, level / pairs)
    shown = 0
    for start in range(0, draws, max(1, _CELLS // (2 * size))):
        part = min(max(1, _CELLS // (2 * size)), draws - start)
        shown += _shown(rng, part, size, shift, least, level / pairs)
    return shown / draws


def plan_not_worse(
    margin: float, sd: float, power: float = 0.8, level: float = 0.05, pairs: int = 1, *, both_sides: bool = False
) -> Plan:
    """Return the networks of each space that are needed to show that one is not worse by more than a margin.

    See `power_not_worse` for the assumption.

    Args:
        margin: largest acceptable loss of mean error, percentage points.
        sd: standard deviation of the errors within each space, percentage points.
        power: wanted probability of the claim.
        level: significance level of the claim.
        pairs: number of pairs of spaces that are compared together, for Holm's correction.
        both_sides: also show that it is not better by more than the margin, so that the spaces are equivalent.

    Raises:
        InputError: an argument is impossible, or more than 10 million networks of each space are needed.

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
    return Plan(n, power_of(n), level, pairs)


def power_not_worse(
    n: int, margin: float, sd: float, level: float = 0.05, pairs: int = 1, *, both_sides: bool = False
) -> float:
    """Return the probability that n networks of each space show that one is not worse by more than a margin.

    A one-sided t test at ``level / pairs`` of a mean difference of at least the margin, or two of them, one for each
    side (Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987). The spaces have
    equal mean errors, normal with one standard deviation. The power of one side is that of the noncentral t
    distribution; that of both is at least 1 less twice what one side lacks, which is what this returns.

    Raises:
        InputError: an argument is impossible.
    """
    from scipy.special import nctdtr, stdtrit

    whole("n", n, 2, MOST)
    _check(0.5, level, pairs)
    _positive(margin, sd)
    freedom = 2 * n - 2
    missed = float(nctdtr(freedom, margin / sd * math.sqrt(n / 2), stdtrit(freedom, 1 - level / pairs)))
    return max(0.0, 1 - 2 * missed) if both_sides else 1 - missed


def _shown(rng: np.random.Generator, draws: int, n: int, shift: float, least: int, level: float) -> int:
    """Simulated pairs of populations in which both tests show that A is better, as in `effects.probability_lower`."""
    from scipy.special import stdtr

    errors = rng.standard_normal((draws, 2 * n))
    errors[:, n:] += shift
    of_a = np.argsort(errors, axis=1) < n  # in ascending order of the errors
    a_below = np.cumsum(of_a, axis=1)
    b_below = np.arange(1, 2 * n + 1) - a_below
    differ = np.abs(a_below - b_below).max(axis=1) >= least
    # Share of B above each network of A, and of A below each of B.
    above = np.where(of_a, 1 - b_below / n, 0.0)
    below = np.where(of_a, 0.0, a_below / n)
    value = above.sum(axis=1) / n
    variances = [((x**2).sum(axis=1) - n * value**2) / (n - 1) / n for x in (above, below)]
    total = np.maximum(sum(variances), 1e-300)  # 0 where the populations do not overlap: then the KS test decides
    freedom = total**2 * (n - 1) / np.maximum(sum(variance**2 for variance in variances), 1e-300)
    better = (value > 0.5) & (2 * stdtr(np.clip(freedom, 1, None), -np.abs(value - 0.5) / np.sqrt(total)) < level)
    return int((differ & better).sum())


def _least_gap(n: int, level: float) -> int:
    """The least gap of two EDFs of n networks, in networks, that the exact KS test takes for a difference.

    The p value of a gap h is 2 sum over i >= 1 of (-1)^(i - 1) C(2n, n + i h) / C(2n, n) (Gnedenko and Korolyuk).
    n + 1 if there is none.

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


def _least_size(power_of: Callable[[int], float], power: float, expected: float, given: str) -> int:
    """The least size of populations, of two significant digits, that has a power.

    It is searched above what is expected without the KS test, or with normal quantiles instead of those of t. The p
    values of small populations are discrete, so that one network more can mean less power: hence the search one by one
    where it is short, and the last step.
    """
    low, high = math.floor(0.7 * expected) if expected > 20 else 1, max(4, math.ceil(1.4 * expected))
    while high <= MOST and power_of(high) < power:
        low, high = high, 2 * high
    if high > MOST:
        raise InputError(f"{given} needs more than {MOST:,} networks of each space; choose a larger one")
    if high <= _FEW:
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
    """Raise an InputError unless power, level and pairs are possible."""
    if not 0 < number("power", power) < 1:
        raise InputError(f"power must be between 0 and 1, as 0.8 for 80%, not {power!r}")
    check_level(number("level", level))
    whole("pairs", pairs, 1)


def _distance(effect: float) -> float:
    """The shift of normal errors, in standard deviations, that has an effect."""
    if not 0.5 < number("effect", effect) < 1:
        raise InputError(
            f"effect must be above 0.5 and below 1, the probability that a random network of the better space has the "
            f"lower error, not {effect!r}"
        )
    return math.sqrt(2) * _quantile(effect)


def _positive(margin: float, sd: float) -> None:
    """Raise an InputError unless the margin and the standard deviation are above 0."""
    for name, value in (("margin", margin), ("sd", sd)):
        if not number(name, value) > 0:
            raise InputError(f"{name} must be above 0 percentage points, not {value!r}")


def _quantile(probability: float) -> float:
    """The quantile of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(probability))
