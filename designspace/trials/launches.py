"""A launch on disk: who started it, with what code and settings, and whether it was told to end."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.support.checks import mapping, text, whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_json
from designspace.support.reading import read_json, read_json_object
from designspace.support.text import shown
from designspace.trials import claims
from designspace.trials.plan import is_key

_ABOUT = "launch.json"
_TASKS = "tasks.json"
_CANCEL = "cancel.json"

log = logging.getLogger(__name__)


class LaunchFolder:
    """The files of one launch: ``launches/<time>-<random>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.workers_log = path / "workers.log"
        """What workers of the local pool say besides results."""
        self.jobs = path / "jobs"
        """What the scheduler's jobs read and write: submitted functions, their output."""

    def task_log(self, index: int) -> Path:
        """What workers of an array task say besides results; it exists once the task has begun to train."""
        return self.jobs / f"workers_{index}.log"

    @staticmethod
    def create(parent: Path, about: Mapping[str, Any]) -> LaunchFolder:
        """Begin a launch.

        Raises:
            RunError: the folder cannot be written.
        """
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"
        launch = LaunchFolder(parent / name)
        launch.write_about(about)
        return launch

    def exists(self) -> bool:
        """Whether the launch was noted; a process may have died before it could."""
        return (self.path / _ABOUT).exists()

    def note(self, **more: Any) -> None:
        """Add to what is known about the launch."""
        self.write_about({**self.about(), **more})

    @property
    def token(self) -> str:
        """What names the launch, in jobs' names too."""
        return self.path.name.rpartition("-")[2]

    def about(self) -> dict[str, Any]:
        """What is known about the launch."""
        return _checked(self.path / _ABOUT, read_json_object(self.path / _ABOUT, file_names=True))

    def belongs_to(self, folder_number: int) -> bool:
        """Return whether the launch is one of the run folder with that inode; False if its files are damaged."""
        try:
            return bool(self.about().get("folder", folder_number) == folder_number)
        except (RunError, TypeError, ValueError) as error:
            log.warning("launch %s is left out: %s", self.path.name, error)
            return False

    def write_about(self, about: Mapping[str, Any]) -> None:
        """Write what is known about the launch."""
        write_json(self.path / _ABOUT, dict(about))

    def write_tasks(self, tasks: Sequence[Sequence[str]]) -> None:
        """Write which trials each of the scheduler's tasks has."""
        write_json(self.path / _TASKS, [list(task) for task in tasks])

    def tasks(self) -> list[list[str]]:
        """Which trials each of the scheduler's tasks has; none for a local launch."""
        path = self.path / _TASKS
        if not path.exists():
            return []
        tasks = read_json(path)
        if not isinstance(tasks, list) or not all(isinstance(task, list) and all(map(_is_key, task)) for task in tasks):
            raise RunError(f"{path} does not hold lists of trials, one for each task; it may have been edited")
        return tasks

    def cancel(self, who: str) -> None:
        """Tell the launch to end, wherever it runs."""
        write_json(self.path / _CANCEL, {"by": who})

    @property
    def is_cancelled(self) -> bool:
        """Whether the launch was told to end; not known, and so False, while the folder cannot be read."""
        with contextlib.suppress(OSError):
            return (self.path / _CANCEL).exists()
        return False

    @property
    def cancelled_by(self) -> str:
        """Who told it to end; empty if nobody did."""
        return (
            str(read_json_object(self.path / _CANCEL, file_names=True).get("by", "somebody"))[:200]
            if self.is_cancelled
            else ""
        )


_KINDS = {
    "owner": dict,
    "arrays": list,
    "launcher": str,
    "folder": int,
    "workers": int,
    "code": str,
    "user": str,
    "data_root": str,
    "ended": bool,
}
"""What stands in launch.json where the program reads it, and of which kind it is."""


def _checked(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What is known about a launch, if all that the program reads of it is of the right kind."""
    for key, kind in _KINDS.items():
        if about.get(key) is not None and not isinstance(about[key], kind):
            raise RunError(f"{path}: {key} must be of type {kind.__name__}, not {shown(about[key])}")
    try:
        if "owner" in about:
            claims.owner_from(about["owner"])
        for array in about.get("arrays") or []:
            given = mapping("arrays", array, ("name", "first", "count", "job_id"), ("name", "first", "count"))
            for key in ("name", "job_id"):
                text(f"arrays: {key}", given.get(key, ""), 400)
            for key in ("first", "count"):
                whole(f"arrays: {key}", given[key], 0, 1_000_000)
    except InputError as error:
        raise RunError(f"{path}: {error}") from error
    return about


def _is_key(value: Any) -> bool:
    """Whether a value can be the key of a trial."""
    return isinstance(value, str) and is_key(value)
