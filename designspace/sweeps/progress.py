"""Progress of runs, for a progress bar."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.sweeps.messages import Event, Task
from designspace.sweeps.status import run_status
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.run import Run

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """Progress of some runs."""

    total: int
    """Number of trials."""
    finished: int = 0
    failed: int = 0
    """Number of trials that failed since the start."""
    best: float | None = None
    """Best error so far: on held-out images if the recipe has some, otherwise the final one."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""
    left_s: float | None = None
    """Seconds until the end; None if unknown."""
    left: int = 0
    """Number of trials that were left to another launch, or that no task has."""

    def update(self, runs: Sequence[Run], only: Collection[str] | None = None, epochs: int | None = None) -> None:
        """Update the progress from files, for all trials of the runs or for those with some keys.

        With a number of epochs, trials that have completed them count as finished.
        """
        statuses = [run_status(run, only) for run in runs]
        self.total = sum(status.total for status in statuses)
        self.failed = sum(status.counts["failed"] for status in statuses)
        self.finished = sum(status.counts["done"] for status in statuses) + self.failed
        if epochs is not None:
            states = [(run, state) for run, status in zip(runs, statuses, strict=True) for state in status.states]
            self.finished = sum(run.has_reached(state, epochs) for run, state in states)
        errors = [status.best_error for status in statuses if status.best_error is not None]
        self.metric = statuses[0].metric
        self.best = self.metric.best(errors) if errors else None
        speed = sum(status.trials_per_hour or 0.0 for status in statuses)
        self.left_s = (self.total - self.finished) / speed * 3600 if speed else None
        self.left = self.total - self.finished


class PoolProgress(Progress):
    """Progress of a pool, updated by its events."""

    def __init__(
        self,
        tasks: Sequence[Task],
        epochs: int,
        finished: int = 0,
        best: float | None = None,
        metric: Metric = TOP1_ERROR,
    ) -> None:
        super().__init__(len(tasks) + finished, finished, best=best, metric=metric)
        self._epochs = epochs
        self._remaining_epochs = dict.fromkeys(tasks, epochs)
        self._total_remaining = len(tasks) * epochs
        self._completed_epochs = 0
        self._started = time.monotonic()

    def handle_event(self, task: Task, event: Event) -> None:
        """Update the progress after an event of a task."""
        ended = dict.fromkeys(("done", "failed", "skipped", "paused"), 0)
        remaining = {"epoch": self._epochs - event.epoch, **ended}.get(event.kind)
        if remaining is None:
            return
        if event.kind == "epoch":
            self._completed_epochs += 1
        else:
            self.finished += 1
            self.failed += event.kind == "failed"
        self._total_remaining += remaining - self._remaining_epochs[task]
        self._remaining_epochs[task] = remaining
        if event.kind == "done" and event.error is not None:
            self.best = event.error if self.best is None else self.metric.best([self.best, event.error])
        if self._completed_epochs:
            epoch_s = (time.monotonic() - self._started) / self._completed_epochs
            self.left_s = self._total_remaining * epoch_s


def tasks_of(
    runs: Sequence[Run], only: Collection[str] | None = None, epochs: int | None = None
) -> tuple[list[Task], int, float | None]:
    """Return the unfinished trials, in turns from each run; the number of finished ones; and the best error so far.

    Args:
        runs: the run folders.
        only: keys of the trials to include; by default all.
        epochs: number of epochs after which a trial counts as finished; None for its end.
    """
    queues: list[list[Task]] = []
    finished, errors = 0, []
    for run in runs:
        states = run.states([key for key in run.trial_keys() if only is None or key in only])
        finished_states = [state for state in states if state.is_finished]
        due = [state for state in states if not run.has_reached(state, epochs)]
        finished += len(states) - len(due)
        for state in finished_states:
            if state.is_damaged and state.failure:
                log.warning(
                    "%s; the trial counts as failed (designspace.retry makes it wait again)", state.failure.detail
                )
        errors += [state.result.selection_error for state in finished_states if state.result]
        path = str(Path(run.path).resolve())
        queues.append([Task(path, state.key, epochs) for state in due])
    longest = max((len(queue) for queue in queues), default=0)
    tasks = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    return tasks, finished, runs[0].metric().best(errors) if errors else None
