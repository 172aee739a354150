"""Stop all processes and SLURM jobs that work on a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.sweeps.upkeep import cancel
from designspace.trials.open import find_runs


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/cancel.yaml, which describes them."""

    run: Path


def run(options: Options) -> None:
    """Cancel the launches of the runs, and print what was stopped."""
    for folder in find_runs(options.run):
        cancelled = cancel(folder)
        print(f"{folder.path}: {'cancelled ' + '; '.join(cancelled) if cancelled else 'nothing is running'}")


if __name__ == "__main__":
    app.main("cancel", run)
