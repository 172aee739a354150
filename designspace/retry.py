"""Make failed trials wait again, so that the next launch tries them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.status import find_runs
from designspace.sweeps.upkeep import retry


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Retry, and say which trials wait now."""
    for folder in find_runs(Path(config["run"])):
        waiting = retry(folder, config["reason"], app.as_typed("trial", typed))
        print(f"{folder.name}: {len(waiting)} trials wait again{': ' if waiting else ''}{', '.join(waiting)}")
        if waiting:
            print(f"train them: python -m designspace.launch run={folder.path}")


if __name__ == "__main__":
    app.main("retry", run)
