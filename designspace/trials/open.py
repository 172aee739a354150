"""Finding and opening run folders, of a population or of a single network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from designspace.spaces.population import POPULATION_FILE
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder
from designspace.trials.run import Run
from designspace.trials.training_folder import TRAINING_FILE, TrainingFolder

DEPTH = 4
"""Levels of folders to search for runs: enough for ``runs/<study>/<run>``, without searching a whole disk."""


def run_at(path: Path) -> Run:
    """Return the run at a path: of a single network if `train` created it, otherwise of a population."""
    single = TrainingFolder(path)
    return single if single.exists() else RunFolder(path)


def find_runs(path: Path) -> list[Run]:
    """Return the run at a path, or all runs below it, at most `DEPTH` levels down.

    Raises:
        InputError: there is none.
    """
    has_training_file = (path / TRAINING_FILE).exists()  # reading it raises an error if it is damaged
    folders = [path] if has_training_file or _is_run(path) else list(_below(path, DEPTH))
    if not folders:
        raise InputError(f"{path} is not a run folder and holds none; make one with python -m designspace.sample")
    return [run_at(folder) for folder in folders]


def _is_run(path: Path) -> bool:
    """Return whether a folder is a run folder."""
    return (path / POPULATION_FILE).exists() or TrainingFolder(path).is_whole()


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the run folders below a folder; links to folders are followed only if they lead to a run."""
    try:
        subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # not a folder, or not readable
        return
    for path in subfolders:
        if _is_run(path):
            yield path
        elif depth > 1 and not path.is_symlink():
            yield from _below(path, depth - 1)
