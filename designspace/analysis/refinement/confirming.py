"""Confirmation of constraints on fresh networks of parent and child, from which alone their effects are estimated.

The networks that suggested a constraint flatter it (the winner's curse). So fresh networks are drawn from the space
with and without the constraint and trained; a constraint is adopted if they show that it makes networks better, or, if
it is a simplification, that it makes them worse by less than a margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.edf import check_level
from designspace.analysis.effects import Estimate, mean_difference, probability_interval
from designspace.analysis.p_values import holm, p_text
from designspace.analysis.preconditions import by_network
from designspace.analysis.quantities import values
from designspace.analysis.refinement.population import centred, strata_of
from designspace.analysis.results import Results
from designspace.analysis.tables import Table
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric

MIN_NETWORKS = 8
"""Minimum number of networks of parent and child each."""

Claim = Literal["better", "not worse"]
"""What is to be shown: that networks are better, or that they are worse by less than the margin."""


@dataclass(frozen=True, slots=True)
class Question:
    """A constraint that is to be confirmed."""

    name: str
    title: str
    claim: Claim


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What fresh networks say about a constraint."""

    question: Question
    estimate: Estimate
    """Probability that a network with the constraint is better than one of the parent of similar complexity, ties
    shared, with an interval of 1 - level that is not corrected for several constraints."""
    mean: Estimate
    """Mean error with the constraint less that of the parent, as `Results.errors` returns errors."""
    n_child: int
    n_parent: int
    margin: float
    p: float
    """P value of the claim: the level at which the interval excludes what contradicts it, so it is two-sided."""
    level: float
    p_holm: float = 1.0
    """``p`` after Holm's correction over all constraints."""
    metric: Metric = TOP1_ERROR

    @property
    def is_adopted(self) -> bool:
        """Whether the claim is shown."""
        return self.p_holm < self.level

    def sentence(self) -> str:
        """Return the outcome as text, from the fresh networks alone."""
        estimate, question = self.estimate, self.question
        verb, shown = ("Adopted", "is shown") if self.is_adopted else ("Not confirmed", "is not shown")
        claim = "are better" if question.claim == "better" else f"are worse by less than the margin of {self.margin:g}"
        return (
            f"{verb}: {question.title} ({question.name}). It {shown} that networks with it {claim}. Fresh "
            f"networks with it are better than those of the parent of similar complexity with probability "
            f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f}; {p_text(self.p_holm)}, "
            f"n = {self.n_child} and {self.n_parent})."
        )


def confirm(
    parent: Results,
    children: Mapping[Question, Results],
    match: str | None = "flops",
    margin: float = 0.1,
    level: float = 0.05,
) -> tuple[Confirmation, ...]:
    """Test each constraint on fresh networks, with Holm's correction over all of them.

    Args:
        parent: fresh networks of the space without the constraints.
        children: question -> fresh networks of the space with this constraint only.
        match: networks are compared at equal values of this quantity; None compares all with all.
        margin: largest acceptable loss of probability for the claim "not worse".
        level: probability of adopting any constraint whose claim is wrong.

    Raises:
        InputError: a population has fewer than eight networks that count, or unfinished trials.
    """
    check_level(level)
    reference = _checked(parent)
    confirmations = []
    for question, results in children.items():
        child = _checked(results)
        better, worse = _aligned(child, reference, match)
        bound = 0.5 if question.claim == "better" else 0.5 - margin
        confirmations.append(
            Confirmation(
                question,
                probability_interval(better, worse, level),
                mean_difference(child.errors(), reference.errors(), level),
                better.size,
                worse.size,
                margin,
                _p(better, worse, bound),
                level,
                metric=parent.metric,
            )
        )
    return _corrected(confirmations)


def confirmation_table(confirmations: Sequence[Confirmation]) -> Table:
    """Return a row per constraint: the estimates of the fresh networks, the p value and whether it is adopted."""
    rows = []
    for each in confirmations:
        signed = each.metric.signed
        mean, low, high = each.metric.oriented_interval(each.mean.value, each.mean.low, each.mean.high)
        rows.append(
            (
                each.question.name,
                each.question.claim,
                f"{each.n_child} and {each.n_parent}",
                f"{each.estimate.value:.2f}",
                f"{each.estimate.low:.2f} to {each.estimate.high:.2f}",
                f"{signed(mean)} ({signed(low)} to {signed(high)})",
                p_text(each.p_holm),
                "adopted" if each.is_adopted else "not confirmed",
            )
        )
    header = ("constraint", "claim", "networks", "P(better)", "interval", "mean", "p", "outcome")
    return Table("Fresh networks with each constraint against fresh networks of the parent", header, tuple(rows), 2)


def _checked(results: Results) -> Results:
    """Return one row per network of finished populations.

    Raises:
        InputError: there are too few networks that count, or unfinished trials.
    """
    results = by_network(results)
    if results.counts.unfinished:
        raise InputError(f"{results.name} is not finished: {results.counts.sentence()}")
    if int(results.counted().sum()) < MIN_NETWORKS:
        raise InputError(
            f"{results.name}: a confirmation needs at least {MIN_NETWORKS} networks ({results.counts.sentence()})"
        )
    return results


def _aligned(child: Results, parent: Results, match: str | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ranks of the errors of child and parent among all, less their means in strata of similar complexity.

    Aligned ranks: Hodges and Lehmann, "Rank methods for combination of independent experiments in analysis of variance"
    (1962). The strata are those of `refinement.population`.
    """
    from scipy.stats import rankdata

    errors = np.concatenate([child.errors(), parent.errors()])
    is_child = np.arange(errors.size) < int(child.counted().sum())
    ranks = rankdata(errors)
    if match is None:
        return ranks[is_child], ranks[~is_child]
    complexity = np.concatenate([values(each, match)[each.counted()] for each in (child, parent)])
    if not np.isfinite(complexity).all():
        raise InputError(f"the {match} of some networks is not known; choose another match=, or null")
    order = np.argsort(complexity, kind="stable")
    aligned = np.empty_like(ranks)
    aligned[order] = centred(ranks[order], strata_of(complexity[order]))
    return aligned[is_child], aligned[~is_child]


def _p(better: NDArray[np.float64], worse: NDArray[np.float64], bound: float) -> float:
    """Return the least level at which DeLong's interval of the probability is above a bound; 1 if there is none."""
    low, high = 1e-9, 1 - 1e-9
    if probability_interval(better, worse, high).low <= bound:
        return 1.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if probability_interval(better, worse, middle).low > bound else (middle, high)
    return high


def _corrected(confirmations: Sequence[Confirmation]) -> tuple[Confirmation, ...]:
    """Return confirmations with corrected p values."""
    corrected = holm([each.p for each in confirmations])
    return tuple(replace(each, p_holm=p) for each, p in zip(confirmations, corrected, strict=True))
