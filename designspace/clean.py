"""List what a run no longer needs, and delete what is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.support.text import command, counted, quantity
from designspace.sweeps.upkeep import KINDS, delete, leftovers
from designspace.trials.open import find_runs


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Say what could be deleted and what it holds; delete the kinds that were named."""
    named = config["delete"]
    for folder in find_runs(Path(config["run"])):
        found = leftovers(folder, config["keep_best"])
        rows = [
            (kind, len(found[kind]), f"{quantity(sum(size for _, size in found[kind]))}B", KINDS[kind])
            for kind in KINDS
        ]
        print_table(
            f"{folder.path}: what could be deleted", ("kind", "files", "size", "what it is"), rows, texts=(0, 3)
        )
        if named:
            count, size = delete(found, named)
            print(f"{counted(count, 'file')}, {quantity(size)}B, {'was' if count == 1 else 'were'} deleted")
        else:
            print(f"delete some: {command('clean', run=folder.path, delete=list(KINDS))}")


if __name__ == "__main__":
    app.main("clean", run)
