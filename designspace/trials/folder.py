"""The run of a population on disk: its networks, how they are trained, and what came of it.

With `Population`, `TrialFolder` and `LaunchFolder`, the only code that knows the names of its files.

Status is derived from the files that exist. Reading never writes or deletes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from designspace.spaces.population import POPULATION_FILE, SPACE_FILE, Population
from designspace.spaces.population_files import no_population, read_ids, read_population, read_space
from designspace.spaces.space import DesignSpace
from designspace.support.checks import mapping, plain, whole
from designspace.support.csv_text import ID
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_first, write_together
from designspace.support.reading import read_json_object
from designspace.support.text import command
from designspace.support.yaml_text import read_yaml
from designspace.trials.history import csv_text, histories_csv, read_histories
from designspace.trials.plan import NO_REPEATS, Plan, Repeats, id_of, is_key
from designspace.trials.recipe import Recipe
from designspace.trials.repeats import with_repeats, write_repeats
from designspace.trials.run import Run
from designspace.trials.trial import EpochRecord, Trial
from designspace.trials.trial_folder import TrialFolder

REPEAT_COLUMNS = ("trial", "fresh")
RESULT_COLUMNS = (
    "seed",
    "status",
    "final_error",
    "best_error",
    "heldout_error",
    "epochs",
    "train_s",
    "device",
    "memory_bytes",
    "reason",
    "detail",
)

_RECIPE = "recipe.yaml"
_PROVENANCE = "provenance.json"
_TRIALS = "trials"
REPLACING_S = 0.5
"""How long to wait until whoever extends a population has replaced all of its files."""


class RunFolder(Run):
    """The folder of a run: a population, a recipe, the trials and their results."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.results = path / "results.csv"
        """The table of all trials, as far as it was last gathered."""
        self.history = path / "history.csv"
        """The epochs of all trials, gathered with it."""
        self._trials = path / _TRIALS

    def exists(self) -> bool:
        """Whether there is a population here."""
        return (self.path / POPULATION_FILE).exists()

    def create(self, population: Population, provenance: Mapping[str, Any]) -> Population:
        """Write a population here, or extend one that it begins with; returns it as it is here now.

        A folder of a version before the column ``draws`` stays without it, also when it is extended: a launch that runs
        that version's code reads the table.

        Raises:
            InputError: the folder holds another population, which stays as it is.
            RunError: a file cannot be read or written.
        """
        with contextlib.suppress(RunError):  # damaged, or being written: looked at again below
            if self.exists() and (held := read_population(self.path)) == population.with_columns_of(held):
                return held
        with self._alone(self.path):
            there = self._beginning_of(population) if self.exists() else None
            if there is not None:
                population = population.with_columns_of(there)
            if there != population:
                text = json.dumps(dict(provenance), indent=2, allow_nan=False) + "\n"
                population.write(self.path, extends=there, beside={_PROVENANCE: text})
        return population

    def _beginning_of(self, population: Population) -> Population | None:
        """Return the population that is here and that another begins with; None if it is damaged and is to be replaced.

        Raises:
            InputError: this is not the beginning of that population.
            RunError: the files cannot be read, and there is no telling whether it is.
        """
        try:
            held = read_population(self.path)
        except RunError:
            ids = self.ids()
            if not ids or ids != population.ids[: len(ids)]:
                raise
            return None  # ids are digests of the networks, so these are the networks that were asked for
        if held.is_prefix_of(population):
            return held
        asked = f"{len(population)} of {population.space.name} with seed {population.seed} were asked for"
        if population.is_prefix_of(held):
            asked = f"{asked}, which are the first of them"
        raise InputError(
            f"{self.path} already holds another population: {len(held)} networks of {held.space.name} with "
            f"seed {held.seed}{'' if held.space == population.space else ' and other settings'}, and {asked}. "
            "It was left as it is; choose another folder with run=..."
        )

    def population(self, *, verify: bool = True) -> Population:
        """Read the population.

        Args:
            verify: whether to compare each id with its row, which takes most of the time.

        Raises:
            RunError: there is none here, or its files are not whole.
        """
        try:
            return read_population(self.path, verify=verify)
        except RunError:  # its files are replaced one after the other when it is extended
            if not self.exists():
                raise
            time.sleep(REPLACING_S)
            return read_population(self.path, verify=verify)

    def ids(self) -> tuple[str, ...]:
        """The ids of the population, without a look at its networks.

        Raises:
            RunError: there is no population here, or the table cannot be read, or holds what cannot be an id.
        """
        ids = read_ids(self.path)
        for id_ in ids:
            self._check_id(id_)
        return ids

    def space(self) -> DesignSpace:
        """Read the space that the population comes from.

        Raises:
            RunError: there is no population here, or its space cannot be read.
        """
        if not self.exists() and not (self.path / SPACE_FILE).exists():
            raise no_population(self.path)
        return read_space(self.path / SPACE_FILE)

    def provenance(self) -> dict[str, Any]:
        """What is known about how the population came to be; empty if nothing is."""
        path = self.path / _PROVENANCE
        return read_json_object(path, file_names=True) if path.exists() else {}

    def write_plan(self, recipe: Recipe, seed: int, repeats: Repeats = NO_REPEATS) -> None:
        """Write how all networks are to be trained; repeats are added to those that the run has.

        Raises:
            InputError: the folder holds another recipe or seed, which stays as it is.
            RunError: a file cannot be read or written.
        """
        self.check_plan(recipe, seed)
        if self.plan() is None:
            fields = {**recipe.to_dict(), "seed": plain(seed)}
            write_first(self.path / _RECIPE, yaml.safe_dump(fields, sort_keys=False))
        self.check_plan(recipe, seed)  # another launch may have been first, with another recipe
        if not repeats or self._with_more(repeats) == self.plan():
            return
        with self._alone(self.path):  # two launches at once add to one file
            write_repeats(self.path, self._with_more(repeats).repeats)

    def _with_more(self, repeats: Repeats) -> Plan:
        """Return the plan of the run with more repeats."""
        plan = self.plan()
        assert plan is not None
        return dataclasses.replace(plan, repeats=plan.repeats.with_more(repeats))

    def check_plan(self, recipe: Recipe, seed: int) -> None:
        """Raise unless networks may be trained like this here: there is no plan, or this one.

        Raises:
            InputError: the folder holds another recipe or seed, or the seed is none.
        """
        seed = whole("seed", seed, 0)
        plan = self.plan()
        if plan is not None and (words := plan.differences(recipe, seed)):
            raise InputError(f"{self.path} {words}")

    def plan(self) -> Plan | None:
        """Return the recipe and the seeds of all trials, or None before the first launch.

        Raises:
            RunError: a file is not whole.
        """
        path = self.path / _RECIPE
        if not path.exists():
            return None
        try:
            fields = dict(mapping("recipe", read_yaml(path), needed=["seed"]))
            plan = Plan(seed=whole("seed", fields.pop("seed"), 0), recipe=Recipe.from_dict(fields))
        except InputError as error:
            raise RunError(f"{path} is not whole ({error})") from error
        return with_repeats(plan, self.path)

    def trial_keys(self, plan: Plan | None = None) -> tuple[str, ...]:
        """Return the keys of all trials that the run was asked for, in the order in which they are trained.

        Args:
            plan: how the networks are to be trained; by default the run's own plan.

        Raises:
            RunError: see `ids`; or repeats of a network that is not in the population.
        """
        plan, ids = plan or self.plan(), self.ids()
        if plan is None:
            return ids
        if strangers := set(plan.repeats.fresh).difference(ids):
            raise RunError(f"{self.path} has repeats of {min(strangers)}, which is not a network of its population")
        return plan.keys(ids)

    def read_trials(self) -> Callable[[str], Trial]:
        """Read population and plan, once, and return a function that gives the trial of a key.

        Raises:
            RunError: a file is missing or damaged.
        """
        population, plan = self.population(verify=False), self.plan()
        if plan is None:
            raise RunError(f"{self.path} has no recipe; launch it first")
        rows = {id_: row for row, id_ in enumerate(population.ids)}

        def trial(key: str) -> Trial:
            network = population[rows[id_of(key)]]
            if network.id != id_of(key):
                raise RunError(
                    f"{self.path / POPULATION_FILE}: the row of {id_of(key)} is not that network; it was changed"
                )
            # The key alone tells the seed, so repeats that are added later are known.
            return Trial(network, plan.recipe, plan.seed_of(key))

        return trial

    def trial(self, key: str) -> TrialFolder:
        """Return the folder of a trial, which may not exist yet.

        Raises:
            RunError: ``key`` cannot be the key of a trial.
        """
        if not is_key(key):
            raise RunError(f"{self.path}: {key[:40]!r} is not an id, which has 12 hex digits, nor one with -s<seed>")
        return TrialFolder(self._trials / key, self.fingerprint(key))

    def _check_id(self, id_: str) -> None:
        """Raise unless a text can be an id: anything else might be a path that leads out of the run folder."""
        if not ID.fullmatch(id_):
            raise RunError(f"{self.path / POPULATION_FILE}: {id_[:40]!r} is not an id, which has 12 hex digits")

    def begun(self) -> set[str]:
        """Return the keys of the trials that have a folder."""
        try:
            return {entry.name for entry in os.scandir(self._trials)}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise RunError(f"cannot read {self._trials}: {error.strerror or error}") from error

    def resume_command(self) -> str:
        """Return the command line that trains what is left."""
        return command("launch", run=self.path)

    def gather(self) -> Gathered:
        """Read what came of all trials so far, each once.

        Raises:
            RunError: a file of the run is missing or not whole.
        """
        population, plan = self.population(), self.plan()
        names = population.column_names()
        columns = [[_tidy(value) for value in population.columns[name].tolist()] for name in names]
        networks = dict(zip(population.ids, zip(*columns, strict=True), strict=True))
        has_repeats, fresh = bool(plan and plan.repeats), plan.fresh_keys() if plan else frozenset()
        rows: list[tuple[Any, ...]] = []
        for state in self.states(plan.keys(population.ids) if plan else population.ids):
            fields = {name: getattr(state.result or state.failure, name, None) for name in RESULT_COLUMNS}
            fields |= {"seed": plan.seed_of(state.key) if plan else None, "status": state.status}
            fields["detail"] = " ".join(str(fields["detail"] or "").split()) or None
            more = [state.key, "yes" if state.key in fresh else "no"] if has_repeats else []
            rows.append((*more, state.id, *networks[state.id], *fields.values()))
        header = (*REPEAT_COLUMNS * has_repeats, "id", *names, *RESULT_COLUMNS)
        return Gathered(self, population.space.template.num_classes, header, tuple(rows), self.histories())

    def histories(self) -> dict[str, tuple[EpochRecord, ...]]:
        """Return the epochs so far of each trial that has completed one, by the trial's key.

        From the trials' own files, or, where those are not there (a run that was published without them), from
        history.csv. A trial whose file is damaged has none.

        Raises:
            RunError: history.csv is cut off or was edited.
        """
        if begun := self.begun():
            found = {key: self.trial(key).known_history() for key in self.trial_keys() if key in begun}
            return {key: history for key, history in found.items() if history}
        return read_histories(self.history) if self.history.exists() else {}

    def write_results(self, gathered: Gathered | None = None) -> Path:
        """Write the results of all trials to results.csv, and their epochs to history.csv; returns the former.

        Args:
            gathered: what was read of the trials; by default they are read now.
        """
        found = gathered or self.gather()
        texts = {self.history: histories_csv(found.histories), self.results: csv_text([found.header, *found.rows])}
        write_together(texts)
        return self.results


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came of the trials of a run at one moment."""

    run: RunFolder
    num_classes: int
    header: tuple[str, ...]
    """The columns of results.csv. A run with repeats has two more: ``trial``, the key, and ``fresh``, whether the
    network was trained again with this seed after it had been chosen."""
    rows: tuple[tuple[Any, ...], ...]
    """A row for each trial, finished or not; None stands for a value that there is not."""
    histories: Mapping[str, tuple[EpochRecord, ...]]
    """The epochs so far of each trial that has completed one, by its key."""


def _tidy(value: float) -> float:
    """Whole numbers as int."""
    return int(value) if float(value).is_integer() else value
