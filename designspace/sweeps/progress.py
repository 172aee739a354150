"""What a progress bar shows while trials run, here or elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.sweeps.messages import Event, Task
from designspace.sweeps.status import run_status
from designspace.trials.run import Run

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """How far some runs are."""

    total: int
    """Trials."""
    finished: int = 0
    failed: int = 0
    """Trials that failed since the start."""
    best: float | None = None
    """The least error so far, in per cent: on held-out images where the recipe has some, else the final one."""
    left_s: float | None = None
    """Seconds until the end; None while that is unknown."""
    left: int = 0
    """Trials that were left to another launch, or that no task has."""

    def look(self, runs: Sequence[Run], only: Collection[str] | None = None) -> None:
        """Bring it up to date from the files: for all trials of the runs, or for those with some keys."""
        statuses = [run_status(run, only) for run in runs]
        self.total = sum(status.total for status in statuses)
        self.failed = sum(status.counts["failed"] for status in statuses)
        self.finished = sum(status.counts["done"] for status in statuses) + self.failed
        self.best = min((s.best_error for s in statuses if s.best_error is not None), default=None)
        speed = sum(status.trials_per_hour or 0.0 for status in statuses)
        self.left_s = (self.total - self.finished) / speed * 3600 if speed else None
        self.left = self.total - self.finished


class PoolProgress(Progress):
    """The progress of a pool, told by its events."""

    def __init__(self, tasks: Sequence[Task], epochs: int, finished: int = 0, best: float | None = None) -> None:
        super().__init__(len(tasks) + finished, finished, best=best)
        self._epochs = epochs
        self._left = dict.fromkeys(tasks, epochs)
        self._owed = len(tasks) * epochs
        self._seen = 0
        self._started = time.monotonic()

    def take(self, task: Task, event: Event) -> None:
        """Take in an event of a worker."""
        left = {"epoch": self._epochs - event.epoch, "done": 0, "failed": 0, "skipped": 0}.get(event.kind)
        if left is None:
            return
        if event.kind == "epoch":
            self._seen += 1
        else:
            self.finished += 1
            self.failed += event.kind == "failed"
        self._owed += left - self._left[task]
        self._left[task] = left
        if event.kind == "done" and event.error is not None:
            self.best = event.error if self.best is None else min(self.best, event.error)
        if self._seen:
            self.left_s = self._owed / self._seen * (time.monotonic() - self._started)


def tasks_of(runs: Sequence[Run], only: Collection[str] | None = None) -> tuple[list[Task], int, float | None]:
    """Return the trials left to train, in turns from each run; the number of finished ones; and the least error so far.

    Args:
        runs: the run folders.
        only: keys of the trials that count; by default all.
    """
    queues: list[list[Task]] = []
    finished, errors = 0, []
    for run in runs:
        states = run.states([key for key in run.trial_keys() if only is None or key in only])
        ended = [state for state in states if state.has_ended]
        finished += len(ended)
        for state in ended:
            if state.is_damaged and state.failure:
                log.warning("%s; so the trial counts as failed (designspace.retry makes it wait)", state.failure.detail)
        errors += [state.result.selection_error for state in ended if state.result]
        path = str(Path(run.path).resolve())
        queues.append([Task(path, state.key) for state in states if not state.has_ended])
    longest = max((len(queue) for queue in queues), default=0)
    tasks = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    return tasks, finished, min(errors, default=None)
