"""Where a run stands, read from its files: counts, speed, what is left, and what each trial is at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.support.errors import InputError, RunError
from designspace.support.text import counted
from designspace.sweeps.ended_tasks import ended_tasks
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.ranking import RankedNetwork, ranking
from designspace.trials.run import Run
from designspace.trials.trial_folder import STATUSES, TrialState

RECENT = 50
"""So many trials tell the speed of a run."""
COPIED = 0.1
"""A trial whose files tell less than this part of its training time was copied, not trained, when they say."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where one run stands."""

    name: str
    counts: dict[str, int]
    """Status -> number of trials."""
    reasons: dict[str, int]
    """Reason of failure -> number of trials."""
    best_error: float | None
    """The error of the best network so far, in per cent: on held-out images where the recipe has some, else the final
    one; the mean over the seeds that rank it (see `designspace.trials.ranking`)."""
    best_id: str
    """The trial of the best network whose weights `designspace.load` gives; empty before the first."""
    trials_per_hour: float | None
    """Ended trials per hour, over the last of them; None before the first."""
    states: tuple[TrialState, ...]
    """Of each trial, in the order in which they are trained."""
    best_kind: str = ""
    """Number and kind of the seeds behind the best error, in words; empty for a single training."""

    @property
    def total(self) -> int:
        """Trials asked for."""
        return sum(self.counts.values())

    @property
    def left_s(self) -> float | None:
        """Seconds until all have ended, at the speed so far; None while that is unknown, or nothing runs."""
        left = self.counts["running"] + self.counts["waiting"]
        if not left:
            return 0.0
        return left / self.trials_per_hour * 3600 if self.trials_per_hour and self.counts["running"] else None


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """What one trial is at, or how it ended."""

    key: str
    status: str
    epochs: int
    """Epochs completed."""
    error: float | None
    """Test error of the last of them, in per cent."""
    detail: str
    """Why it failed."""
    tries: int
    """Tries that ended badly."""
    where: str
    """Where it runs, or ran last."""
    log: Path | None
    """None before it has begun."""


def run_status(run: Run, only: Collection[str] | None = None) -> RunStatus:
    """Read where a run stands from its files, changing none.

    Args:
        run: the run folder.
        only: count these trials; by default all of the run.
    """
    plan = run.plan()
    every = run.states(run.trial_keys(plan))
    states = every if only is None else [state for state in every if state.key in only]
    counts = Counter(dict.fromkeys(STATUSES, 0))
    counts.update(state.status for state in states)
    best = next(iter(ranking_of_run(run, every, plan)), None)
    return RunStatus(
        run.name,
        dict(counts),
        dict(Counter(state.failure.reason for state in states if state.failure)),
        best.mean if best else None,
        best.state.key if best else "",
        _speed(run, states),
        tuple(states),
        best.kind() if best and len(best.errors) > 1 else "",
    )


def ranking_of_run(run: Run, states: Sequence[TrialState], plan: Plan | None) -> list[RankedNetwork]:
    """Return the networks that have a result, the best one first."""
    # Only means over several seeds need the space: a damaged space.yaml must not hide where a run stands.
    if isinstance(run, RunFolder) and plan is not None and plan.repeats:
        return ranking(states, plan, run.space().template.num_classes)
    return ranking(states, plan, 2)


def trial_status(run: Run, state: TrialState) -> TrialStatus:
    """Read what a trial is at."""
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
    """What SLURM has of a run's tasks, in words, or how they ended; nothing if the run was never launched there."""
    if not any(launch.about().get("arrays") for launch in run.launches()):
        return ""
    from designspace.sweeps.slurm import queued  # submitit is loaded where it is used

    try:
        trials = queued(run)
    except (InputError, RunError) as error:
        return f"{run.name}: queue unknown ({error})"
    tasks = {job.id: job for job in trials.values()}
    if not tasks:
        return ended_tasks(run, states).in_words or f"{run.name}: SLURM has no tasks of this run any more"
    kinds = Counter(
        f"{job.state.lower()}{f' ({job.reason})' if job.state == 'PENDING' else ''}" for job in tasks.values()
    )
    parts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    return f"{run.name}: SLURM has {counted(len(tasks), 'task')} for {counted(len(trials), 'trial')}: {parts}"


def _speed(run: Run, states: Sequence[TrialState]) -> float | None:
    """Trials per hour over the last `RECENT` trials that ended, so that a pause before them does not count.

    Copied trials do not count, since their files say when they were copied.
    """
    recent = sorted((state for state in states if state.ended), key=lambda state: state.ended)[-RECENT:]
    begun = [(start, state) for state in recent if (start := run.trial(state.key).begun) is not None]
    copied = {s.key for start, s in begun if s.result and s.ended - start < COPIED * s.result.train_s}
    if copied:  # failures that were copied cannot be told from trials that failed at once
        begun = [(start, state) for start, state in begun if state.result and state.key not in copied]
    if not begun:
        return None
    span = max(state.ended for _, state in begun) - min(start for start, _ in begun)
    return len(begun) / span * 3600 if span > 0 else None
