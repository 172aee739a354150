"""Tell everything at work on a run to end, on SLURM and here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.sweeps.upkeep import cancel
from designspace.trials.open import find_runs


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Cancel, and say what was told to end."""
    for folder in find_runs(Path(config["run"])):
        told = cancel(folder)
        print(f"{folder.path}: {'; '.join(told) if told else 'nothing is at work on it'}")


if __name__ == "__main__":
    app.main("cancel", run)
