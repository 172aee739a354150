"""When a comparison of spaces may end before all of their networks are trained.

A comparison is looked at when the first networks of each population have been trained. The beginning of a population
is a random sample of its space, so what is cheap does not come first. A claim needs a p value below the boundary of
O'Brien and Fleming (see `preconditions.looks`), which keeps the level over any number of looks. A comparison is given
up if it is hopeless: if the remaining networks could hardly show even a difference that matters (stochastic
curtailment: Lan, Simon and Halperin, "Stochastically curtailed tests in long-term clinical trials", 1982). Giving up
makes no claim, so it needs no level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.edf import check_level
from designspace.analysis.results import ErrorColumn, Results
from designspace.support.checks import number, whole
from designspace.support.errors import InputError

Verdict = Literal["better", "differ", "hopeless", "open"]
"""``better``: one space is shown to be better. ``differ``: all networks are trained, and the spaces differ, but neither
is shown to be better. ``hopeless``: the remaining networks could hardly show which is better. ``open``: not decided."""

MIN_NETWORKS = 8
"""Minimum number of networks of each space for a look: fewer decide nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """When to look at a comparison, and when to end it.

    Raises:
        InputError: a value is out of range.
    """

    looks: int = 20
    """Number of looks, the last of which is at all networks; they are equally far apart."""
    level: float = 0.05
    """Significance level of all claims together."""
    effect: float = 0.6
    """Least probability, that a random network of the better space is the better one, that matters."""
    hopeless: float = 0.3
    """A comparison is given up if the probability that the remaining networks decide it, although the effect is as
    large as that, is below this; 0 for never."""

    def __post_init__(self) -> None:
        whole("looks", self.looks, 1, 1000)
        check_level(self.level)
        if not 0.5 < number("effect (a probability, such as 0.6)", self.effect) < 1:
            raise InputError(f"effect must be a probability above 0.5 and below 1, such as 0.6, not {self.effect!r}")
        if not 0 <= number("hopeless (a probability, such as 0.3)", self.hopeless) < 1:
            raise InputError(f"hopeless must be from 0 (never) to below 1, such as 0.3, not {self.hopeless!r}")

    def sizes(self, n: int) -> list[int]:
        """Return the numbers of networks, of n, at which to look, without those below `MIN_NETWORKS`.

        >>> StoppingRule(looks=5).sizes(64), StoppingRule(looks=5).sizes(16)
        ([13, 26, 39, 52, 64], [10, 13, 16])
        """
        sizes = [math.ceil(n * look / self.looks) for look in range(1, self.looks)]
        return [*(size for size in dict.fromkeys(sizes) if MIN_NETWORKS <= size < n), n]

    def verdict(self, comparison: Comparison, planned: tuple[int, int]) -> Verdict:
        """Return what follows from a comparison of the networks so far.

        Args:
            comparison: the comparison.
            planned: number of networks of A and B if none is given up.
        """
        if comparison.better:
            return "better"
        if comparison.part >= 1:
            return "differ" if comparison.differs else "open"
        return "hopeless" if conditional_power(comparison, planned, self.effect) < self.hopeless else "open"


def conditional_power(comparison: Comparison, planned: tuple[int, int], effect: float) -> float:
    """Return the probability that the remaining networks show one space to be better, given those so far.

    The remaining networks are assumed to differ by ``effect`` in the direction in which those so far differ. The
    statistic is taken to be a Brownian motion in the information (Lan, Simon and Halperin 1982), and the last look to
    be at the level of a single pair, so that comparisons are given up rather late.

    Args:
        comparison: the comparison of the networks so far.
        planned: planned number of networks of A and B.
        effect: probability that a random network of the better space is the better one.
    """
    from scipy.special import ndtr, ndtri

    part = comparison.part
    if part >= 1:
        return float(comparison.better is not None)
    deviations = -float(ndtri(max(comparison.effect_p, 1e-300) / 2))
    n_a, n_b = planned
    drift = (effect - 0.5) / math.sqrt((n_a + n_b + 1) / (12 * n_a * n_b))
    bound = -float(ndtri(comparison.level / 2))
    return float(ndtr((deviations * math.sqrt(part) + drift * (1 - part) - bound) / math.sqrt(1 - part)))


def beginning(results: Results, size: int) -> Results:
    """Return results in which only the first networks of the population are trained, whatever has finished.

    Args:
        results: one run, in the order of its population.
        size: number of networks.
    """
    ids = results.table["id"]
    is_later = ~ids.isin(ids.drop_duplicates()[:size])
    table = results.table.assign(counts=~is_later)  # the beginning of a population is a random sample
    table.loc[is_later, "status"] = "waiting"
    errors = [name for name in get_args(ErrorColumn) if name in table.columns]
    table.loc[is_later, errors] = math.nan
    return replace(results, table=table)


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """What a look says about a pair of spaces."""

    comparison: Comparison
    verdict: Verdict

    def sentence(self) -> str:
        """Return it as text."""
        pair = self.comparison
        if self.verdict == "hopeless":
            return (
                f"{pair.a} and {pair.b}: given up with {pair.n_a} and {pair.n_b} networks, because the others would "
                "hardly show a difference that matters."
            )
        return pair.sentence()


@dataclass(frozen=True, slots=True)
class Course:
    """A sweep of several spaces at one of its looks."""

    trained: Mapping[str, int]
    """Number of networks of each space that are trained."""
    verdicts: tuple[PairVerdict, ...]
    """The verdict on each pair. A claim stays, whatever later networks show."""
    going: frozenset[str]
    """Names of the spaces that are trained further, because a comparison is open."""

    @property
    def total(self) -> int:
        """Number of networks that are trained."""
        return sum(self.trained.values())


ResultsAt = Callable[[Mapping[str, int], Collection[str]], Sequence[Results]]
"""Receives the number of networks of each space that are to be trained, and the names of the spaces that are not yet
trained so far; returns the results of all spaces with these networks (see `beginning`)."""


def courses(
    planned: Mapping[str, int], rule: StoppingRule, results_at: ResultsAt, complete: Collection[str] = (), seed: int = 0
) -> Iterator[Course]:
    """Yield a sweep at each of its looks, until all comparisons have ended or all networks are trained.

    Args:
        planned: space -> number of networks if none of its comparisons is given up.
        rule: when to look, and when to end a comparison.
        results_at: trains networks, or takes the results of trained ones.
        complete: names of the spaces of which all networks are trained already.
        seed: seed of the tests of populations that share networks.
    """
    sizes = {name: [n] if name in complete else rule.sizes(n) for name, n in planned.items()}
    trained = {name: n if name in complete else 0 for name, n in planned.items()}
    going = {name for name in planned if name not in complete}
    verdicts: dict[tuple[str, str], PairVerdict] = {}
    for step in range(max(map(len, sizes.values()))):
        trained |= {name: sizes[name][min(step, len(sizes[name]) - 1)] for name in going}
        for pair in compare_all(results_at(trained, going), rule.level, seed=seed):
            key = pair.a, pair.b
            verdict = PairVerdict(pair, rule.verdict(pair, (planned[pair.a], planned[pair.b])))
            # Networks that are trained for other pairs may decide a pair that was given up.
            earlier = verdicts[key].verdict if key in verdicts else "open"
            if earlier == "open" or (earlier == "hopeless" and verdict.verdict == "better"):
                verdicts[key] = verdict
        is_open = {name for key, each in verdicts.items() if each.verdict == "open" for name in key}
        going = {name for name in is_open if trained[name] < planned[name]}
        yield Course(dict(trained), tuple(verdicts.values()), frozenset(going))
        if not going:
            return
