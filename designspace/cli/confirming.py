"""Confirmation of constraints: fresh populations of parent and children, trained like the run that suggested them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from designspace.analysis import Results
from designspace.analysis.refinement import Refinement
from designspace.analysis.refinement.confirming import Confirmation, Question, confirm, confirmation_table
from designspace.cli.latency import sample_for
from designspace.cli.tables import print_table
from designspace.spaces.population_files import read_seed
from designspace.spaces.seeds import independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.data_note import read_note, write_note
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

    run: RunFolder
    """The run whose networks suggested the constraints."""
    refinement: Refinement
    parent: RunFolder
    children: Mapping[Question, RunFolder]
    spaces: Mapping[RunFolder, DesignSpace]
    n: int
    """Number of networks of each."""

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """All runs, the parent first."""
        return (self.parent, *self.children.values())

    @property
    def trainings(self) -> int:
        """Number of trainings of all runs."""
        return self.n * len(self.runs)

    def describe(self) -> str:
        """Return what is going to be trained, as text."""
        names = ", ".join(question.name for question in self.children)
        return (
            f"{counted(self.n, 'fresh network')} of {self.refinement.population.space.name} and of each of "
            f"{counted(len(self.children), 'child space')} ({names}), with new seeds"
        )

    def create(self, provenance: Mapping[str, str]) -> None:
        """Draw the populations, except those that are there already.

        Their seeds differ from each other's and from that of the run.

        Raises:
            InputError: a space has too few networks, or a folder holds another population.
        """
        base = read_seed(self.run.path) + 1
        for run, space in self.spaces.items():
            sample_beside(self.run, run, space, self.n, independent_seed(space, base), provenance)

    def plans(self) -> dict[RunFolder, Plan]:
        """Return how the networks are trained: like those of the run, with a new seed, so that no luck is repeated.

        Raises:
            InputError: the run has no recipe.
        """
        plan = self.run.plan()
        if plan is None:
            raise InputError(f"{self.run.path} has no recipe; launch it first")
        seed = max(plan.seed, *plan.repeats.for_all) + 1 if plan.repeats.for_all else plan.seed + 1
        return dict.fromkeys(self.runs, Plan(plan.recipe, seed, axes=plan.axes, metric=plan.metric))

    def confirmations(self) -> tuple[Confirmation, ...]:
        """Return what the trained networks say about each constraint, by the settings of the refinement."""
        population, settings = self.refinement.population, self.refinement.settings

        def results(run: RunFolder) -> Results:
            return Results.read(run).with_failures(population.results.failures)

        children = {question: results(run) for question, run in self.children.items()}
        return confirm(results(self.parent), children, population.match, settings.margin, settings.level)


def fresh_runs(refinement: Refinement, names: Sequence[str], folder: Path, n: int | None, run: RunFolder) -> FreshRuns:
    """Return the populations that confirm some constraints of a refinement.

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
    return FreshRuns(run, refinement, next(iter(spaces)), children, spaces, size)


def sample_beside(
    run: RunFolder, folder: RunFolder, space: DesignSpace, n: int, seed: int, provenance: Mapping[str, str]
) -> None:
    """Draw a population for a folder, unless it is there already; it is trained with the images of another run.

    Raises:
        InputError: the space has too few networks, or the folder holds another population.
    """
    folder.create(sample_for(folder, space, n, seed), provenance)
    if note := read_note(run.path):
        write_note(folder.path, note)


def print_confirmations(confirmations: Sequence[Confirmation]) -> None:
    """Print the table of what fresh networks confirm."""
    table = confirmation_table(confirmations)
    print()
    print_table(table.title, table.header, table.rows, texts=(0, 1, 2, 4, 5, 6, 7))
