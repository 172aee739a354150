"""Fetching what data sets consist of: from several sources in turn, checked before anything gets its name."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from designspace.support.download import Download, receive
from designspace.support.errors import RunError


class BadContent(Exception):
    """A file is not the published one; says why."""


def receive_checked(path: Path, url: str, limit_bytes: int, check: Callable[[Path], None]) -> None:
    """Fetch a file from an address; it appears at ``path`` only when ``check`` raises nothing about it.

    Args:
        path: where the file is to be.
        url: the address.
        limit_bytes: it is not larger.
        check: takes the path of what was received, and raises `BadContent` if it is not the right file.

    Raises:
        DownloadError: the address does not answer, or breaks off.
        BadContent: it gave something else.
        RunError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as name:
            new = Path(name) / path.name
            receive(new, Download(url), limit_bytes)
            check(new)
            new.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def cannot_fetch(name: str, said: Sequence[str], folder: Path, wanted: Sequence[str]) -> RunError:
    """The error when no source gave a data set's files.

    Args:
        name: of the data set.
        said: what each source answered, a line each.
        folder: where to put the files by hand.
        wanted: the files that are missing, with what is known of them, a line each.
    """
    return RunError(
        f"cannot fetch {name}; what was tried:\n"
        + "\n".join(f"  {line}" for line in said)
        + f"\nPut these files into {folder} by hand, then run this again:\n"
        + "\n".join(f"  {line}" for line in wanted)
    )


def one_line(error: BaseException) -> str:
    """What an error says, in one line; of a command that failed, its last words."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(error.cmd[:2])} said: {' '.join(error.stderr.split()) or f'exit code {error.returncode}'}"
    return " ".join(str(error).split()) or type(error).__name__
