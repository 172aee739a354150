"""A launch on disk: who started it, with what code and settings, and whether it was told to end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.support.files import read_json, write_json

_ABOUT = "launch.json"
_TASKS = "tasks.json"
_CANCEL = "cancel.json"


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
        return dict(read_json(self.path / _ABOUT))

    def write_about(self, about: Mapping[str, Any]) -> None:
        """Write what is known about the launch."""
        write_json(self.path / _ABOUT, dict(about))

    def write_tasks(self, tasks: Sequence[Sequence[str]]) -> None:
        """Write which trials each of the scheduler's tasks has."""
        write_json(self.path / _TASKS, [list(task) for task in tasks])

    def tasks(self) -> list[list[str]]:
        """Which trials each of the scheduler's tasks has; none for a local launch."""
        path = self.path / _TASKS
        return list(read_json(path)) if path.exists() else []

    def cancel(self, who: str) -> None:
        """Tell the launch to end, wherever it runs."""
        write_json(self.path / _CANCEL, {"by": who})

    @property
    def is_cancelled(self) -> bool:
        """Whether the launch was told to end."""
        return (self.path / _CANCEL).exists()

    @property
    def cancelled_by(self) -> str:
        """Who told it to end; empty if nobody did."""
        return str(read_json(self.path / _CANCEL)["by"]) if self.is_cancelled else ""
