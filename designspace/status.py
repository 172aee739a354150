"""Say where runs stand, and each of their trials; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table, repeat
from designspace.spaces.population import POPULATION_FILE
from designspace.support.errors import InputError
from designspace.support.text import duration
from designspace.sweeps.status import RunStatus, TrialStatus, run_status, tasks_in_queue, trial_status
from designspace.trials.folder import RunFolder


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Print a row for each run, what failed and what is queued, and the trials that were asked for."""
    folders = find_runs(Path(config["run"]))
    kinds = config["trials"]
    if config["watch"]:
        repeat(lambda: show(folders, kinds), lambda statuses: all(status.left_s == 0 for status in statuses))
    else:
        show(folders, kinds)


def show(folders: Sequence[RunFolder], kinds: str | None) -> list[RunStatus]:
    """Print where runs stand, and give it."""
    statuses = [run_status(folder) for folder in folders]
    header = ("run", "done", "failed", "running", "waiting", "best error", "trials/h", "time left", "expected end")
    print_table("", header, [_row(status) for status in statuses])
    failures = [(s.name, reason, k) for s in statuses for reason, k in s.reasons.items()]
    if failures:
        print_table("failed", ("run", "reason", "trials"), failures)
    for folder, status in zip(folders, statuses, strict=True):
        if status.left_s != 0 and (line := tasks_in_queue(folder, status.states)):
            print(line)
    if kinds:
        show_trials(folders, statuses, kinds)
    return statuses


def show_trials(folders: Sequence[RunFolder], statuses: Sequence[RunStatus], kinds: str) -> None:
    """Print the trials of some status, or all of them."""
    found = [
        (status.name, trial_status(folder, state))
        for folder, status in zip(folders, statuses, strict=True)
        for state in status.states
        if kinds in ("all", state.status)
    ]
    header = ("run", "trial", "status", "epochs", "error", "tries", "where", "log or reason")
    print_table(f"trials: {kinds}", header, [_trial_row(name, trial) for name, trial in found])


def find_runs(path: Path) -> list[RunFolder]:
    """The run folder at a path, or those just below it.

    Raises:
        InputError: there is none.
    """
    folders = (
        [path] if (path / POPULATION_FILE).exists() else sorted(p.parent for p in path.glob(f"*/{POPULATION_FILE}"))
    )
    if not folders:
        raise InputError(f"{path} is no run folder and holds none; make one with python -m designspace.sample")
    return [RunFolder(folder) for folder in folders]


def _row(status: RunStatus) -> tuple[object, ...]:
    """A run in a table."""
    left = status.left_s
    heldout = any(state.result and state.result.heldout_error is not None for state in status.states)
    which = f"{status.best_id}, held-out images" if heldout else status.best_id
    return (
        status.name,
        *status.counts.values(),
        "" if status.best_error is None else f"{status.best_error:.2f}% ({which})",
        "" if status.trials_per_hour is None else f"{status.trials_per_hour:.0f}",
        duration(left),
        time.strftime("%a %d %b %H:%M", time.localtime(time.time() + left)) if left else "",
    )


def _trial_row(name: str, trial: TrialStatus) -> tuple[object, ...]:
    """A trial in a table."""
    error = "" if trial.error is None else f"{trial.error:.2f}%"
    last = trial.detail or (str(trial.log) if trial.log else "")
    return (name, trial.id, trial.status, trial.epochs, error, trial.tries or "", trial.where, last)


if __name__ == "__main__":
    app.main("status", run)
