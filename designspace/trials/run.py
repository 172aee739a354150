"""A run on disk, whatever networks it has: its trials, its launches, and the code and the kernels that train them."""

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
from designspace.trials.plan import Plan, Repeats
from designspace.trials.recipe import Recipe
from designspace.trials.trial import Trial
from designspace.trials.trial_folder import TrialFolder, TrialState

_KERNELS = "kernels.json"
_LAUNCHES = "launches"
_CODE = "code"


class Run(ABC):
    """A folder of trials that are trained alike: with one recipe, by one or several launches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._plan: Plan | None = None

    @property
    def name(self) -> str:
        """The folder's own name, as it can be shown."""
        return printable(self.path.resolve().name)

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is such a run here."""

    @abstractmethod
    def plan(self) -> Plan | None:
        """Return the recipe and the seeds of all trials; None before they are fixed."""

    @abstractmethod
    def check_plan(self, recipe: Recipe, seed: int) -> None:
        """Raise `InputError` unless networks may be trained like this here."""

    @abstractmethod
    def write_plan(self, recipe: Recipe, seed: int, repeats: Repeats) -> None:
        """Fix how all networks are trained."""

    @abstractmethod
    def trial_keys(self, plan: Plan | None = None) -> tuple[str, ...]:
        """Return the keys of all trials that the run was asked for, in the order in which they are trained.

        Args:
            plan: how the networks are to be trained; by default the run's own plan.
        """

    @abstractmethod
    def read_trials(self) -> Callable[[str], Trial]:
        """Read what the trials are, once, and return a function that gives the trial of a key.

        Raises:
            RunError: a file is missing or damaged.
        """

    @abstractmethod
    def trial(self, key: str) -> TrialFolder:
        """Return the folder of a trial, which may not exist yet."""

    @abstractmethod
    def begun(self) -> set[str]:
        """Return the keys of the trials that have a folder."""

    @abstractmethod
    def write_results(self) -> object:
        """Gather what came of all trials into the run's tables."""

    @abstractmethod
    def resume_command(self) -> str:
        """Return the command line that trains what is left."""

    def fingerprint(self, key: str) -> str:
        """Return the fingerprint of a trial (see `Trial.fingerprint`); empty before the first launch."""
        # Recipe and first seed never change once they are written; repeats that are added change no fingerprint.
        self._plan = self._plan or self.plan()
        return self._plan.fingerprint(key) if self._plan else ""

    def states(self, keys: Sequence[str]) -> list[TrialState]:
        """Return what became of each of some trials.

        Raises:
            RunError: a result is of another recipe or seed than the run's.
        """
        begun = self.begun()
        return [self.trial(key).state() if key in begun else TrialState(key, "waiting") for key in keys]

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

    @property
    def launches_path(self) -> Path:
        """Folder of the launches; a claim on it is the right to submit to a scheduler."""
        return self.path / _LAUNCHES

    def new_launch(self, about: Mapping[str, Any]) -> LaunchFolder:
        """Note the beginning of a launch (see `LaunchFolder.create`)."""
        make_folder(self.launches_path)
        return LaunchFolder.create(self.launches_path, {**about, "folder": self._folder_number()})

    def launches(self) -> list[LaunchFolder]:
        """All launches of this run, the oldest first.

        Those that came with a copy of another run's folder are not among them, nor those whose files are damaged, which
        are logged, nor what is a link.
        """
        if self.launches_path.is_symlink() or not self.launches_path.exists():
            return []
        number = self._folder_number()
        found = [LaunchFolder(path) for path in sorted(self.launches_path.glob("*-*")) if not path.is_symlink()]
        return [launch for launch in found if launch.exists() and launch.belongs_to(number)]

    def launching(self) -> contextlib.AbstractContextManager[None]:
        """Hold the right to begin a launch, or to delete what launches left, while the block runs; others wait.

        Raises:
            RunError: the folder cannot be written, or is a link.
        """
        return self._alone(self.launches_path)

    def _folder_number(self) -> int:
        """What tells this folder from a copy of it, on any machine that sees it, under whatever name: its inode."""
        with reading(self.path):
            return self.path.stat().st_ino

    @property
    def code(self) -> Path:
        """Folder of the copies of the code that launches ran."""
        return self.path / _CODE

    @contextlib.contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Have a folder of the run for this process alone while the block runs; others wait for it.

        Raises:
            RunError: the folder cannot be written, is a link, or another process has taken it over.
        """
        if folder != self.path and folder.is_symlink():
            raise RunError(f"{folder} is a link, and what is in a run folder must lie there; replace it with a folder")
        make_folder(folder)
        with claims.alone(folder):
            yield
