"""Compare runs by the EDFs of their errors: figure, numbers, a table, report.html."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from designspace.analysis import Results
from designspace.analysis import analyze as analyze_results
from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Gather the results of the runs, compare them, and say what was found and where it lies."""
    paths = config["runs"] if isinstance(config["runs"], list) else [config["runs"]]
    if not paths:
        raise InputError("runs is empty; give run folders, as runs=[runs/AnyNetXA,runs/AnyNetXB]")
    folders = [RunFolder(Path(path)) for path in paths]
    common = Path(os.path.commonpath([folder.path.resolve() for folder in folders]))
    show(folders, Path(config["out"]) if config["out"] else _short(common))


def show(folders: Sequence[RunFolder], out: Path) -> None:
    """Gather and analyse runs into a folder, and print the table, the conclusions and the paths."""
    for folder in folders:
        if folder.begun():
            folder.write_results()
    found = analyze_results([Results.read(folder) for folder in folders], out, provenance_of(folders))
    print_table("error, top-1, %", found.spaces.header, found.spaces.rows)
    for line in (*found.sentences, *found.notes):
        print(line)
    print(f"\nfigure: {found.figures[0]}\nreport: {found.report}")


def provenance_of(folders: Sequence[RunFolder]) -> dict[str, str]:
    """Where each run comes from, in the words of its own provenance.json."""
    return {f"{folder.name}: {key}": str(value) for folder in folders for key, value in folder.provenance().items()}


def _short(path: Path) -> Path:
    """A path relative to the working folder where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    app.main("analyze", run)
