"""Delete files that a run no longer needs; put small files into one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.support.text import command, counted, prefixed
from designspace.sweeps.upkeep import KINDS, delete, fold, leftovers
from designspace.trials.folded import FILE
from designspace.trials.folder import RunFolder
from designspace.trials.open import find_runs


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/clean.yaml, which describes them."""

    run: Path
    delete: tuple[str, ...] | None
    keep_best: int
    fold: bool


def run(options: Options) -> None:
    """Print which files could be deleted; delete the chosen kinds, and put the files of done trials into one."""
    for folder in find_runs(options.run):
        files = leftovers(folder, options.keep_best)
        rows = [
            (kind, len(files[kind]), f"{prefixed(sum(size for _, size in files[kind]))}B", KINDS[kind])
            for kind in KINDS
        ]
        print_table(
            f"{folder.path}: files that can be deleted", ("kind", "files", "size", "description"), rows, texts=(0, 3)
        )
        if options.delete:
            count, size = delete(files, options.delete)
            print(f"{counted(count, 'file')}, {prefixed(size)}B, {'was' if count == 1 else 'were'} deleted")
        else:
            print(f"delete them, or some of these kinds: {command('clean', run=folder.path, delete=list(KINDS))}")
        if options.fold and isinstance(folder, RunFolder):
            count = fold(folder)
            print(f"{counted(count, 'done trial')} {'was' if count == 1 else 'were'} put into {folder.path / FILE}")


if __name__ == "__main__":
    app.main("clean", run)
