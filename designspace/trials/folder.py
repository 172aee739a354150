"""A run on disk: what was asked, and what happened.

With `Population`, `TrialFolder` and `LaunchFolder`, the only code that knows the names of its files.

Status is derived from the files that exist. Reading never writes or deletes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from designspace.spaces.population import POPULATION_FILE, SPACE_FILE, Population, read_ids, read_space
from designspace.spaces.space import DesignSpace
from designspace.support.checks import mapping, plain, text, whole
from designspace.support.csv_text import as_commas, looks_changed, why_not_an_id
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_json, write_first, write_json, write_text, write_together
from designspace.support.reading import read_bytes, read_json_object
from designspace.support.yaml_text import read_yaml
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

_EPOCH_COLUMNS = tuple(field.name for field in dataclasses.fields(EpochRecord))
_LEAST_COLUMNS = 1 + sum(field.default is dataclasses.MISSING for field in dataclasses.fields(EpochRecord))
_RECIPE = "recipe.yaml"
_PROVENANCE = "provenance.json"
_KERNELS = "kernels.json"
_TRIALS = "trials"
_LAUNCHES = "launches"
_CODE = "code"


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
        """The folder's own name."""
        return self.path.resolve().name

    def exists(self) -> bool:
        """Whether there is a population here."""
        return (self.path / POPULATION_FILE).exists()

    def create(self, population: Population, provenance: Mapping[str, Any]) -> None:
        """Write a population here, or extend one that it begins with.

        Raises:
            InputError: the folder holds another population, which stays as it is.
            RunError: a file cannot be read or written.
        """
        if self.exists():
            held = Population.read(self.path)
            if held == population:
                return
            if not held.begins(population):
                raise InputError(
                    f"{self.path} already holds another population: {len(held)} networks of {held.space.name} with "
                    f"seed {held.seed}{'' if held.space == population.space else ' and other settings'}, and "
                    f"{len(population)} of {population.space.name} with seed {population.seed} were asked for. "
                    "It was left as it is; choose another folder with run=..."
                )
        population.write(self.path)
        write_json(self.path / _PROVENANCE, dict(provenance))

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
            RunError: there is no population here, or the table cannot be read.
        """
        return read_ids(self.path)

    def space(self) -> DesignSpace:
        """Read the space that the population comes from."""
        return read_space(self.path / SPACE_FILE)

    def provenance(self) -> dict[str, Any]:
        """What is known about how the population came to be; empty if nothing is."""
        path = self.path / _PROVENANCE
        return read_json_object(path) if path.exists() else {}

    def write_plan(self, recipe: Recipe, seed: int) -> None:
        """Write how all networks are to be trained.

        Raises:
            InputError: the folder holds another recipe or seed, which stays as it is.
        """
        self.check_plan(recipe, seed)
        if self.plan() is None:
            wanted = {**recipe.to_dict(), "seed": plain(seed)}
            write_text(self.path / _RECIPE, yaml.safe_dump(wanted, sort_keys=False))

    def check_plan(self, recipe: Recipe, seed: int) -> None:
        """Raise unless networks may be trained like this here: there is no plan, or this one.

        Raises:
            InputError: the folder holds another recipe or seed, or the seed is none.
        """
        seed = whole("seed", seed, 0)
        held, wanted = self.plan(), {**recipe.to_dict(), "seed": seed}
        there = wanted if held is None else {**held[0].to_dict(), "seed": held[1]}
        if there != wanted:
            differences = [
                f"{key} is {there[key]!r} there and {wanted[key]!r} here" for key in wanted if there[key] != wanted[key]
            ]
            raise InputError(
                f"{self.path} is already being trained with another recipe ({'; '.join(differences)}). "
                "Leave the recipe out to go on with that one, or sample into another folder with run=..."
            )

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
            write_first(path, {"kernels": here})
        try:
            return text("kernels", mapping("kernels", read_json(path), needed=["kernels"])["kernels"])
        except InputError as error:
            raise RunError(f"{path} does not say which kernels the run is trained with ({error})") from error

    def trial(self, id_: str) -> TrialFolder:
        """The folder of a trial, which may not exist yet."""
        return TrialFolder(self._trials / id_)

    def states(self, ids: Sequence[str]) -> list[TrialState]:
        """What became of each trial.

        Raises:
            RunError: a result is cut off or was edited, or is of another recipe or seed than the run's.
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

    @property
    def launches_path(self) -> Path:
        """Folder of the launches; a claim on it is the right to submit to a scheduler."""
        return self.path / _LAUNCHES

    def new_launch(self, about: Mapping[str, Any]) -> LaunchFolder:
        """Note the beginning of a launch (see `LaunchFolder.create`)."""
        self.launches_path.mkdir(parents=True, exist_ok=True)
        return LaunchFolder.create(self.launches_path, {**about, "folder": self._folder_number()})

    def launches(self) -> list[LaunchFolder]:
        """All launches of this run, the oldest first. Those that came with a copy of another run's folder are not."""
        number = self._folder_number()
        found = [LaunchFolder(path) for path in sorted(self.launches_path.glob("*-*"))]
        return [launch for launch in found if launch.exists() and launch.about().get("folder", number) == number]

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
        history.csv.

        Raises:
            RunError: a file is cut off or was edited.
        """
        if begun := self.begun():
            found = {id_: self.trial(id_).read_history() for id_ in self.ids() if id_ in begun}
            return {id_: history for id_, history in found.items() if history}
        return _read_histories(self.history) if self.history.exists() else {}

    def write_results(self) -> Path:
        """Gather the results of all trials into results.csv, and their epochs into history.csv; gives the former."""
        header, rows = self.table()
        epochs = [
            [id_, *dataclasses.astuple(record)] for id_, history in self.histories().items() for record in history
        ]
        write_together(
            {self.history: _csv_text([["id", *_EPOCH_COLUMNS], *epochs]), self.results: _csv_text([header, *rows])}
        )
        return self.results


def _csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read_histories(path: Path) -> dict[str, tuple[EpochRecord, ...]]:
    """Read a history.csv."""
    found: dict[str, list[EpochRecord]] = {}
    try:
        text = as_commas(read_bytes(path)).decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text), strict=True)
        if ["id", *_EPOCH_COLUMNS][: len(header)] != header or len(header) < _LEAST_COLUMNS or not text.endswith("\n"):
            raise ValueError(f"its columns must be id,{','.join(_EPOCH_COLUMNS)}, and its last line whole")
        for id_, epoch, *numbers in filter(None, rows):
            if looks_changed(id_):
                raise ValueError(why_not_an_id(id_))
            record = EpochRecord(int(epoch), *(float(number) if number else None for number in numbers))  # type: ignore[arg-type]
            found.setdefault(id_, []).append(record)
    except (ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path} does not hold epochs ({error})") from error
    return {id_: tuple(history) for id_, history in found.items()}


def _tidy(value: float) -> float:
    """Whole numbers as int."""
    return int(value) if float(value).is_integer() else value
