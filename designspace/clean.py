"""List what a run no longer needs, and delete what is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.support.text import command, counted, quantity
from designspace.sweeps.upkeep import KINDS, delete, leftovers
from designspace.trials.open import find_runs


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/clean.yaml, which says what they mean."""

    run: Path
    delete: tuple[str, ...] | None
    keep_best: int


def run(options: Options) -> None:
    """Say what could be deleted and what it holds; delete the kinds that were named."""
    for folder in find_runs(options.run):
        found = leftovers(folder, options.keep_best)
        rows = [
            (kind, len(found[kind]), f"{quantity(sum(size for _, size in found[kind]))}B", KINDS[kind])
            for kind in KINDS
        ]
        print_table(
            f"{folder.path}: what could be deleted", ("kind", "files", "size", "what it is"), rows, texts=(0, 3)
        )
        if options.delete:
            count, size = delete(found, options.delete)
            print(f"{counted(count, 'file')}, {quantity(size)}B, {'was' if count == 1 else 'were'} deleted")
        else:
            print(f"delete some: {command('clean', run=folder.path, delete=list(KINDS))}")


if __name__ == "__main__":
    app.main("clean", run)
