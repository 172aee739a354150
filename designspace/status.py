"""Say where runs stand, and each of their trials; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table, repeat
from designspace.spaces.population import POPULATION_FILE
from designspace.support.errors import InputError, unknown
from designspace.support.text import command, duration
from designspace.sweeps.status import RunStatus, TrialStatus, run_status, tasks_in_queue, trial_status
from designspace.trials.folder import RunFolder
from designspace.trials.trial_folder import STATUSES, TrialState, check_none_edited


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Print a row for each run, what failed and what is queued, and the trials that were asked for."""
    kinds, trial = config["trials"], config["trial"]
    if kinds is not None and kinds not in ("all", *STATUSES):
        raise unknown("status", kinds, (*STATUSES, "all"))
    runs = {_label(folder.path, Path(config["run"])): folder for folder in find_runs(Path(config["run"]))}
    if config["watch"]:
        repeat(lambda: show(runs, kinds, trial), lambda statuses: all(status.left_s == 0 for status in statuses))
        return
    for status in show(runs, kinds, trial):
        check_none_edited(status.states)


def show(runs: Mapping[str, RunFolder], kinds: str | None, trial: str | None = None) -> list[RunStatus]:
    """Print where runs stand, by the names to give them, and return it.

    Args:
        runs: by the names to give them.
        kinds: list trials of this status too, or ``all``.
        trial: list this trial too, by its key, or all trials of a network, by its id.

    Raises:
        InputError: no run has that trial.
    """
    statuses = {name: run_status(folder) for name, folder in runs.items()}
    header = ("run", "done", "failed", "running", "waiting", "trials/h", "time left")
    print_table("", header, [_row(name, status) for name, status in statuses.items()])
    if best := [_best_row(name, status) for name, status in statuses.items() if status.best_id]:
        print_table("\nbest so far", ("run", "error", "trial", "error of", "all expected by"), best, texts=(0, 2, 3))
    failures = [(name, reason, k) for name, status in statuses.items() for reason, k in status.reasons.items()]
    if failures:
        print_table("\nfailed", ("run", "reason", "trials"), failures, texts=(0, 1))
    for name, status in statuses.items():
        if status.left_s == 0:
            continue
        if line := tasks_in_queue(runs[name], status.states):
            print(line)
        elif not status.counts["running"]:
            print(f"{name}: no trial is running; to train the rest: {command('launch', run=runs[name].path)}")
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


def show_trials(title: str, runs: Mapping[str, RunFolder], states: Sequence[tuple[str, TrialState]]) -> None:
    """Print some trials of runs: a table, and below it where each ran, why it failed, and its log."""
    trials = [(name, trial_status(runs[name], state)) for name, state in states]
    header = ("run", "trial", "status", "epochs", "error", "tries")
    print_table(f"\n{title}", header, [_trial_row(name, trial) for name, trial in trials], texts=(0, 1, 2))
    for _, trial in trials:
        told = [("where", trial.where), ("reason", trial.detail), ("log", trial.log)]
        if lines := [f"  {what + ':':<8}{words}" for what, words in told if words]:
            print("\n".join([trial.key, *lines]))


def find_runs(path: Path) -> list[RunFolder]:
    """Return the run folder at a path, or those below it, at most `DEPTH` folders down.

    Raises:
        InputError: there is none.
    """
    folders = [path] if (path / POPULATION_FILE).exists() else list(_below(path, DEPTH))
    if not folders:
        raise InputError(f"{path} is no run folder and holds none; make one with python -m designspace.sample")
    return [RunFolder(folder) for folder in folders]


DEPTH = 4
"""Folders to look down for runs: enough for ``runs/<study>/<run>``, without walking through a whole disk."""


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Return the run folders below a folder; links to folders are followed only where they lead to a run."""
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # not a folder, or not ours to read
        return
    for path in inner:
        if (path / POPULATION_FILE).exists():
            yield path
        elif depth > 1 and not path.is_symlink():
            yield from _below(path, depth - 1)


def _label(folder: Path, top: Path) -> str:
    """Return what to call a run in a table: its name, or its path below the folder that was asked for."""
    return RunFolder(folder).name if folder == top else str(folder.relative_to(top))


def _row(name: str, status: RunStatus) -> tuple[object, ...]:
    """Return a run's row of counts and speed."""
    speed = status.trials_per_hour
    return (
        name,
        *status.counts.values(),
        None if speed is None else f"{speed:.3g}" if speed < 10 else f"{speed:.0f}",
        duration(status.left_s) if status.left_s else None,
    )


def _best_row(name: str, status: RunStatus) -> tuple[object, ...]:
    """Return a run's row of its best trial, and when all of them may be expected."""
    heldout = any(state.result and state.result.heldout_error is not None for state in status.states)
    source = ", ".join(filter(None, [status.best_kind, "held-out images" if heldout else ""]))
    end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + status.left_s)) if status.left_s else None
    return (name, f"{status.best_error:.2f}%", status.best_id, source or None, end)


def _trial_row(name: str, trial: TrialStatus) -> tuple[object, ...]:
    """Return a trial's row."""
    error = None if trial.error is None else f"{trial.error:.2f}%"
    return (name, trial.key, trial.status, trial.epochs, error, trial.tries or None)


if __name__ == "__main__":
    app.main("status", run)
