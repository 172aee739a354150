"""Status of a run, read from its files: counts, speed, remaining time, and the status of each trial."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.support.errors import InputError, RunError
from designspace.support.text import counted
from designspace.sweeps.ended_tasks import ended_tasks
from designspace.trials.folder import RunFolder
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.plan import Plan
from designspace.trials.ranking import RankedNetwork, ranking
from designspace.trials.run import Run
from designspace.trials.state import STATUSES, TrialState

RECENT_TRIALS = 50
"""Number of recent trials used to measure the speed of a run."""
COPIED_FRACTION = 0.1
"""If the times of a trial's files cover less than this fraction of its training time, the files were copied."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Status of a run."""

    name: str
    counts: dict[str, int]
    """Status -> number of trials; ``stopped`` only if there are some."""
    reasons: dict[str, int]
    """Reason of failure -> number of trials."""
    best_error: float | None
    """Error of the best network so far: on held-out images if the recipe has some, otherwise the final one;
    the mean over the seeds that count (see `designspace.trials.ranking`)."""
    best_id: str
    """Key of the trial of the best network whose weights `designspace.load` loads; empty before the first result."""
    trials_per_hour: float | None
    """Finished trials per hour, over the most recent ones; None before the first."""
    states: tuple[TrialState, ...]
    """States of the trials, in the order in which they are trained."""
    best_kind: str = ""
    """Number and kind of the seeds of the best error, as text; empty for a single seed."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    @property
    def total(self) -> int:
        """Number of trials."""
        return sum(self.counts.values())

    @property
    def left_s(self) -> float | None:
        """Seconds until all are finished, at the current speed; None if it is unknown or nothing is running."""
        unfinished = self.counts["running"] + self.counts["waiting"]
        if not unfinished:
            return 0.0
        return unfinished / self.trials_per_hour * 3600 if self.trials_per_hour and self.counts["running"] else None


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """Status of a trial."""

    key: str
    status: str
    epochs: int
    """Number of completed epochs."""
    error: float | None
    """Test error of the last epoch, in percent."""
    detail: str
    """Cause of its failure."""
    attempts: int
    """Number of failed attempts."""
    where: str
    """Process that is training it, or was the last to do so."""
    log: Path | None
    """Path of its log; None if it has not started."""


def run_status(run: Run, only: Collection[str] | None = None) -> RunStatus:
    """Read the status of a run from its files. Changes no file.

    Args:
        run: the run folder.
        only: keys of the trials to count; by default all.
    """
    plan = run.plan()
    all_states = run.states(run.trial_keys(plan))
    states = all_states if only is None else [state for state in all_states if state.key in only]
    best = next(iter(ranking_of_run(run, all_states, plan)), None)
    return RunStatus(
        run.name,
        count_statuses(state.status for state in states),
        dict(Counter(state.failure.reason for state in states if state.failure)),
        best.mean if best else None,
        best.state.key if best else "",
        _speed(run, states),
        tuple(states),
        best.kind() if best and len(best.errors) > 1 else "",
        run.metric(),
    )


def count_statuses(statuses: Iterable[str]) -> dict[str, int]:
    """Return how many trials have each status; ``stopped`` is left out if there are none."""
    counts = Counter(dict.fromkeys([status for status in STATUSES if status != "stopped"], 0))
    counts.update(statuses)
    return dict(counts)


def ranking_of_run(run: Run, states: Sequence[TrialState], plan: Plan | None) -> list[RankedNetwork]:
    """Return the networks that have a result, the best one first."""
    # Only means over several seeds need the space: a damaged space.yaml must not hide the status of a run.
    if isinstance(run, RunFolder) and plan is not None and plan.repeats:
        return ranking(states, plan, run.space().template.num_classes)
    return ranking(states, plan, 2)


def trial_status(run: Run, state: TrialState) -> TrialStatus:
    """Read the status of a trial."""
    folder = run.trial(state.key)
    history = folder.known_history()
    where = ""
    if state.claim is not None and state.claim.owner is not None:
        owner = state.claim.owner
        where = f"{owner.host}, process {owner.pid}{f', job {owner.job}' if owner.job else ''}"
        where += "" if state.status == "running" else " (gone)"
    return TrialStatus(
        state.key,
        state.status,
        state.result.epochs if state.result else len(history),
        state.result.final_error if state.result else history[-1].test_error if history else None,
        f"{state.failure.reason}: {state.failure.detail}" if state.failure else "",
        len(folder.attempts()),
        where,
        folder.log if os.path.lexists(folder.log) else None,
    )


def tasks_in_queue(run: Run, states: Sequence[TrialState]) -> str:
    """Describe the tasks of a run in SLURM's queue, or how they ended; empty if the run was never launched there."""
    launches = [launch for launch in run.launches() if launch.about().get("arrays")]
    if not launches:
        return ""
    from designspace.sweeps.slurm import measurements_in_queue, queued  # submitit is loaded where it is used

    try:
        trials, measurements = queued(run), measurements_in_queue(run)
    except (InputError, RunError) as error:
        return f"{run.name}: queue unknown ({error})"
    tasks = {job.id: job for job in trials.values()}
    if measurements and not tasks:
        states_of_jobs = ", ".join(job.state.lower() for job in measurements)
        return f"{run.name}: SLURM has a task that measures the networks: {states_of_jobs}"
    if all(launch.is_measurement for launch in launches):
        return ""
    if not tasks:
        return ended_tasks(run, states).message or f"{run.name}: SLURM has no tasks of this run any more"
    kinds = Counter(
        f"{job.state.lower()}{f' ({job.reason})' if job.state == 'PENDING' else ''}" for job in tasks.values()
    )
    parts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    return f"{run.name}: SLURM has {counted(len(tasks), 'task')} for {counted(len(trials), 'trial')}: {parts}"


def _speed(run: Run, states: Sequence[TrialState]) -> float | None:
    """Return the trials per hour over the last `RECENT_TRIALS` finished trials, so that earlier pauses do not count.

    Copied trials do not count, since their files have the times of the copy.
    """
    recent = sorted((state for state in states if state.finished_at), key=lambda state: state.finished_at)[
        -RECENT_TRIALS:
    ]
    timed = [(start, state) for state in recent if (start := run.trial(state.key).started_at) is not None]
    copied = {s.key for start, s in timed if s.result and s.finished_at - start < COPIED_FRACTION * s.result.train_s}
    if copied:  # copied failures cannot be distinguished from trials that failed immediately
        timed = [(start, state) for start, state in timed if state.result and state.key not in copied]
    if not timed:
        return None
    span = max(state.finished_at for _, state in timed) - min(start for start, _ in timed)
    return len(timed) / span * 3600 if span > 0 else None
