"""What follows from the evidence for a candidate: proposed, free, open, explained by a proposal, or not supported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from designspace.analysis.edf import check_level
from designspace.analysis.refinement.candidates import Candidate
from designspace.analysis.refinement.evidence import Evidence, effect_of
from designspace.analysis.refinement.population import MIN_NETWORKS, RefinedPopulation
from designspace.support.checks import number, whole
from designspace.support.errors import InputError

Status = Literal["proposed", "free", "open", "explained", "not supported"]

_LIKELY_T = 2.0
"""A candidate that is not supported is an open question if its statistic is at least this."""
_POWER = 0.8
_MOST_NETWORKS = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How evidence is judged.

    Raises:
        InputError: a value is out of range.
    """

    level: float = 0.05
    """Probability of any proposal if no parameter matters."""
    effect: float = 0.6
    """Least probability that a network that meets a proposal is better than another one, if enough networks meet it."""
    margin: float = 0.1
    """A simplification is free if this probability is at least 1/2 less the margin."""
    permutations: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        check_level(self.level)
        if not 0.5 <= number("effect (a probability, such as 0.6)", self.effect) < 1:
            raise InputError(f"effect must be a probability from 0.5 to below 1, such as 0.6, not {self.effect!r}")
        if not 0 < number("margin (of a probability, such as 0.1)", self.margin) < 0.5:
            raise InputError(f"margin must be above 0 and below 0.5, such as 0.1, not {self.margin!r}")
        whole("permutations", self.permutations, 100, 100_000)
        whole("seed", self.seed, 0)


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with its evidence and what follows from it."""

    evidence: Evidence
    status: Status
    """``proposed``: its score agrees with the errors beyond what stronger proposals explain. ``free``: a simplification
    that costs at most the margin. ``open``: more networks would decide. ``explained``: supported, but a proposal
    explains it. ``not supported``: nothing speaks for it."""
    needed: int | None
    """Networks of child and parent each that would decide it with probability 80%; None if that cannot be told."""


@dataclass(frozen=True, slots=True)
class Judge:
    """The rules by which the candidates of a population are judged."""

    population: RefinedPopulation
    settings: Settings
    threshold: float
    """Highest corrected p value of a supported candidate."""
    simplifications: int
    """Number of simplifications, over which their tests are corrected (Bonferroni)."""

    def judge(self, candidate: Candidate, evidence: Evidence, *, is_chosen: bool, is_first: bool) -> Judged:
        """Return what follows from the evidence for a candidate.

        Args:
            candidate: the candidate.
            evidence: its evidence.
            is_chosen: whether its score agrees with the errors beyond what stronger ones explain.
            is_first: whether no stronger candidate is about the same parameter.
        """
        status = self._status(candidate, evidence, is_chosen=is_chosen, is_first=is_first)
        return Judged(evidence, status, self._needed(evidence, status))

    def _status(self, candidate: Candidate, evidence: Evidence, *, is_chosen: bool, is_first: bool) -> Status:
        if is_chosen:
            # A trend may end before its extreme: then the networks that meet the constraint exactly are no better.
            is_better = evidence.effect is None or evidence.effect.value >= self.settings.effect
            return "proposed" if is_better else "open"
        if evidence.is_simplification:
            corrected = effect_of(self.population, candidate, 2 * self.settings.level / self.simplifications)
            is_free = corrected is not None and corrected.low > 0.5 - self.settings.margin
            return "free" if is_free else "open"
        if evidence.p <= self.threshold:
            return "explained"
        return "open" if is_first and evidence.t >= _LIKELY_T else "not supported"

    def _needed(self, evidence: Evidence, status: Status) -> int | None:
        """Return how many networks of child and parent each would decide a candidate.

        Mann and Whitney's test of m networks against m has a standard error of about sqrt(1 / (6 m)) near 1/2. A
        simplification is tested against its margin, as if it cost nothing. Any other candidate is tested against 1/2,
        at its gain over the parent, which is shrunken by 1 - 1 / t^2, because it was chosen for being large.
        """
        from scipy.special import ndtri

        if status not in ("proposed", "open"):
            return None
        if evidence.is_simplification and status == "open":
            distance, level = self.settings.margin, self.settings.level / self.simplifications
        else:
            shrinkage = max(0.0, 1 - 1 / evidence.t**2) if evidence.t > 0 else 0.0
            distance, level = evidence.gain * shrinkage, self.settings.level
        if not distance > 0:  # also if the gain is not known
            return None
        deviations = -float(ndtri(level)) + float(ndtri(_POWER))
        needed = max(MIN_NETWORKS, math.ceil(deviations**2 / (6 * distance**2)))
        return needed if needed <= _MOST_NETWORKS else None
