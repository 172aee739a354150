"""A launch on disk: who started it, with which code and settings, and whether it was cancelled."""

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
MEASUREMENT = "measurement"
"""Purpose of a launch that measures the networks and trains none."""

log = logging.getLogger(__name__)


class LaunchFolder:
    """The files of one launch: ``launches/<time>-<random>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.workers_log = path / "workers.log"
        """Log of the workers of the local pool."""
        self.jobs = path / "jobs"
        """Files of the scheduler's jobs: submitted functions and their output."""

    def task_log(self, index: int) -> Path:
        """Return the path of the log of an array task's workers. It exists once the task has started its pool."""
        return self.jobs / f"workers_{index}.log"

    @staticmethod
    def create(parent: Path, about: Mapping[str, Any]) -> LaunchFolder:
        """Create the folder of a new launch.

        Raises:
            RunError: the folder cannot be written.
        """
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"
        launch = LaunchFolder(parent / name)
        launch.write_about(about)
        return launch

    def exists(self) -> bool:
        """Return whether the launch was recorded; its process may have been killed before."""
        return (self.path / _ABOUT).exists()

    def update(self, **more: Any) -> None:
        """Add fields to the record of the launch."""
        self.write_about({**self.about(), **more})

    @property
    def is_measurement(self) -> bool:
        """Whether the launch measures the networks instead of training them."""
        return self.about().get("purpose") == MEASUREMENT

    @property
    def token(self) -> str:
        """Random name of the launch, which the names of its jobs contain."""
        return self.path.name.rpartition("-")[2]

    def about(self) -> dict[str, Any]:
        """Read the record of the launch."""
        return _checked(self.path / _ABOUT, read_json_object(self.path / _ABOUT, file_names=True))

    def belongs_to(self, folder_number: int) -> bool:
        """Return whether the launch belongs to the run folder with that inode; False if its files are damaged."""
        try:
            return bool(self.about().get("folder", folder_number) == folder_number)
        except (RunError, TypeError, ValueError) as error:
            log.warning("launch %s is ignored: %s", self.path.name, error)
            return False

    def write_about(self, about: Mapping[str, Any]) -> None:
        """Write the record of the launch."""
        write_json(self.path / _ABOUT, dict(about))

    def write_tasks(self, tasks: Sequence[Sequence[str]]) -> None:
        """Write the keys of the trials of each array task."""
        write_json(self.path / _TASKS, [list(task) for task in tasks])

    def tasks(self) -> list[list[str]]:
        """Read the keys of the trials of each array task; empty for a local launch."""
        path = self.path / _TASKS
        if not path.exists():
            return []
        tasks = read_json(path)
        if not isinstance(tasks, list) or not all(isinstance(task, list) and all(map(_is_key, task)) for task in tasks):
            raise RunError(f"{path} does not hold lists of trials, one for each task; it may have been edited")
        return tasks

    def cancel(self, who: str) -> None:
        """Cancel the launch, wherever it runs."""
        write_json(self.path / _CANCEL, {"by": who})

    @property
    def is_cancelled(self) -> bool:
        """Whether the launch was cancelled; False while the folder cannot be read."""
        with contextlib.suppress(OSError):
            return (self.path / _CANCEL).exists()
        return False

    @property
    def cancelled_by(self) -> str:
        """Who cancelled the launch; empty if nobody did."""
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
"""The fields of launch.json that the program reads, and their types."""


def _checked(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a launch, if all fields that the program reads are valid; raise `RunError` otherwise."""
    for key, kind in _KINDS.items():
        if about.get(key) is not None and not isinstance(about[key], kind):
            raise RunError(f"{path}: {key} must be of type {kind.__name__}, not {shown(about[key])}")
    try:
        if "owner" in about:
            claims.owner_from(about["owner"])
        for array in about.get("arrays") or []:
            fields = mapping("arrays", array, ("name", "first", "count", "job_id"), ("name", "first", "count"))
            for key in ("name", "job_id"):
                text(f"arrays: {key}", fields.get(key, ""), 400)
            for key in ("first", "count"):
                whole(f"arrays: {key}", fields[key], 0, 1_000_000)
    except InputError as error:
        raise RunError(f"{path}: {error}") from error
    return about


def _is_key(value: Any) -> bool:
    """Return whether a value can be the key of a trial."""
    return isinstance(value, str) and is_key(value)
