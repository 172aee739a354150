"""Messages between a pool and its workers: one line of JSON each, over the worker's standard streams."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a worker."""

    device: str
    """``cpu`` or ``cuda``."""
    data_root: str
    max_retries: int
    threads: int = 1
    """Threads of a worker on CPUs: one, since the pool has a worker per core, unless there is only one trial."""


@dataclass(frozen=True, slots=True)
class Task:
    """A trial that a pool is to train."""

    run: str
    """Path of the run folder."""
    key: str
    """Key of the trial (see `designspace.trials.plan`)."""
    epochs: int | None = None
    """Number of epochs after which the trial is paused; None to train it to its end."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A message from the pool that assigns a task to a worker."""

    task: Task
    abandoned: str = ""
    """Key of the abandoned claim on the trial (`claims.ObservedClaim.key`); empty if there is none."""

    def to_line(self) -> bytes:
        """Return the message as one line."""
        return json.dumps({**dataclasses.asdict(self.task), "abandoned": self.abandoned}).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes | str) -> Assignment:
        """Return the assignment in a line."""
        fields = json.loads(line)
        return Assignment(Task(fields["run"], fields["key"], fields["epochs"]), fields["abandoned"])


@dataclass(frozen=True, slots=True)
class Event:
    """A message from a worker."""

    kind: str
    """One of:

    - ``ready``: the worker has started.
    - ``started``: the images are loaded, and the training of the trial starts.
    - ``epoch``: the trial completed an epoch.
    - ``done`` or ``failed``: the trial is finished.
    - ``paused``: the trial has completed the epochs of the task, and waits.
    - ``retry``: an attempt failed, and the trial is to be attempted again.
    - ``skipped``: the trial was finished already.
    - ``held``: another process is working on the trial.
    - ``unusable``: the files of the trial cannot be read or written, so this is not recorded in them.
    - ``leaving``: the worker takes no more tasks, and its current one is for another worker.
    - ``broken``: the worker cannot train anything (no data, no such device, a full disk).
    """
    epoch: int = 0
    """Number of epochs that the trial had completed."""
    error: float | None = None
    """Test error of that epoch, or final error of the trial, in percent."""
    detail: str = ""

    @property
    def ends_task(self) -> bool:
        """Whether the worker is free for another task."""
        return self.kind not in ("started", "epoch", "leaving", "broken")

    def to_line(self) -> bytes:
        """Return the message as one line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes | str) -> Event:
        """Return the event in a line."""
        return Event(**json.loads(line))
