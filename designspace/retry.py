"""Make failed trials wait again, so that the next launch tries them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.support.text import counted
from designspace.sweeps.upkeep import retry
from designspace.trials.open import find_runs


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Retry, and say which trials wait now."""
    for folder in find_runs(Path(config["run"])):
        waiting = retry(folder, config["reason"], config["trial"])
        verb = "waits" if len(waiting) == 1 else "wait"
        print(
            f"{folder.path}: {counted(len(waiting), 'trial')} {verb} again{': ' if waiting else ''}{', '.join(waiting)}"
        )
        if waiting:
            print(f"train them: {folder.resume_command()}")


if __name__ == "__main__":
    app.main("retry", run)
