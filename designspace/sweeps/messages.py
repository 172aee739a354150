"""What the pool and its workers say to each other: one line of JSON each, over the worker's standard streams."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """A trial to run: the pool's word to a worker."""

    run: str
    """Path of the run folder."""
    id: str

    def to_line(self) -> bytes:
        """The message as one line."""
        return json.dumps({"run": self.run, "id": self.id}).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes | str) -> Task:
        """The task of a line."""
        return Task(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker has to say."""

    kind: str
    """``ready``; ``epoch``, when the task's trial completed one; ``done``, ``failed`` or ``skipped`` when it ended;
    ``broken``, when the worker cannot train anything (no data, no such device)."""
    epoch: int = 0
    error: float | None = None
    """Test error of that epoch, or final error of the trial, in per cent."""
    detail: str = ""

    def to_line(self) -> bytes:
        """The message as one line."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes | str) -> Event:
        """The event of a line."""
        return Event(**json.loads(line))
