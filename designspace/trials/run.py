"""Base class of runs on disk: trials, launches, and the code and kernels that train the trials."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.support.checks import mapping, text
from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder, write_first
from designspace.support.reading import read_json, reading
from designspace.support.text import printable
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.plan import Plan, Repeats
from designspace.trials.recipe import Recipe
from designspace.trials.recipe_axes import NO_AXES, RecipeAxes
from designspace.trials.state import TrialState
from designspace.trials.trial import Trial
from designspace.trials.trial_folder import TrialFolder

_KERNELS = "kernels.json"
_LAUNCHES = "launches"
_CODE = "code"


class Run(ABC):
    """A folder of trials that are trained with one recipe, apart from drawn fields, by one or several launches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._plan: Plan | None = None

    @property
    def name(self) -> str:
        """Name of the folder, in printable form."""
        return printable(self.path.resolve().name)

    @abstractmethod
    def exists(self) -> bool:
        """Return whether there is such a run here."""

    @abstractmethod
    def plan(self) -> Plan | None:
        """Return the recipe and the seeds of all trials; None before they are fixed."""

    @abstractmethod
    def check_plan(self, recipe: Recipe, seed: int, axes: RecipeAxes = NO_AXES) -> None:
        """Raise `InputError` if the run has another recipe or seed."""

    @abstractmethod
    def write_plan(
        self,
        recipe: Recipe,
        seed: int,
        repeats: Repeats,
        axes: RecipeAxes = NO_AXES,
        metric: Metric | None = None,
    ) -> None:
        """Fix how all networks are trained and measured."""

    @abstractmethod
    def trial_keys(self, plan: Plan | None = None) -> tuple[str, ...]:
        """Return the keys of all trials of the run, in the order in which they are trained.

        Args:
            plan: how the networks are to be trained; by default the run's own plan.
        """

    @abstractmethod
    def read_trials(self) -> Callable[[str], Trial]:
        """Read the definitions of the trials once, and return a function that returns the trial with a key.

        Raises:
            RunError: a file is missing or damaged.
        """

    @abstractmethod
    def network_names(self) -> tuple[str, ...]:
        """Return the names of the user's own classes of which the networks consist, such as ``mine:Block``.

        Raises:
            RunError: a file is missing or damaged.
        """

    def imported_names(self, plan: Plan | None) -> list[str]:
        """Return the names of all of the user's own objects that the trials import.

        Args:
            plan: how the networks are to be trained; None before that is known.

        Raises:
            RunError: a file is missing or damaged.
        """
        return sorted({*self.network_names(), *(plan.recipe.imported_names if plan else ())})

    @abstractmethod
    def trial(self, key: str) -> TrialFolder:
        """Return the folder of a trial, which may not exist yet."""

    @abstractmethod
    def started_keys(self) -> set[str]:
        """Return the keys of the trials that have files."""

    @abstractmethod
    def write_results(self) -> object:
        """Write the results of all trials to the tables of the run."""

    @abstractmethod
    def resume_command(self) -> str:
        """Return the command that trains the remaining trials."""

    def fingerprint(self, key: str) -> str:
        """Return the fingerprint of a trial (see `Trial.fingerprint`); empty before the first launch."""
        # Recipe and first seed never change once they are written, and adding repeats changes no fingerprint.
        self._plan = self._plan or self.plan()
        return self._plan.fingerprint(key) if self._plan else ""

    def metric(self) -> Metric:
        """Return what the trials are measured by; the default metric with its value of guessing for two classes."""
        self._plan = self._plan or self.plan()
        return (self._plan and self._plan.metric) or TOP1_ERROR

    def started(self, keys: Sequence[str]) -> dict[str, TrialFolder]:
        """Return the folders of those of some trials that have files: key -> folder."""
        started = self.started_keys()
        return {key: self.trial(key) for key in keys if key in started}

    def states(self, keys: Sequence[str], folders: Mapping[str, TrialFolder] | None = None) -> list[TrialState]:
        """Return the states of some trials.

        Args:
            keys: of the trials.
            folders: the folders of those that have files; by default those of `started`.

        Raises:
            RunError: a result is of another recipe or seed than the run's.
        """
        folders = self.started(keys) if folders is None else folders
        return [folders[key].state() if key in folders else TrialState(key, "waiting") for key in keys]

    def has_reached(self, state: TrialState, epochs: int | None) -> bool:
        """Return whether a trial is finished, or has completed a number of epochs if one is given."""
        if state.is_finished or epochs is None:
            return state.is_finished
        return len(self.trial(state.key).known_history()) >= epochs

    def settle_kernels(self, here: str) -> str:
        """Return the kernels that train all trials of this run on CPUs: those that trained the first one.

        Kernels round differently, and a trial must give the same numbers on every machine of a cluster. ``here`` are
        the kernels of this machine, which are recorded if there are none yet.

        Raises:
            RunError: the file cannot be written or read.
        """
        path = self.path / _KERNELS
        if not path.exists():
            write_first(path, json.dumps({"kernels": here}, indent=2) + "\n")
        return self.kernels() or here

    def kernels(self) -> str | None:
        """Return the kernels that train the trials on CPUs; None before the first trial.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / _KERNELS
        if not path.exists():
            return None
        try:
            return text("kernels", mapping("kernels", read_json(path), needed=["kernels"])["kernels"])
        except InputError as error:
            raise RunError(f"{path} does not contain the kernels of the run ({error})") from error

    @property
    def launches_path(self) -> Path:
        """Folder of the launches. A process must hold a claim on it to submit to a scheduler."""
        return self.path / _LAUNCHES

    def new_launch(self, about: Mapping[str, Any]) -> LaunchFolder:
        """Create the folder of a new launch (see `LaunchFolder.create`)."""
        make_folder(self.launches_path)
        return LaunchFolder.create(self.launches_path, {**about, "folder": self._folder_number()})

    def launches(self) -> list[LaunchFolder]:
        """Return all launches of this run, the oldest first.

        Launches that were copied with the folder of another run are left out, as are links and, with a warning in the
        log, launches with damaged files.
        """
        if self.launches_path.is_symlink() or not self.launches_path.exists():
            return []
        number = self._folder_number()
        launches = [LaunchFolder(path) for path in sorted(self.launches_path.glob("*-*")) if not path.is_symlink()]
        return [launch for launch in launches if launch.exists() and launch.belongs_to(number)]

    def launching(self) -> contextlib.AbstractContextManager[None]:
        """Have exclusive access to the launches while the block runs, to start one or to delete old ones; others wait.

        Raises:
            RunError: the folder cannot be written, or is a link.
        """
        return self._exclusive(self.launches_path)

    def _folder_number(self) -> int:
        """Return the inode, which distinguishes this folder from copies of it, on every machine and under any path."""
        with reading(self.path):
            return self.path.stat().st_ino

    @property
    def code(self) -> Path:
        """Folder of the copies of the code that launches run."""
        return self.path / _CODE

    @contextlib.contextmanager
    def _exclusive(self, folder: Path) -> Iterator[None]:
        """Have exclusive access to a folder of the run while the block runs; other processes wait.

        Raises:
            RunError: the folder cannot be written, is a link, or another process has taken it over.
        """
        if folder != self.path and folder.is_symlink():
            raise RunError(f"{folder} is a link, but a run folder must not contain links; replace it with a folder")
        make_folder(folder)
        with claims.exclusive(folder):
            yield
