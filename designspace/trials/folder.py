"""A run on disk: what was asked, and what happened. With `Population`, the only code that knows the file names.

Status is derived from the files that exist. Reading never writes or deletes.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from designspace.spaces.population import POPULATION_FILE, SPACE_FILE, Population, read_ids, read_space
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError, RunError
from designspace.support.files import atomic_writer, read_json, write_json, write_text
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.trial import Attempt, EpochRecord, Recipe, Trial, TrialFailure, TrialResult, asked_of

STATUSES = ("done", "failed", "running", "waiting")
RESULT_COLUMNS = (
    "seed",
    "status",
    "final_error",
    "best_error",
    "epochs",
    "train_s",
    "device",
    "reason",
    "detail",
)

_RECIPE = "recipe.yaml"
_PROVENANCE = "provenance.json"
_TRIAL = "trial.json"
_RESULT = "result.json"
_ERROR = "error.json"
_HISTORY = "history.jsonl"
_ATTEMPTS = "attempts.json"
_TRIALS = "trials"
_LAUNCHES = "launches"
_CODE = "code"


@dataclass(frozen=True, slots=True)
class TrialState:
    """What the files of one trial say."""

    id: str
    status: str
    """One of `STATUSES`."""
    result: TrialResult | None = None
    failure: TrialFailure | None = None
    claim: claims.Held | None = None
    """Who is, or was last, at work on a trial that has not ended."""
    ended: float = 0.0
    """When it ended, in seconds since 1970."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in ("done", "failed")


class TrialFolder:
    """The files of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.pt"
        self.log = path / "log.txt"

    def write_trial(self, trial: Trial) -> None:
        """Write what is asked of this trial."""
        asked = {
            "id": trial.id,
            "network": json.loads(trial.network.to_json()),
            "recipe": trial.recipe.to_dict(),
            "seed": trial.seed,
        }
        write_json(self.path / _TRIAL, asked)

    def write_history(self, history: tuple[EpochRecord, ...]) -> None:
        """Write one line of JSON for each epoch so far."""
        lines = (json.dumps(dataclasses.asdict(record)) for record in history)
        write_text(self.path / _HISTORY, "".join(f"{line}\n" for line in lines))

    def read_history(self) -> tuple[EpochRecord, ...]:
        """The epochs so far; none if the trial has not completed one.

        Raises:
            RunError: the file is cut off or was edited.
        """
        path = self.path / _HISTORY
        if not path.exists():
            return ()
        try:
            return tuple(EpochRecord(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
        except (ValueError, TypeError) as error:
            raise RunError(f"{path} is not whole ({error})") from error

    def write_result(self, result: TrialResult, asked: str = "") -> None:
        """Write the result: from now on the trial is done. ``asked`` is its `Trial.asked`."""
        write_json(self.path / _RESULT, {"asked": asked, **dataclasses.asdict(result)})

    def write_failure(self, failure: TrialFailure, asked: str = "") -> None:
        """Write the failure: from now on the trial has failed."""
        write_json(self.path / _ERROR, {"asked": asked, **dataclasses.asdict(failure)})

    def add_to_log(self, text: str) -> None:
        """Add to log.txt what a person may want to read, with the time before it.

        Raises:
            RunError: the file cannot be written.
        """
        try:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text.rstrip()}\n")
        except OSError as error:
            raise RunError(f"cannot write {self.log}: {error.strerror or error}") from error

    def attempts(self) -> tuple[Attempt, ...]:
        """The tries that ended badly so far."""
        path = self.path / _ATTEMPTS
        if not path.exists():
            return ()
        try:
            return tuple(
                Attempt(**{**fields, "failure": TrialFailure(**fields["failure"])}) for fields in read_json(path)
            )
        except (TypeError, KeyError, InputError) as error:
            raise RunError(f"{path} does not hold attempts ({error})") from error

    def add_attempt(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """Note a try that ended badly, and give all so far. Only the owner of the trial's claim may."""
        attempts = (*self.attempts(), attempt)
        write_json(self.path / _ATTEMPTS, [dataclasses.asdict(attempt) for attempt in attempts])
        return attempts

    def forget_failure(self) -> None:
        """Make a failed trial one that waits, with all its tries before it."""
        (self.path / _ATTEMPTS).unlink(missing_ok=True)
        (self.path / _ERROR).unlink(missing_ok=True)

    def copy_from(self, other: TrialFolder) -> None:
        """Take over the files of the same trial in another run; its result comes last, so that half a copy is none.

        Raises:
            RunError: a file cannot be read or written.
        """
        self.forget_failure()
        ours = {_TRIAL, _HISTORY, _ATTEMPTS, self.checkpoint.name, self.log.name}
        try:
            for name in (*sorted(ours), _RESULT, _ERROR):
                if (other.path / name).exists():
                    with (other.path / name).open("rb") as source, atomic_writer(self.path / name) as file:
                        shutil.copyfileobj(source, file)
        except OSError as error:
            raise RunError(f"cannot copy {other.path}: {error.strerror or error}") from error

    @property
    def begun(self) -> float | None:
        """When it was last begun or gone on with, in seconds since 1970; None before."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / _TRIAL).stat().st_mtime
        return None

    def state(self, asked: str = "") -> TrialState:
        """What became of the trial, from the files that exist. ``asked`` is its `Trial.asked`, if that is known.

        Raises:
            RunError: a result is cut off or was edited, or is of another recipe or seed.
        """
        id_ = self.path.name
        if found := _read_value(self.path / _RESULT, TrialResult, asked):
            return TrialState(id_, "done", result=found[0], ended=found[1])
        if found := _read_value(self.path / _ERROR, TrialFailure, asked):
            return TrialState(id_, "failed", failure=found[0], ended=found[1])
        held = claims.current(self.path)
        return TrialState(id_, "running" if held is not None and held.is_fresh else "waiting", claim=held)


class RunFolder:
    """The folder of a run: a population, a recipe, the trials and their results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results.csv"
        """The table of all trials, as far as it was last gathered."""

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
        return dict(read_json(path)) if path.exists() else {}

    def write_plan(self, recipe: Recipe, seed: int) -> None:
        """Write how all networks are to be trained.

        Raises:
            InputError: the folder holds another recipe or seed, which stays as it is.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed must be a whole number >= 0, not {seed!r}")
        held, wanted = self.plan(), {**recipe.to_dict(), "seed": seed}
        if held is None:
            write_text(self.path / _RECIPE, yaml.safe_dump(wanted, sort_keys=False))
            return
        there = {**held[0].to_dict(), "seed": held[1]}
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
            held = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
            seed = held.pop("seed")
            return Recipe.from_dict(held), seed
        except (yaml.YAMLError, InputError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} is not whole ({error})") from error

    def trial(self, id_: str) -> TrialFolder:
        """The folder of a trial, which may not exist yet."""
        return TrialFolder(self.path / _TRIALS / id_)

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
            return {entry.name for entry in os.scandir(self.path / _TRIALS)}
        except FileNotFoundError:
            return set()

    @property
    def launches_path(self) -> Path:
        """Folder of the launches; a claim on it is the right to submit to a scheduler."""
        return self.path / _LAUNCHES

    def new_launch(self, about: Mapping[str, Any], token: str = "") -> LaunchFolder:
        """Note the beginning of a launch (see `LaunchFolder.create`)."""
        return LaunchFolder.create(self.launches_path, about, token)

    def launches(self) -> list[LaunchFolder]:
        """All launches, the oldest first."""
        return [LaunchFolder(path) for path in sorted(self.launches_path.glob("*-*")) if path.is_dir()]

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
        columns = [population.columns[name].tolist() for name in names]
        rows = []
        for i, state in enumerate(self.states(population.ids)):
            values: dict[str, Any] = {"seed": seed, "status": state.status}
            if state.result:
                values.update(dataclasses.asdict(state.result))
            if state.failure:
                values.update(dataclasses.asdict(state.failure))
            values["detail"] = " ".join(str(values.get("detail", "")).split())
            row = [state.id, *(_tidy(column[i]) for column in columns)]
            rows.append([*row, *(values.get(name, "") for name in RESULT_COLUMNS)])
        return ["id", *names, *RESULT_COLUMNS], rows

    def write_results(self) -> Path:
        """Gather the results of all trials into results.csv and give its path."""
        header, rows = self.table()
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        write_text(self.results, text.getvalue())
        return self.results


def _read_value(path: Path, kind: Any, asked: str) -> tuple[Any, float] | None:
    """Read a frozen value from its JSON file, and when that was written; None if there is no file."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (a status reads some 10,000 of these)
            text, written = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        fields = json.loads(text)
        told = fields.pop("asked", "")
        value = kind(**fields)
    except (ValueError, AttributeError, TypeError, InputError) as error:
        raise RunError(f"{path} does not hold a whole {kind.__name__} ({error}); remove it to try again") from error
    if asked and told and told != asked:
        raise RunError(f"{path} is of another recipe or seed than this run's; move it away, or copy it to its own run")
    return value, written


def _tidy(value: float) -> float:
    """Whole numbers as int."""
    return int(value) if float(value).is_integer() else value
