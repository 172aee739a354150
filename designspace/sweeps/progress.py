"""How far a set of runs is: counts, speed and what is left, from what is on disk and what workers say."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.sweeps.messages import Event, Task
from designspace.trials.folder import RunFolder, TrialState

RECENT = 50
"""So many trials tell the speed of a run."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where one run stands."""

    name: str
    counts: dict[str, int]
    """Status -> number of trials."""
    reasons: dict[str, int]
    """Reason of failure -> number of trials."""
    best_error: float | None
    """The least final error so far, in per cent."""
    trials_per_hour: float | None
    """Ended trials per hour, over the last of them; None before the first."""

    @property
    def total(self) -> int:
        """Trials asked for."""
        return sum(self.counts.values())

    @property
    def left_s(self) -> float | None:
        """Seconds until all have ended, at the speed so far; None while that is unknown."""
        left = self.counts["running"] + self.counts["waiting"]
        if not left:
            return 0.0
        return left / self.trials_per_hour * 3600 if self.trials_per_hour else None


def run_status(run: RunFolder) -> RunStatus:
    """Read where a run stands from its files, changing none."""
    population = run.population()
    states = run.states(population.ids)
    counts = Counter(dict.fromkeys(("done", "failed", "running", "waiting"), 0))
    counts.update(state.status for state in states)
    errors = [state.result.final_error for state in states if state.result]
    return RunStatus(
        run.name,
        dict(counts),
        dict(Counter(state.failure.reason for state in states if state.failure)),
        min(errors, default=None),
        _speed(run, states),
    )


def _speed(run: RunFolder, states: Sequence[TrialState]) -> float | None:
    """Trials per hour over the last `RECENT` trials that ended, so that a pause before them does not count."""
    runs = [last for state in states if (last := run.trial(state.id).last_run()) is not None]
    recent = sorted(runs, key=lambda run: run[1])[-RECENT:]
    if not recent:
        return None
    span = recent[-1][1] - min(start for start, _ in recent)
    return len(recent) / span * 3600 if span > 0 else None


class Progress:
    """What a progress bar shows while a pool runs some tasks."""

    def __init__(self, tasks: Sequence[Task], epochs: int, finished: int = 0, best: float | None = None) -> None:
        self.total = len(tasks) + finished
        self.finished = finished
        self.failed = 0
        self.skipped = 0
        """Trials that another launch is at, or has ended meanwhile."""
        self.best = best
        """The least final error so far, in per cent."""
        self._epochs = epochs
        self._left = dict.fromkeys(tasks, epochs)
        self._owed = len(tasks) * epochs
        self._seen = 0
        self._started = time.monotonic()

    def take(self, task: Task, event: Event) -> None:
        """Take in an event of a worker."""
        if event.kind == "ready":
            return
        if event.kind == "epoch":
            self._seen += 1
        else:
            self.finished += 1
            self.failed += event.kind == "failed"
            self.skipped += event.kind == "skipped"
        left = self._epochs - event.epoch if event.kind == "epoch" else 0
        self._owed += left - self._left[task]
        self._left[task] = left
        if event.kind == "done" and event.error is not None:
            self.best = event.error if self.best is None else min(self.best, event.error)

    @property
    def left_s(self) -> float | None:
        """Seconds until the end, at the speed of the epochs so far; None before the first."""
        return self._owed / self._seen * (time.monotonic() - self._started) if self._seen else None


def tasks_of(runs: Sequence[RunFolder]) -> tuple[list[Task], int, float | None]:
    """What is still to do in some runs, turn about; how many trials have ended; and the best final error so far."""
    queues: list[list[Task]] = []
    finished, errors = 0, []
    for run in runs:
        states = run.states(run.population().ids)
        ended = [state for state in states if state.status in ("done", "failed")]
        finished += len(ended)
        errors += [state.result.final_error for state in ended if state.result]
        path = str(Path(run.path).resolve())
        queues.append([Task(path, state.id) for state in states if state.status not in ("done", "failed")])
    longest = max((len(queue) for queue in queues), default=0)
    tasks = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    return tasks, finished, min(errors, default=None)
