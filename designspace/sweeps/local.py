"""The local pool: keeps workers busy on this machine until every trial has ended.

A worker is a process of its own, so that a crash takes one trial with it and no more: the trial is recorded as failed,
and another worker takes the dead one's place.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.support.errors import InputError, RunError
from designspace.sweeps.messages import Event, Task
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.trial import TrialFailure

GRACE_S = 10.0
"""How long a worker may take to end its step when it is told to stop."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one worker."""

    device: str
    """``cpu`` or ``cuda``."""
    gpu: int | None = None
    """The one GPU that the worker sees."""


def slots(device: str = "auto", workers: int | None = None) -> list[Slot]:
    """The places for workers on this machine: one a GPU, or else one a core, unless ``workers`` says how many.

    Raises:
        InputError: an unknown device, no GPU where one is asked for, or less than one worker.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, not {device!r}")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InputError(f"workers must be a whole number >= 1, or null for one a core or GPU, not {workers!r}")
    gpus = 0 if device == "cpu" else _count_gpus()
    if device == "cuda" and not gpus:
        raise InputError("device is cuda, but PyTorch finds no GPU here; use device=cpu")
    if gpus:
        return [Slot("cuda", i % gpus) for i in range(workers or gpus)]
    return [Slot("cpu")] * (workers or _count_cores())


def _count_cores() -> int:
    """Cores that this process may use (macOS does not say, and gives all)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count_gpus() -> int:
    """GPUs that PyTorch can use. Imports torch only where there is a sign of one."""
    if not any(Path(sign).exists() for sign in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return 0
    import torch

    return torch.cuda.device_count()


class _Process:
    """A running worker and the task that it is at."""

    def __init__(self, slot: Slot, data_root: Path, log: Path) -> None:
        environment = dict(os.environ)
        if slot.gpu is not None:
            visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
            environment["CUDA_VISIBLE_DEVICES"] = visible[slot.gpu] if any(visible) else str(slot.gpu)
        command = [sys.executable, "-m", "designspace.sweeps.worker", slot.device, str(data_root)]
        self.slot = slot
        self.task: Task | None = None
        self._rest = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            # A session of its own: Ctrl-C reaches the pool alone, which then lets the workers end in good order.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def give(self, task: Task | None) -> None:
        """Hand the worker its next task, or None for the end."""
        self.task = task
        with contextlib.suppress(BrokenPipeError):  # a worker that died is noticed when its output ends
            if task is None:
                self.stdin.close()
            else:
                self.stdin.write(task.to_line())
                self.stdin.flush()

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


class Pool:
    """Runs tasks on workers, one a slot, and tells ``on_event`` what happens."""

    def __init__(
        self, places: Sequence[Slot], data_root: Path, log: Path, on_event: Callable[[Task, Event], None]
    ) -> None:
        self._places = places
        self._data_root = data_root
        self._log = log
        self._on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Process] = []

    def run(self, tasks: Sequence[Task]) -> None:
        """Run all tasks to their end.

        Raises:
            RunError: a worker cannot work at all; the others are stopped first.
            KeyboardInterrupt: Ctrl-C; the workers are stopped first. What is unfinished goes on from its checkpoint
                in the next run.
        """
        waiting = deque(tasks)
        try:
            for slot in self._places[: len(tasks)]:
                self._start(slot)
            while self._workers:
                for key, _ in self._selector.select(timeout=1.0):
                    self._listen(key.data, waiting)
        finally:
            self._stop()

    def _start(self, slot: Slot) -> None:
        worker = _Process(slot, self._data_root, self._log)
        self._workers.append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)

    def _listen(self, worker: _Process, waiting: deque[Task]) -> None:
        """Take in what a worker says, and give it its next task when it is free."""
        events = worker.events()
        if events is None:
            self._bury(worker, waiting)
            return
        for event in events:
            if event.kind == "broken":
                raise RunError(event.detail)
            if worker.task is not None:
                self._on_event(worker.task, event)
            if event.kind != "epoch":
                worker.give(waiting.popleft() if waiting else None)

    def _bury(self, worker: _Process, waiting: deque[Task]) -> None:
        """A worker has ended, and another takes its place.

        A trial that it was at has failed, unless the worker was told to end (SIGTERM) and did so in good order: then
        the trial goes on from its checkpoint.
        """
        self._forget(worker)
        code = worker.process.wait()
        task = worker.task
        if task is None:
            if code:
                raise RunError(f"a worker could not start (exit code {code}); its last words are in {self._log}")
            return
        if code == 0:
            waiting.appendleft(task)
            self._start(worker.slot)
            return
        folder = RunFolder(Path(task.run)).trial(task.id)
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        failure = TrialFailure(
            "worker died", f"the worker's process ended with {cause}", epochs=len(folder.read_history())
        )
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write_failure(failure)
        claims.release(folder.claim)
        self._on_event(task, Event("failed", epoch=failure.epochs, detail=f"{failure.reason}: {failure.detail}"))
        if waiting:
            self._start(worker.slot)

    def _forget(self, worker: _Process) -> None:
        self._selector.unregister(worker.stdout)
        self._workers.remove(worker)
        worker.close()

    def _stop(self) -> None:
        """Let every worker end its step, write nothing half, and go; kill those that do not."""
        workers = list(self._workers)
        for worker in workers:
            worker.process.terminate()
            worker.give(None)
        deadline = time.monotonic() + GRACE_S
        for worker in workers:
            try:
                worker.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._forget(worker)
        self._selector.close()
