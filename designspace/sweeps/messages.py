"""What the pool and its workers say to each other: one line of JSON each, over the worker's standard streams."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told when it starts."""

    device: str
    """``cpu`` or ``cuda``."""
    data_root: str
    max_retries: int
    threads: int = 1
    """Threads of a worker on CPUs: one, since the pool has a worker per core, unless there is a single trial."""


@dataclass(frozen=True, slots=True)
class Task:
    """A trial to run."""

    run: str
    """Path of the run folder."""
    key: str
    """Of the trial (see `designspace.trials.plan`)."""


@dataclass(frozen=True, slots=True)
class Order:
    """The pool's word to a worker: run this task."""

    task: Task
    abandoned: str = ""
    """The claim on the trial that was found abandoned (`claims.Held.key`), if there is one."""

    def to_line(self) -> bytes:
        """The message as one line."""
        return json.dumps({"run": self.task.run, "key": self.task.key, "abandoned": self.abandoned}).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes | str) -> Order:
        """The order of a line."""
        fields = json.loads(line)
        return Order(Task(fields["run"], fields["key"]), fields["abandoned"])


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker has to say."""

    kind: str
    """``ready``; ``started``, when the images are there and the task's trial begins; ``epoch``, when it completed one;
    ``done`` or ``failed`` when it ended; ``retry`` when a try failed and another is due; ``skipped`` when the trial had
    ended before; ``held`` when somebody else is at work on it; ``unusable`` when its files cannot be read or written,
    so that this cannot be noted in them; ``leaving``, when the worker takes no more tasks, and what it has is for
    another; ``broken``, when it cannot train anything (no data, no such device, a full disk)."""
    epoch: int = 0
    """Epochs that the trial had completed by then."""
    error: float | None = None
    """Test error of that epoch, or final error of the trial, in per cent."""
    detail: str = ""

    @property
    def ends_task(self) -> bool:
        """Whether the worker is free again."""
        return self.kind not in ("started", "epoch", "leaving", "broken")

    def to_line(self) -> bytes:
        """The message as one line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes | str) -> Event:
        """The event of a line."""
        return Event(**json.loads(line))
