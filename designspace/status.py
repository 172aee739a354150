"""Show the status of runs and of their trials; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from designspace.cli import app
from designspace.cli.options import one_of
from designspace.cli.tables import print_table, repeat
from designspace.support.errors import InputError
from designspace.support.text import duration
from designspace.sweeps.status import RunStatus, TrialStatus, run_status, tasks_in_queue, trial_status
from designspace.trials.metric import Metric
from designspace.trials.open import find_runs
from designspace.trials.ranking import check_none_edited
from designspace.trials.run import Run
from designspace.trials.state import STATUSES, TrialState


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/status.yaml, which describes them."""

    run: Path
    trials: Annotated[str, one_of("status", (*STATUSES, "all"))] | None
    trial: str | None
    watch: bool


def run(options: Options) -> None:
    """Print a row for each run, its failed trials, its jobs in the queue, and the chosen trials."""
    runs = {_label(folder, options.run): folder for folder in find_runs(options.run)}
    show_runs = partial(show, runs, options.trials, options.trial)
    if options.watch:
        repeat(show_runs, lambda statuses: all(status.left_s == 0 for status in statuses))
        return
    for status in show_runs():
        check_none_edited(status.states)


def show(runs: Mapping[str, Run], kinds: str | None, trial: str | None = None) -> list[RunStatus]:
    """Print the status of runs and return it.

    Args:
        runs: name of the run in the table -> run.
        kinds: also list the trials of this status, or ``all``.
        trial: also list this trial, by its key, or all trials of a network, by its id.

    Raises:
        InputError: no run has that trial.
    """
    statuses = {name: run_status(folder) for name, folder in runs.items()}
    counts = [kind for kind in STATUSES if any(kind in status.counts for status in statuses.values())]
    header = ("run", *counts, "trials/h", "time left")
    print_table("", header, [_row(name, status, counts) for name, status in statuses.items()])
    if best := [_best_row(name, status) for name, status in statuses.items() if status.best_id]:
        name = common_name([status.metric for status in statuses.values() if status.best_id])
        print_table("\nbest so far", ("run", name, "trial", f"source of {name}", "expected end"), best, texts=(0, 2, 3))
    failures = [(name, reason, k) for name, status in statuses.items() for reason, k in status.reasons.items()]
    if failures:
        print_table("\nfailed", ("run", "reason", "trials"), failures, texts=(0, 1))
    for name, status in statuses.items():
        if status.left_s == 0:
            continue
        if line := tasks_in_queue(runs[name], status.states):
            print(line)
        elif not status.counts["running"]:
            print(f"{name}: no trial is running; to train the others: {runs[name].resume_command()}")
    if trial:
        chosen = [
            (name, state)
            for name, status in statuses.items()
            for state in status.states
            if trial in (state.key, state.id)
        ]
        if not chosen:
            raise InputError(f"{', '.join(str(run.path) for run in runs.values())}: there is no trial {trial!r}")
        show_trials(f"trials: {trial}", runs, chosen)
    if kinds:
        chosen = [
            (name, state)
            for name, status in statuses.items()
            for state in status.states
            if kinds in ("all", state.status)
        ]
        show_trials(f"trials: {kinds}", runs, chosen)
    return list(statuses.values())


def show_trials(title: str, runs: Mapping[str, Run], states: Sequence[tuple[str, TrialState]]) -> None:
    """Print a table of trials, and below it where each one ran, why it failed, and its log."""
    trials = [(name, trial_status(runs[name], state)) for name, state in states]
    metrics = {name: runs[name].metric() for name, _ in trials}
    header = ("run", "trial", "status", "epochs", common_name(metrics.values()), "attempts")
    rows = [_trial_row(name, trial, metrics[name]) for name, trial in trials]
    print_table(f"\n{title}", header, rows, texts=(0, 1, 2))
    for _, trial in trials:
        details = [("where", trial.where), ("reason", trial.detail), ("log", trial.log)]
        if lines := [f"  {label + ':':<8}{text}" for label, text in details if text]:
            print("\n".join([trial.key, *lines]))


def _label(run: Run, top: Path) -> str:
    """Return the name of a run in the table: its own name, or its path below the given folder."""
    return run.name if run.path == top else str(run.path.relative_to(top))


def _row(name: str, status: RunStatus, counts: Sequence[str]) -> tuple[object, ...]:
    """Return the row of a run with some of its counts and its speed."""
    speed = status.trials_per_hour
    return (
        name,
        *(status.counts.get(kind, 0) for kind in counts),
        None if speed is None else f"{speed:.3g}" if speed < 10 else f"{speed:.0f}",
        duration(status.left_s) if status.left_s else None,
    )


def _best_row(name: str, status: RunStatus) -> tuple[object, ...]:
    """Return the row of a run with its best trial and expected end."""
    heldout = any(state.result and state.result.heldout_error is not None for state in status.states)
    source = ", ".join(filter(None, [status.best_kind, "held-out images" if heldout else ""]))
    end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + status.left_s)) if status.left_s else None
    assert status.best_error is not None
    return (name, status.metric.text(status.best_error), status.best_id, source or None, end)


def common_name(metrics: Collection[Metric]) -> str:
    """Return the name of the metrics of several runs, or a general one if they differ."""
    names = {metric.name for metric in metrics}
    return names.pop() if len(names) == 1 else "score"


def _trial_row(name: str, trial: TrialStatus, metric: Metric) -> tuple[object, ...]:
    """Return the row of a trial."""
    error = None if trial.error is None else metric.text(trial.error)
    return (name, trial.key, trial.status, trial.epochs, error, trial.attempts or None)


if __name__ == "__main__":
    app.main("status", run)
