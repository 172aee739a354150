"""Tell everything at work on a run to end, on SLURM and here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.sweeps.upkeep import cancel
from designspace.trials.open import find_runs


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/cancel.yaml, which says what they mean."""

    run: Path


def run(options: Options) -> None:
    """Cancel, and say what was told to end."""
    for folder in find_runs(options.run):
        told = cancel(folder)
        print(f"{folder.path}: {'; '.join(told) if told else 'nothing is at work on it'}")


if __name__ == "__main__":
    app.main("cancel", run)
