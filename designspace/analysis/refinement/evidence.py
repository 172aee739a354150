"""Evidence for a candidate: effect and price on the networks that meet it exactly, and the size of the space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.edf import EDF, edf
from designspace.analysis.effects import Estimate, probability_interval
from designspace.analysis.refinement.candidates import MIN_MEMBERS, Candidate
from designspace.analysis.refinement.changes import apply
from designspace.analysis.refinement.population import RefinedPopulation
from designspace.analysis.search import expected_best
from designspace.spaces import size

BEST_OF = 8
"""Number of networks of the random searches whose best networks are compared."""
_BINS = 8
_NETWORKS_PER_BIN = 5
"""Members per complexity bin, on average, below which fewer bins are used."""


@dataclass(frozen=True, slots=True)
class Price:
    """Errors of the members less those of all networks, at equal complexity: above 0 is a price, below 0 a gain.

    They are differences of `Results.errors`, of which lower ones are better.
    """

    best: float
    """Of the expected best of `BEST_OF` networks drawn at random (not matched for complexity)."""
    mean: float
    quartile: float
    """Of the error that a quarter of the networks reach."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the results of a population say about a candidate."""

    name: str
    title: str
    family: str
    t: float
    """Agreement of score and errors at equal complexity, in standard deviations; positive if meeting it is better."""
    p: float
    """One-sided p value of that, corrected for all candidates."""
    members: int
    """Number of networks that meet it exactly."""
    networks: int
    effect: Estimate | None
    """Probability that a member is better than another network of similar complexity, ties shared; None if fewer than
    `MIN_MEMBERS` networks meet or miss it."""
    price: Price | None
    """None if fewer than `MIN_MEMBERS` networks meet or miss it."""
    log10_shrinking: float
    """Decimal logarithm of the factor by which the number of settings shrinks; NaN for another family of spaces."""
    is_simplification: bool

    @property
    def share(self) -> float:
        """The fraction of the networks that meet it."""
        return self.members / self.networks

    @property
    def gain(self) -> float:
        """Probability that a network of the smaller space is better than one of the parent, less 1/2; NaN if unknown.

        The parent has members, too, so this is less than the effect.
        """
        return math.nan if self.effect is None else (1 - self.share) * (self.effect.value - 0.5)


def evidence_for(population: RefinedPopulation, candidate: Candidate, t: float, p: float, level: float) -> Evidence:
    """Return the evidence for a candidate whose statistic and p value are known.

    Args:
        population: the population.
        candidate: the candidate.
        t: statistic of its score.
        p: corrected p value of its score.
        level: the interval of the effect has a confidence of 1 - ``level``.
    """
    parent = population.space
    child = apply(parent, candidate.change)
    is_same_family = type(child.axes) is type(parent.axes)
    return Evidence(
        candidate.name,
        candidate.title,
        candidate.family,
        t,
        p,
        int(candidate.members.sum()),
        population.n,
        effect_of(population, candidate, level),
        _price(population, candidate) if is_estimated(population, candidate) else None,
        math.log10(size.settings(parent)) - math.log10(size.settings(child)) if is_same_family else math.nan,
        candidate.is_simplification,
    )


def is_estimated(population: RefinedPopulation, candidate: Candidate) -> bool:
    """Return whether enough networks meet a candidate exactly, and miss it, to estimate its effect."""
    return MIN_MEMBERS <= int(candidate.members.sum()) <= population.n - MIN_MEMBERS


def effect_of(population: RefinedPopulation, candidate: Candidate, level: float) -> Estimate | None:
    """Return the probability that a member is better than another network of similar complexity, ties shared.

    Ranks less the means of their strata (aligned ranks: Hodges and Lehmann 1962) are compared, with DeLong's interval.
    """
    if not is_estimated(population, candidate):
        return None
    ranks = population.ranks()
    return probability_interval(-ranks[candidate.members], -ranks[~candidate.members], level)


def matched_edfs(population: RefinedPopulation, candidate: Candidate) -> tuple[EDF, EDF]:
    """Return the EDFs of the networks that meet a candidate and of the others, weighted as if equally complex."""
    return _matched(population, candidate.members, ~candidate.members)


def _price(population: RefinedPopulation, candidate: Candidate) -> Price:
    """Return the errors of the members less those of all networks."""
    everything = np.ones(population.n, np.bool_)
    members, parent = _matched(population, candidate.members, everything)
    best_of_members, best_of_all = (
        float(expected_best(errors, [BEST_OF])[0][0])
        for errors in (population.errors[candidate.members], population.errors)
    )
    return Price(best_of_members - best_of_all, members.mean - parent.mean, _quartile(members) - _quartile(parent))


def _matched(population: RefinedPopulation, *masks: NDArray[np.bool_]) -> tuple[EDF, EDF]:
    """Return the EDFs of two parts of a population, weighted as if equally complex.

    The weights make all bins with networks of both parts count equally. Bins have equal numbers of networks of the
    population, which is in the order of complexity.
    """
    metric = population.results.metric
    is_matched = population.strata[-1] > 0
    count = min(_BINS, min(int(mask.sum()) for mask in masks) // _NETWORKS_PER_BIN) if is_matched else 1
    bins = np.repeat(np.arange(count), [part.size for part in np.array_split(population.rows, count)])
    counts = [np.bincount(bins[mask], minlength=count) for mask in masks]
    is_used = np.logical_and.reduce([of_part > 0 for of_part in counts])
    curves = []
    for mask, of_part in zip(masks, counts, strict=True):
        weights = np.where(is_used, 1 / np.maximum(of_part, 1), 0.0)[bins[mask]]
        curves.append(edf(population.errors[mask], weights if count > 1 else None, metric))
    return curves[0], curves[1]


def _quartile(curve: EDF) -> float:
    """Return the error that a quarter of the networks reach."""
    return float(curve.errors[np.searchsorted(curve.probabilities, 0.25 - 1e-12)])
