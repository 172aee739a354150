"""A worker process of a pool, with its slot and the pipes to it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.sweeps.fork_server import ForkServer
from designspace.sweeps.messages import Assignment, Event, Task


@dataclass(frozen=True, slots=True)
class Slot:
    """The device or devices of one worker."""

    device: str
    """``cpu`` or ``cuda``."""
    gpus: tuple[int, ...] = ()
    """Indices of the worker's GPUs among those visible to this process."""


class WorkerProcess:
    """A running worker and its current task."""

    def __init__(self, slot: Slot, server: ForkServer, environment: Mapping[str, str]) -> None:
        self.slot = slot
        self.task: Task | None = None
        self.training_since: float | None = None
        """Time at which the training of its trial started; None if it has no trial or is loading images."""
        self.is_ready = self.is_leaving = False
        self.epochs_before = 0
        """Number of epochs that its trial had completed before it started here."""
        self.has_progressed = False
        """Whether its trial has completed another epoch."""
        self.has_timed_out = False
        """Whether it was killed because its trial took too long."""
        self.kills_before = out_of_memory_kills()
        self._incomplete_line = b""
        self.process = server.start({**_visible_gpus(slot.gpus), **environment})
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def assign(self, assignment: Assignment | None) -> None:
        """Assign the worker its next task; None makes it exit."""
        self.task = assignment.task if assignment else None
        self.training_since = None
        self.has_progressed = False
        self.kills_before = out_of_memory_kills()
        with contextlib.suppress(BrokenPipeError):  # the death of a worker is detected when its output ends
            if assignment is None:
                self.stdin.close()
            else:
                self.stdin.write(assignment.to_line())
                self.stdin.flush()

    def note_event(self, event: Event) -> None:
        """Update the state of the worker after one of its events."""
        if event.kind == "ready":
            self.is_ready = True
        elif event.kind == "leaving":
            self.is_leaving = True
        elif event.kind == "started":
            self.training_since, self.epochs_before = time.monotonic(), event.epoch
        elif event.kind == "epoch" and event.epoch > self.epochs_before:  # not an epoch from a checkpoint
            self.has_progressed = True

    def kill(self) -> None:
        """Kill the worker and its child processes."""
        self.process.kill()

    def events(self) -> list[Event] | None:
        """Read the events of the worker so far; return None if its output has ended."""
        chunk = os.read(self.stdout.fileno(), 65536)
        if not chunk:
            return None
        *lines, self._incomplete_line = (self._incomplete_line + chunk).split(b"\n")
        return [Event.from_line(line) for line in lines]

    def close(self) -> None:
        """Close the pipes of a worker that has exited."""
        for stream in (self.stdin, self.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _visible_gpus(gpus: Sequence[int]) -> dict[str, str]:
    """Return the environment variable that makes only some GPUs visible to a process; empty for no GPUs."""
    if not gpus:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return {"CUDA_VISIBLE_DEVICES": ",".join(visible[gpu] if any(visible) else str(gpu) for gpu in gpus)}


def out_of_memory_kills() -> int:
    """Return the number of processes that the kernel has killed for lack of memory; 0 if it is not available."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
