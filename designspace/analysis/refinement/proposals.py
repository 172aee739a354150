"""What a population supports: proposed constraints, simplifications that cost nothing, and open questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from designspace.analysis.preconditions.looks import level_at
from designspace.analysis.refinement.candidates import Candidate, candidates
from designspace.analysis.refinement.changes import apply_all
from designspace.analysis.refinement.evidence import evidence_for
from designspace.analysis.refinement.judging import Judge, Judged, Settings, Status
from designspace.analysis.refinement.population import RefinedPopulation, centred
from designspace.analysis.refinement.step_down import StepDown, independent_scores, step_down
from designspace.analysis.results import Results
from designspace.spaces.constraints import Order
from designspace.spaces.network_list import NetworkSource
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError, closest
from designspace.support.text import shown

SIMULATION_ROOM = 0.8
"""A candidate is supported if p is at most this part of the level, because p is itself simulated, and because the
further proposals are tested again (`step_down.independent_scores`)."""
MOST_PROPOSALS = 3
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Refinement:
    """The candidates of a population with what its results say about each. Made by `refine`."""

    population: RefinedPopulation
    settings: Settings
    judged: tuple[Judged, ...]
    """All candidates: the proposed ones first, then by their statistic."""
    candidates: tuple[Candidate, ...]
    """In the same order."""
    level: float
    """Level of the proposals; lower than that of the settings while trials are unfinished (see `level_at`)."""

    @property
    def threshold(self) -> float:
        """Highest corrected p value of a supported candidate."""
        return SIMULATION_ROOM * self.level

    @property
    def name(self) -> str:
        """Name of the population."""
        return self.population.results.name

    def with_status(self, status: Status) -> tuple[Judged, ...]:
        """Return the candidates with a status."""
        return tuple(judged for judged in self.judged if judged.status == status)

    @property
    def proposals(self) -> tuple[str, ...]:
        """Names of the proposed candidates, the strongest first."""
        return tuple(judged.evidence.name for judged in self.with_status("proposed"))

    def accepted(self, accept: Sequence[str] | None = None) -> tuple[Candidate, ...]:
        """Return the candidates with some names, whatever their status; None for those that are proposed.

        Raises:
            InputError: a name is unknown.
        """
        by_name = {candidate.name: candidate for candidate in self.candidates}
        names = self.proposals if accept is None else tuple(dict.fromkeys(accept))
        for name in names:
            if name not in by_name:
                likely = closest(name, by_name) or list(by_name)[:_NAMED]
                raise InputError(
                    f"unknown candidate {shown(name)} for {self.name}; choose from {len(by_name)}, such as: "
                    f"{', '.join(likely)}"
                )
        return tuple(by_name[name] for name in names)

    def child(self, accept: Sequence[str] | None = None) -> DesignSpace | None:
        """Return the space with the accepted changes (see `accepted`), or None if nothing is accepted.

        Raises:
            InputError: a name is unknown, or the changes contradict each other.
        """
        accepted = self.accepted(accept)
        parent = self.population.space
        name = f"{parent.name}-refined"
        return apply_all(parent, [candidate.change for candidate in accepted], name) if accepted else None


def refine(
    results: Results, space: NetworkSource, match: str | None = "flops", settings: Settings | None = None
) -> Refinement:
    """Find the constraints that the results of a population support.

    Args:
        results: the results of one run.
        space: the space from which its networks were drawn.
        match: networks are compared at equal values of this quantity; None compares all with all.
        settings: how evidence is judged.

    Raises:
        InputError: the networks are not a random sample of a space, or fewer than 30 (`RefinedPopulation.of`).
    """
    population = RefinedPopulation.of(results, space, match)
    return refine_population(population, candidates(population), settings or Settings())


def refine_population(population: RefinedPopulation, tested: Sequence[Candidate], settings: Settings) -> Refinement:
    """Judge candidates by the errors of a population (see `refine`)."""
    counts = population.results.counts
    level = level_at(1 - counts.unfinished / max(1, counts.total), settings.level)
    if not tested:
        return Refinement(population, settings, (), (), level)
    threshold = SIMULATION_ROOM * level
    test, chosen = _supported(population, tested, settings, threshold)
    simplifications = sum(candidate.is_simplification for candidate in tested)
    judge = Judge(population, settings, threshold, simplifications)
    strongest: set[str] = set()
    judged: dict[int, Judged] = {}
    for i in [*chosen, *(i for i in np.argsort(-test.t, kind="stable").tolist() if i not in chosen)]:
        candidate = tested[i]
        found = evidence_for(population, candidate, float(test.t[i]), float(test.p[i]), settings.level)
        is_first = candidate.family not in strongest
        strongest.add(candidate.family)
        judged[i] = judge.judge(candidate, found, is_chosen=i in chosen, is_first=is_first)
    order = sorted(judged, key=lambda i: judged[i].status != "proposed")
    return Refinement(population, settings, tuple(judged[i] for i in order), tuple(tested[i] for i in order), level)


def _supported(
    population: RefinedPopulation, tested: Sequence[Candidate], settings: Settings, threshold: float
) -> tuple[StepDown, list[int]]:
    """Return the tests of all candidates, and the positions of those that do not only repeat stronger ones."""
    ranks, strata = population.ranks(), population.strata
    scores = centred(np.column_stack([candidate.score for candidate in tested]), strata)
    test = step_down(ranks, scores, strata, settings.permutations, settings.seed)
    chosen = independent_scores(
        ranks,
        scores,
        strata,
        eligible=test.p <= threshold,
        # An order is a simpler rule than a range whose ends were chosen among many.
        preferred=np.array([isinstance(candidate.change, Order) for candidate in tested], np.bool_),
        level=threshold,
        most=MOST_PROPOSALS,
        permutations=settings.permutations,
        seed=settings.seed,
    )
    return test, chosen
