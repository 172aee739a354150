"""A run on disk: what was asked, and what happened.

With `Population`, `TrialFolder` and `LaunchFolder`, the only code that knows the names of its files.

Status is derived from the files that exist. Reading never writes or deletes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from designspace.spaces.population import POPULATION_FILE, SPACE_FILE, Population, no_population, read_ids, read_space
from designspace.spaces.space import DesignSpace
from designspace.support.checks import mapping, plain, text, whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_first, write_together
from designspace.support.reading import read_json, read_json_object
from designspace.support.text import printable
from designspace.support.yaml_text import read_yaml
from designspace.trials import claims
from designspace.trials.history import csv_text, histories_csv, read_histories
from designspace.trials.launches import LaunchFolder
from designspace.trials.trial import EpochRecord, Recipe, asked_of
from designspace.trials.trial_folder import TrialFolder, TrialState

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
_KERNELS = "kernels.json"
_TRIALS = "trials"
_LAUNCHES = "launches"
_CODE = "code"
_ID = re.compile(r"[0-9a-f]{12}")

log = logging.getLogger(__name__)


class RunFolder:
    """The folder of a run: a population, a recipe, the trials and their results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results.csv"
        """The table of all trials, as far as it was last gathered."""
        self.history = path / "history.csv"
        """The epochs of all trials, gathered with it."""
        self._trials = path / _TRIALS

    @property
    def name(self) -> str:
        """The folder's own name, as it can be shown."""
        return printable(self.path.resolve().name)

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
            if self.exists() and (held := Population.read(self.path)) == population.with_columns_of(held):
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
            held = Population.read(self.path)
        except RunError:
            ids = self.ids()
            if not ids or ids != population.ids[: len(ids)]:
                raise
            return None  # ids are digests of the networks, so these are the networks that were asked for
        if held.begins(population):
            return held
        asked = f"{len(population)} of {population.space.name} with seed {population.seed} were asked for"
        if population.begins(held):
            asked = f"{asked}, which are the first of them"
        raise InputError(
            f"{self.path} already holds another population: {len(held)} networks of {held.space.name} with "
            f"seed {held.seed}{'' if held.space == population.space else ' and other settings'}, and {asked}. "
            "It was left as it is; choose another folder with run=..."
        )

    @contextlib.contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Have a folder of the run for this process alone while the block runs; others wait for it.

        Raises:
            RunError: the folder cannot be written, is a link, or another process has taken it over.
        """
        if folder != self.path and folder.is_symlink():
            raise RunError(f"{folder} is a link, and what is in a run folder must lie there; replace it with a folder")
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(claims.alone(folder))
            except OSError as error:
                raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
            yield

    def population(self) -> Population:
        """Read the population.

        Raises:
            RunError: there is none here, or its files are not whole.
        """
        try:
            return Population.read(self.path)
        except RunError:  # its files are replaced one after the other when it is extended
            if not self.exists():
                raise
            time.sleep(0.5)
            return Population.read(self.path)

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

    def write_plan(self, recipe: Recipe, seed: int) -> None:
        """Write how all networks are to be trained.

        Raises:
            InputError: the folder holds another recipe or seed, which stays as it is.
        """
        self.check_plan(recipe, seed)
        if self.plan() is None:
            wanted = {**recipe.to_dict(), "seed": plain(seed)}
            write_first(self.path / _RECIPE, yaml.safe_dump(wanted, sort_keys=False))
        self.check_plan(recipe, seed)  # another launch may have been first, with another recipe

    def check_plan(self, recipe: Recipe, seed: int) -> None:
        """Raise unless networks may be trained like this here: there is no plan, or this one.

        Raises:
            InputError: the folder holds another recipe or seed, or the seed is none.
        """
        seed = whole("seed", seed, 0)
        plan = self.plan()
        if plan is not None and plan != (recipe, seed):
            raise InputError(f"{self.path} {_differences(*plan, recipe, seed)}")

    def plan(self) -> tuple[Recipe, int] | None:
        """The recipe and the seed of all trials, or None before the first launch.

        Raises:
            RunError: the file is not whole.
        """
        path = self.path / _RECIPE
        if not path.exists():
            return None
        try:
            held = dict(mapping("recipe", read_yaml(path), needed=["seed"]))
            seed = whole("seed", held.pop("seed"), 0)
            return Recipe.from_dict(held), seed
        except InputError as error:
            raise RunError(f"{path} is not whole ({error})") from error

    def settle_kernels(self, here: str) -> str:
        """Give the kernels that all trials of this run are trained with on CPUs: those of the first that was trained.

        Kernels round in different ways, and a trial must give the same numbers on every machine of a cluster. ``here``
        are this machine's; they are noted where none are yet.

        Raises:
            RunError: the file cannot be written or read.
        """
        path = self.path / _KERNELS
        if not path.exists():
            write_first(path, json.dumps({"kernels": here}, indent=2) + "\n")
        return self.kernels() or here

    def kernels(self) -> str | None:
        """Return the kernels that the trials are trained with on CPUs; None before the first one.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / _KERNELS
        if not path.exists():
            return None
        try:
            return text("kernels", mapping("kernels", read_json(path), needed=["kernels"])["kernels"])
        except InputError as error:
            raise RunError(f"{path} does not say which kernels the run is trained with ({error})") from error

    def trial(self, id_: str) -> TrialFolder:
        """The folder of a trial, which may not exist yet.

        Raises:
            RunError: ``id_`` cannot be an id.
        """
        self._check_id(id_)
        return TrialFolder(self._trials / id_)

    def _check_id(self, id_: str) -> None:
        """Raise unless a text can be an id: anything else might be a path that leads out of the run folder."""
        if not _ID.fullmatch(id_):
            raise RunError(f"{self.path / POPULATION_FILE}: {id_[:40]!r} is not an id, which has 12 hex digits")

    def states(self, ids: Sequence[str]) -> list[TrialState]:
        """What became of each trial.

        Raises:
            RunError: a result is of another recipe or seed than the run's.
        """
        plan = self.plan()
        begun = self.begun()
        return [
            self.trial(id_).state(asked_of(id_, *plan) if plan else "") if id_ in begun else TrialState(id_, "waiting")
            for id_ in ids
        ]

    def begun(self) -> set[str]:
        """Ids of the trials that have a folder."""
        try:
            return {entry.name for entry in os.scandir(self._trials)}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise RunError(f"cannot read {self._trials}: {error.strerror or error}") from error

    @property
    def launches_path(self) -> Path:
        """Folder of the launches; a claim on it is the right to submit to a scheduler."""
        return self.path / _LAUNCHES

    def new_launch(self, about: Mapping[str, Any]) -> LaunchFolder:
        """Note the beginning of a launch (see `LaunchFolder.create`)."""
        self.launches_path.mkdir(parents=True, exist_ok=True)
        return LaunchFolder.create(self.launches_path, {**about, "folder": self._folder_number()})

    def launches(self) -> list[LaunchFolder]:
        """All launches of this run, the oldest first.

        Those that came with a copy of another run's folder are not among them, nor those whose files are damaged, which
        are logged, nor what is a link.
        """
        number = self._folder_number()
        if self.launches_path.is_symlink():
            return []
        found = [LaunchFolder(path) for path in sorted(self.launches_path.glob("*-*")) if not path.is_symlink()]
        return [launch for launch in found if launch.exists() and _belongs_to(launch, number)]

    def launching(self) -> contextlib.AbstractContextManager[None]:
        """Have the right to begin a launch, or to delete what launches left, for this process alone.

        Raises:
            RunError: the folder cannot be written, or is a link.
        """
        return self._alone(self.launches_path)

    def _folder_number(self) -> int:
        """What tells this folder from a copy of it, on any machine that sees it, under whatever name: its inode."""
        return self.path.stat().st_ino

    @property
    def code(self) -> Path:
        """Folder of the copies of the code that launches ran."""
        return self.path / _CODE

    def table(self, population: Population | None = None) -> tuple[list[str], list[list[Any]]]:
        """The results table: its column names, and one row for each network, finished or not.

        An empty string stands for a value that there is not.
        """
        population = population or self.population()
        plan = self.plan()
        seed = plan[1] if plan else ""
        names = population.column_names()
        columns = [[_tidy(value) for value in population.columns[name].tolist()] for name in names]
        rows: list[list[Any]] = []
        for state, *values in zip(self.states(population.ids), *columns, strict=True):
            told = {name: getattr(state.result or state.failure, name, None) for name in RESULT_COLUMNS}
            told |= {"seed": seed, "status": state.status, "detail": " ".join(str(told["detail"] or "").split())}
            rows.append([state.id, *values, *("" if value is None else value for value in told.values())])
        return ["id", *names, *RESULT_COLUMNS], rows

    def histories(self) -> dict[str, tuple[EpochRecord, ...]]:
        """The epochs so far of each trial that has completed one.

        From the trials' own files, or, where those are not there (a run that was published without them), from
        history.csv. A trial whose file is damaged has none.

        Raises:
            RunError: history.csv is cut off or was edited.
        """
        if begun := self.begun():
            found = {id_: self.trial(id_).known_history() for id_ in self.ids() if id_ in begun}
            return {id_: history for id_, history in found.items() if history}
        return read_histories(self.history) if self.history.exists() else {}

    def write_results(self) -> Path:
        """Gather the results of all trials into results.csv, and their epochs into history.csv; gives the former."""
        header, rows = self.table()
        write_together({self.history: histories_csv(self.histories()), self.results: csv_text([header, *rows])})
        return self.results


def _differences(recipe: Recipe, seed: int, other: Recipe, other_seed: int) -> str:
    """Say how a run is trained, and in which fields something else differs from that."""
    fields = [name for name, value in recipe.to_dict().items() if value != getattr(other, name)]
    pairs = {f"recipe.{name}": (getattr(recipe, name), getattr(other, name)) for name in fields}
    if seed != other_seed:
        pairs["seed"] = (seed, other_seed)
    words = "; ".join(
        f"{name} is {_typed(there)} there and {_typed(here)} here" for name, (there, here) in pairs.items()
    )
    if list(pairs) == ["seed"]:
        return (
            f"is already being trained with another seed ({words}). Leave seed out to resume, or train the same "
            "networks with this seed in another folder: sample them there with run=..."
        )
    if list(pairs) == ["recipe.data"]:
        return (
            f"is already being trained on {recipe.data} ({words}). Leave data out to resume, or sample for "
            f"{other.data} into another folder with run=..."
        )
    return (
        f"is already being trained with another recipe ({words}). Leave the recipe out to resume with that one, or "
        "sample into another folder with run=..."
    )


def _typed(value: Any) -> str:
    """A value of a recipe as a person types it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _belongs_to(launch: LaunchFolder, number: int) -> bool:
    """Whether a launch is of the run folder with that inode; False where that cannot be read."""
    try:
        return bool(launch.about().get("folder", number) == number)
    except (RunError, TypeError, ValueError) as error:
        log.warning("launch %s is left out: %s", launch.path.name, error)
        return False


def _tidy(value: float) -> float:
    """Whole numbers as int."""
    return int(value) if float(value).is_integer() else value
