"""Confirmation of constraints: fresh populations of parent and children, trained like the run that suggested them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from designspace.analysis import Results
from designspace.analysis.refinement import Refinement
from designspace.analysis.refinement.confirming import Confirmation, Question, confirm
from designspace.spaces.population_files import read_seed
from designspace.spaces.seeds import independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan

PARENT = "parent"
"""Name of the folder of the parent's fresh networks; the others have the names of the constraints."""
DEFAULT_NETWORKS = 64
"""Number of fresh networks of each space if the number that would decide is not known."""
MAX_NETWORKS = 200
"""Maximum number of fresh networks of each space unless a number is given."""


@dataclasses.dataclass(frozen=True, slots=True)
class FreshRuns:
    """Populations that a confirmation trains."""

    parent: RunFolder
    children: Mapping[Question, RunFolder]
    seeds: Mapping[RunFolder, int]
    spaces: Mapping[RunFolder, DesignSpace]
    n: int
    """Number of networks of each."""

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """All runs, the parent first."""
        return (self.parent, *self.children.values())

    def create(self, provenance: Mapping[str, str]) -> None:
        """Draw the populations, except those that are there already.

        Raises:
            InputError: a space has too few networks, or a folder holds another population.
        """
        for run in self.runs:
            run.create(self.spaces[run].sample(self.n, self.seeds[run]), provenance)

    def confirmations(self, match: str | None, margin: float, level: float) -> tuple[Confirmation, ...]:
        """Return what the trained networks say about each constraint; see `confirm`."""
        children = {question: Results.read(run) for question, run in self.children.items()}
        return confirm(Results.read(self.parent), children, match, margin, level)


def fresh_runs(refinement: Refinement, names: Sequence[str], folder: Path, n: int | None, run: RunFolder) -> FreshRuns:
    """Return the populations that confirm some constraints of a refinement.

    Their seeds differ from each other's and from that of the run, whose networks suggested the constraints.

    Args:
        refinement: the refinement.
        names: names of the constraints.
        folder: folder of the new runs.
        n: number of networks of each space; None for the number that would decide, as far as it is known.
        run: the run that was refined.

    Raises:
        InputError: a name is unknown, or there is none.
    """
    accepted = refinement.accepted(names)
    if not accepted:
        raise InputError(f"nothing is proposed for {refinement.name}; confirm=[...] takes candidates by name")
    parent = refinement.population.space
    judged = {each.evidence.name: each for each in refinement.judged}
    needed = [judged[candidate.name].needed for candidate in accepted]
    size = n or min(MAX_NETWORKS, max([number for number in needed if number] or [DEFAULT_NETWORKS]))
    spaces = {RunFolder(folder / PARENT): dataclasses.replace(parent, name=f"{parent.name}-fresh")}
    children = {}
    for candidate in accepted:
        child = refinement.child([candidate.name])
        assert child is not None
        of_child = RunFolder(folder / candidate.name)
        spaces[of_child] = dataclasses.replace(child, name=f"{parent.name}-{candidate.name}"[:100])
        is_margin = candidate.is_simplification and judged[candidate.name].status != "proposed"
        question = Question(candidate.name, candidate.title, "not worse" if is_margin else "better")
        children[question] = of_child
    base = read_seed(run.path) + 1
    seeds = {each: independent_seed(space, base) for each, space in spaces.items()}
    return FreshRuns(next(iter(spaces)), children, seeds, spaces, size)


def fresh_plan(run: RunFolder) -> Plan:
    """Return how fresh networks are trained: like those of a run, with another seed, so that no luck is repeated.

    Raises:
        InputError: the run has no recipe.
    """
    plan = run.plan()
    if plan is None:
        raise InputError(f"{run.path} has no recipe; launch it first")
    return Plan(plan.recipe, plan.seed + 1, axes=plan.axes, metric=plan.metric)


def describe(fresh: FreshRuns) -> str:
    """Return what is going to be trained, as text."""
    names = ", ".join(question.name for question in fresh.children)
    parent = fresh.spaces[fresh.parent].name.removesuffix("-fresh")
    return (
        f"{counted(fresh.n, 'fresh network')} of {parent} and of each of "
        f"{counted(len(fresh.children), 'child space')} ({names}), with new seeds"
    )
