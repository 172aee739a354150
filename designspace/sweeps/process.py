"""A worker's process as the pool sees it: started on its slot, spoken to through pipes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.sweeps.fork_server import ForkServer
from designspace.sweeps.messages import Event, Order, Task


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one worker."""

    device: str
    """``cpu`` or ``cuda``."""
    gpus: tuple[int, ...] = ()
    """The GPUs that the worker sees, of those that this process sees."""


class Process:
    """A running worker and the task that it is at."""

    def __init__(self, slot: Slot, server: ForkServer, environment: Mapping[str, str]) -> None:
        self.slot = slot
        self.task: Task | None = None
        self.training_since: float | None = None
        """When its trial began; None while it has none, or loads images for it."""
        self.is_ready = self.is_leaving = False
        self.had_epochs = 0
        """Epochs that its trial had when it began here."""
        self.has_progressed = False
        """Whether its trial has completed another one."""
        self.is_over_time = False
        """Whether it was ended because its trial took too long."""
        self.kills_seen = out_of_memory_kills()
        self._rest = b""
        self.process = server.start({**_visible_gpus(slot.gpus), **environment})
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def give(self, order: Order | None) -> None:
        """Hand the worker its next task, or None for the end."""
        self.task = order.task if order else None
        self.training_since = None
        self.has_progressed = False
        self.kills_seen = out_of_memory_kills()
        with contextlib.suppress(BrokenPipeError):  # a worker that died is noticed when its output ends
            if order is None:
                self.stdin.close()
            else:
                self.stdin.write(order.to_line())
                self.stdin.flush()

    def hear(self, event: Event) -> None:
        """Keep in mind what an event says about the worker and its trial."""
        if event.kind == "ready":
            self.is_ready = True
        elif event.kind == "leaving":
            self.is_leaving = True
        elif event.kind == "started":
            self.training_since, self.had_epochs = time.monotonic(), event.epoch
        elif event.kind == "epoch" and event.epoch > self.had_epochs:  # not one read back from a checkpoint
            self.has_progressed = True

    def kill(self) -> None:
        """End the worker and whatever it has started."""
        self.process.kill()

    def events(self) -> list[Event] | None:
        """What the worker has said by now; None when its output has ended."""
        chunk = os.read(self.stdout.fileno(), 65536)
        if not chunk:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [Event.from_line(line) for line in lines]

    def close(self) -> None:
        """Close the pipes of a worker that has ended."""
        for stream in (self.stdin, self.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _visible_gpus(gpus: Sequence[int]) -> dict[str, str]:
    """Return the variable that shows a process some of the GPUs that this one sees; nothing for no GPUs."""
    if not gpus:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return {"CUDA_VISIBLE_DEVICES": ",".join(visible[gpu] if any(visible) else str(gpu) for gpu in gpus)}


def out_of_memory_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
