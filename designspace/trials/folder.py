"""The run of a population on disk: its networks, how they are trained, and their results.

Only this module, `Population`, `TrialFolder` and `LaunchFolder` use the names of its files.

The status is derived from the files that exist. Reading never writes or deletes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from designspace.spaces.network_list import NetworkSource
from designspace.spaces.population import POPULATION_FILE, SPACE_FILE, Population
from designspace.spaces.population_files import no_population, read_ids, read_population, read_space
from designspace.support.checks import mapping, plain, whole
from designspace.support.csv_text import ID
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_first, write_together
from designspace.support.reading import read_json_object
from designspace.support.text import command
from designspace.support.yaml_text import read_yaml
from designspace.trials.fidelity import STANDING_COLUMNS, read_standings
from designspace.trials.folded import FoldedTrials
from designspace.trials.gathered import RESULT_COLUMNS, Gathered, outcome
from designspace.trials.history import csv_text, histories_csv, read_histories
from designspace.trials.metric import DEFAULT_METRIC, Metric, top1_error
from designspace.trials.plan import NO_REPEATS, Plan, Repeats, id_of, is_key
from designspace.trials.recipe import Recipe
from designspace.trials.recipe_axes import NO_AXES, RecipeAxes, typed
from designspace.trials.repeats import with_repeats, write_repeats
from designspace.trials.run import Run
from designspace.trials.state import TrialState
from designspace.trials.trial import EpochRecord, Trial
from designspace.trials.trial_folder import TrialFolder

REPEAT_COLUMNS = ("trial", "fresh")

_RECIPE = "recipe.yaml"
_PROVENANCE = "provenance.json"
_MEASURED_BY = "measured_by"
"""Key of the metric in recipe.yaml; missing for the default metric."""
_TRIALS = "trials"
REPLACING_S = 0.5
"""Seconds to wait for another process that is extending a population to replace all of its files."""


class RunFolder(Run):
    """The folder of a run: a population, a recipe, the trials and their results."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.results = path / "results.csv"
        """The table of all trials, as it was last written."""
        self.history = path / "history.csv"
        """The epochs of all trials, written with it."""
        self._trials = path / _TRIALS
        self._folded = FoldedTrials(path)

    def exists(self) -> bool:
        """Whether there is a population here."""
        return (self.path / POPULATION_FILE).exists()

    def create(self, population: Population, provenance: Mapping[str, Any]) -> Population:
        """Write a population here, or extend the one here that it begins with; return the population that is here then.

        A folder of a version without the column ``draws`` stays without it when it is extended, since a launch may
        still read the table with that version's code.

        Raises:
            InputError: the folder holds another population, which is left unchanged.
            RunError: a file cannot be read or written.
        """
        with contextlib.suppress(RunError):  # damaged, or being written: checked again below
            if self.exists() and (existing := read_population(self.path)) == population.with_columns_of(existing):
                return existing
        with self._exclusive(self.path):
            beginning = self._beginning_of(population) if self.exists() else None
            if beginning is not None:
                population = population.with_columns_of(beginning)
            if beginning != population:
                text = json.dumps(dict(provenance), indent=2, allow_nan=False) + "\n"
                population.write(self.path, extends=beginning, beside={_PROVENANCE: text})
        return population

    def _beginning_of(self, population: Population) -> Population | None:
        """Return the population here, if ``population`` begins with it; None if it is damaged and is to be replaced.

        Raises:
            InputError: ``population`` does not begin with it.
            RunError: the files cannot be read, so this is unknown.
        """
        try:
            existing = read_population(self.path)
        except RunError:
            ids = self.ids()
            if not ids or ids != population.ids[: len(ids)]:
                raise
            return None  # ids are digests of the networks, so these are the same networks
        if existing.is_prefix_of(population):
            return existing
        requested = f"{len(population)} of {population.described} were requested"
        if population.is_prefix_of(existing):
            requested = f"{requested}, which are the first of them"
        has_other_settings = existing.space.is_drawn and existing.space != population.space
        raise InputError(
            f"{self.path} already holds another population: {len(existing)} networks of {existing.described}"
            f"{' and other settings' if has_other_settings else ''}, and "
            f"{requested}. "
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
        """Read the ids of the population, without its networks.

        Raises:
            RunError: there is no population here, or the table cannot be read, or holds what cannot be an id.
        """
        ids = read_ids(self.path)
        for id_ in ids:
            self._check_id(id_)
        return ids

    def space(self) -> NetworkSource:
        """Read the space or the list that the population comes from.

        Raises:
            RunError: there is no population here, or its space cannot be read.
        """
        if not self.exists() and not (self.path / SPACE_FILE).exists():
            raise no_population(self.path)
        return read_space(self.path / SPACE_FILE)

    def network_names(self) -> tuple[str, ...]:
        """Return the names of the user's own classes of which the networks consist; see `Run.network_names`."""
        return self.space().imported_names

    def provenance(self) -> dict[str, Any]:
        """Read how the population was sampled; empty if that is not recorded."""
        path = self.path / _PROVENANCE
        return read_json_object(path, file_names=True) if path.exists() else {}

    def write_plan(
        self,
        recipe: Recipe,
        seed: int,
        repeats: Repeats = NO_REPEATS,
        axes: RecipeAxes = NO_AXES,
        metric: Metric | None = None,
    ) -> None:
        """Write how all networks are to be trained and measured; repeats are added to the existing ones.

        Raises:
            InputError: the folder holds another recipe or seed, which is left unchanged.
            RunError: a file cannot be read or written.
        """
        self.check_plan(recipe, seed, axes)
        if self.plan() is None:
            fields = {**axes.fields(recipe), "seed": plain(seed)}
            if recipe.metric != DEFAULT_METRIC:
                if metric is None:
                    raise InputError(f"recipe.metric={recipe.metric} needs its Metric, with the value of guessing")
                fields[_MEASURED_BY] = metric.to_dict()
            write_first(self.path / _RECIPE, yaml.safe_dump(fields, sort_keys=False))
        self.check_plan(recipe, seed, axes)  # another launch may have written first, with another recipe
        if not repeats or self._with_more(repeats) == self.plan():
            return
        with self._exclusive(self.path):  # two launches may add to the file at the same time
            write_repeats(self.path, self._with_more(repeats).repeats)

    def _with_more(self, repeats: Repeats) -> Plan:
        """Return the plan of the run with more repeats."""
        plan = self.plan()
        assert plan is not None
        return dataclasses.replace(plan, repeats=plan.repeats.with_more(repeats))

    def check_plan(self, recipe: Recipe, seed: int, axes: RecipeAxes = NO_AXES) -> None:
        """Raise unless there is no plan here, or one with this recipe and seed, and these axes of the recipe.

        Raises:
            InputError: the folder holds another recipe or seed, or the seed is not valid.
        """
        seed = whole("seed", seed, 0)
        plan = self.plan()
        if plan is not None and (differences := plan.differences(recipe, seed, axes)):
            raise InputError(f"{self.path} {differences}")

    def plan(self) -> Plan | None:
        """Return the recipes and the seeds of all trials, or None before the first launch.

        Raises:
            RunError: a file is incomplete.
        """
        path = self.path / _RECIPE
        if not path.exists():
            return None
        try:
            fields = dict(mapping("recipe", read_yaml(path), needed=["seed"]))
            measured_by = fields.pop(_MEASURED_BY, None)
            metric = None if measured_by is None else Metric.from_dict(measured_by)
            seed, axes = whole("seed", fields.pop("seed"), 0), RecipeAxes.from_fields(fields)
            plan = Plan(axes.recipe(fields), seed, axes=axes, metric=metric)
            if metric is None and plan.recipe.metric != DEFAULT_METRIC:
                raise InputError(f"{_MEASURED_BY} is missing, which describes the metric {plan.recipe.metric}")
        except InputError as error:
            raise RunError(f"{path} is not whole ({error})") from error
        return with_repeats(plan, self.path)

    def trial_keys(self, plan: Plan | None = None) -> tuple[str, ...]:
        """Return the keys of all trials of the run, in the order in which they are trained.

        Args:
            plan: how the networks are to be trained; by default the run's own plan.

        Raises:
            RunError: see `ids`; or there are repeats of a network that is not in the population.
        """
        plan, ids = plan or self.plan(), self.ids()
        if plan is None:
            return ids
        if unknown := set(plan.repeats.fresh).difference(ids):
            raise RunError(f"{self.path} has repeats of {min(unknown)}, which is not a network of its population")
        return plan.keys(ids)

    def read_trials(self) -> Callable[[str], Trial]:
        """Read the population and the plan once, and return a function that returns the trial with a key.

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
            # The key alone determines the seed, so repeats that are added later work, too.
            return Trial(network, plan.recipe_of(key), plan.seed_of(key))

        return trial

    def trial(self, key: str) -> TrialFolder:
        """Return the folder of a trial, which may not exist yet.

        Raises:
            RunError: ``key`` cannot be the key of a trial.
        """
        if not is_key(key):
            raise RunError(f"{self.path}: {key[:40]!r} is not an id, which has 12 hex digits, nor one with -s<seed>")
        return TrialFolder(self._trials / key, self.fingerprint(key), metric=self.metric(), folded=self._folded)

    def _check_id(self, id_: str) -> None:
        """Raise unless a text can be an id: anything else might be a path outside the run folder."""
        if not ID.fullmatch(id_):
            raise RunError(f"{self.path / POPULATION_FILE}: {id_[:40]!r} is not an id, which has 12 hex digits")

    def states(self, keys: Sequence[str], folders: Mapping[str, TrialFolder] | None = None) -> list[TrialState]:
        """Return the states of some trials, some of which may be stopped early; see `Run.states`."""
        states, standings = super().states(keys, folders), read_standings(self.path)
        return states if standings is None else list(map(standings.applied_to, states))

    def started_keys(self) -> set[str]:
        """Return the keys of the trials that have a folder, or are in the file of folded trials."""
        try:
            in_folders = {entry.name for entry in os.scandir(self._trials)}
        except FileNotFoundError:
            in_folders = set()
        except OSError as error:
            raise RunError(f"cannot read {self._trials}: {error.strerror or error}") from error
        return in_folders.union(self._folded)  # last, since a trial is in that file before its folder is removed

    def fold(self) -> int:
        """Put the files of done trials, except checkpoints, into one file; return the number of these trials.

        Raises:
            RunError: a file cannot be written or removed. No file is removed before its content is in the new one.
        """
        with self._exclusive(self.path):
            known = set(self._folded)
            new = [key for key in self.trial_keys() if key not in known]
            done = {key: files for key in new if (files := self.trial(key).files_to_fold())}
            if done:
                self._folded.write(done)
            self._folded.remove_originals(self._trials)
        return len(done)

    def resume_command(self) -> str:
        """Return the command that trains the remaining trials."""
        return command("launch", run=self.path)

    def gather(self) -> Gathered:
        """Read the results of all trials so far, each once.

        Raises:
            RunError: a file of the run is missing or incomplete.
        """
        population, plan = self.population(), self.plan()
        names = population.column_names()
        columns = [[_tidy(value) for value in population.columns[name].tolist()] for name in names]
        networks = dict(zip(population.ids, zip(*columns, strict=True), strict=True))
        drawn, standings = tuple(plan.axes.by_field) if plan else (), read_standings(self.path)
        has_repeats, fresh = bool(plan and plan.repeats), plan.fresh_keys() if plan else frozenset()
        keys = plan.keys(population.ids) if plan else population.ids
        folders = self.started(keys)
        rows: list[tuple[Any, ...]] = []
        for state in self.states(keys, folders):
            values = (plan.seed_of(state.key) if plan else None, state.status, *outcome(state))
            more = [state.key, "yes" if state.key in fresh else "no"] if has_repeats else []
            recipe = plan.recipe_of(state.key) if plan and drawn else None
            settings = [typed(value) if isinstance(value := getattr(recipe, name), bool) else value for name in drawn]
            standing = standings.columns(state.key) if standings else ()
            rows.append((*more, state.id, *networks[state.id], *values, *settings, *standing))
        of_standings = STANDING_COLUMNS if standings else ()
        header = (*REPEAT_COLUMNS * has_repeats, "id", *names, *RESULT_COLUMNS, *drawn, *of_standings)
        space, num_classes = population.space, population.space.template.num_classes
        metric = plan.metric_for(num_classes) if plan else top1_error(num_classes)
        histories = self.histories(folders)
        return Gathered(self, num_classes, metric, header, tuple(rows), histories, space.is_drawn)

    def histories(self, folders: Mapping[str, TrialFolder] | None = None) -> dict[str, tuple[EpochRecord, ...]]:
        """Return the epochs so far of each trial that has completed at least one: key -> epochs.

        They are read from the files of the trials or, in a run that was published without them, from history.csv.
        Trials with a damaged file are left out.

        Args:
            folders: the folders of all trials that have files; by default those of `started`.

        Raises:
            RunError: history.csv is cut off or was edited.
        """
        if folders or self.started_keys():
            folders = folders or self.started(self.trial_keys())
            return {key: history for key, folder in folders.items() if (history := folder.known_history())}
        return read_histories(self.history, self.metric()) if self.history.exists() else {}

    def write_results(self, gathered: Gathered | None = None) -> Path:
        """Write the results of all trials to results.csv, whose path is returned, and their epochs to history.csv.

        Args:
            gathered: the results to write; by default they are read now.
        """
        gathered = gathered or self.gather()
        table = csv_text([gathered.header, *gathered.rows])
        texts = {self.history: histories_csv(gathered.histories), self.results: table}
        write_together(texts)
        return self.results


def _tidy(value: float | str) -> float | str:
    """Return whole numbers as int, and anything else as it is."""
    return int(value) if not isinstance(value, str) and float(value).is_integer() else value
