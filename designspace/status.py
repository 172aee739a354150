"""Say where a run stands; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.spaces.population import POPULATION_FILE
from designspace.support.errors import InputError
from designspace.support.text import duration
from designspace.sweeps.progress import run_status
from designspace.trials.folder import RunFolder


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Print a row for each run, and the reasons of failures."""
    statuses = [run_status(folder) for folder in find_runs(Path(config["run"]))]
    header = ("run", "done", "failed", "running", "waiting", "best error", "trials/h", "time left")
    rows = [
        (
            status.name,
            *(status.counts[kind] for kind in ("done", "failed", "running", "waiting")),
            "" if status.best_error is None else f"{status.best_error:.2f}%",
            "" if status.trials_per_hour is None else f"{status.trials_per_hour:.0f}",
            duration(status.left_s),
        )
        for status in statuses
    ]
    print_table("", header, rows)
    failures = [(s.name, reason, k) for s in statuses for reason, k in s.reasons.items()]
    if failures:
        print_table("failed", ("run", "reason", "trials"), failures)


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


if __name__ == "__main__":
    app.main("status", run)
