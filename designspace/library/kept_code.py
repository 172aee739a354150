"""Comparison of the user's own modules with the copies that a run's launches kept."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from designspace.support.errors import InputError
from designspace.support.user_code import files_of
from designspace.trials.run import Run

log = logging.getLogger(__name__)


@contextlib.contextmanager
def code_of(run: Run, names: Sequence[str]) -> Iterator[None]:
    """Import the user's own classes while the block runs, and say where the run keeps their code if that fails.

    They are imported from the user's own path and never from the run folder, which may be somebody else's. If their
    files differ from those that trained, this is logged.

    Raises:
        InputError: a class cannot be imported or built.
    """
    if names and (changed := _changed_files(run, names)):
        log.warning(
            "%s: %s changed since the networks were trained; what trained them is in %s",
            run.path,
            ", ".join(str(path) for path in changed),
            _newest_copy(run),
        )
    try:
        yield
    except InputError as error:
        copy = _newest_copy(run)
        if not names or copy is None:
            raise
        raise InputError(f"{error} The code that trained these networks is in {copy}") from error


def _changed_files(run: Run, names: Sequence[str]) -> list[Path]:
    """Return the files of the user's modules that differ from those of the newest copy; none if any copy has them."""
    files = files_of(names)
    copies = _copies(run)
    changed = [[name for name, content in files.items() if not _holds(copy / name, content)] for copy in copies]
    return changed[-1] if changed and all(changed) else []


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file has this content."""
    return path.is_file() and path.read_bytes() == content


def _copies(run: Run) -> list[Path]:
    """Return the copies of the code that launches made, the newest last."""
    if not run.code.is_dir() or run.code.is_symlink():
        return []
    copies = [path for path in run.code.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(copies, key=lambda path: path.stat().st_mtime)


def _newest_copy(run: Run) -> Path | None:
    """Return the newest copy of the code; None if there is none."""
    copies = _copies(run)
    return copies[-1] if copies else None
