"""Runs by their folders: of a population, or of a single network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from designspace.spaces.population import POPULATION_FILE
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder
from designspace.trials.run import Run
from designspace.trials.training_folder import TRAINING_FILE, TrainingFolder

DEPTH = 4
"""Folders to look down for runs: enough for ``runs/<study>/<run>``, without walking through a whole disk."""


def run_at(path: Path) -> Run:
    """Return the run whose folder is at a path: that of a single network if `train` made it, else of a population."""
    single = TrainingFolder(path)
    return single if single.exists() else RunFolder(path)


def find_runs(path: Path) -> list[Run]:
    """Return the run at a path, or those below it, at most `DEPTH` folders down.

    Raises:
        InputError: there is none.
    """
    is_named = (path / TRAINING_FILE).exists()  # then a damaged one is worth an error
    folders = [path] if is_named or _is_run(path) else list(_below(path, DEPTH))
    if not folders:
        raise InputError(f"{path} is not a run folder and holds none; make one with python -m designspace.sample")
    return [run_at(folder) for folder in folders]


def _is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    return (path / POPULATION_FILE).exists() or TrainingFolder(path).is_whole()


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Return the run folders below a folder; links to folders are followed only where they lead to a run."""
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # not a folder, or not ours to read
        return
    for path in inner:
        if _is_run(path):
            yield path
        elif depth > 1 and not path.is_symlink():
            yield from _below(path, depth - 1)
