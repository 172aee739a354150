"""Fetching the files of data sets from several sources in turn; each file is checked before it gets its name."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from designspace.support.download import Download, receive
from designspace.support.errors import RunError


class BadContent(Exception):
    """A file is not the published one; the message says why."""


def receive_checked(path: Path, url: str, limit_bytes: int, check: Callable[[Path], None]) -> None:
    """Fetch a file from an address; it appears at ``path`` only if ``check`` accepts it.

    Args:
        path: the path of the new file.
        url: the address.
        limit_bytes: the largest size that is accepted.
        check: takes the path of the received file, and raises `BadContent` if it is not the right one.

    Raises:
        DownloadError: the address does not answer, or the transfer is cut off.
        BadContent: the address returned something else.
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


def cannot_fetch(name: str, problems: Sequence[str], folder: Path, missing: Sequence[str]) -> RunError:
    """Return the error for a data set whose files no source provided.

    Args:
        name: the name of the data set.
        problems: the answer of each source, one line each.
        folder: the folder into which to put the files by hand.
        missing: the missing files and their properties, one line each.
    """
    return RunError(
        f"cannot fetch {name}; what was tried:\n"
        + "\n".join(f"  {line}" for line in problems)
        + f"\nPut these files into {folder} by hand, then run this again:\n"
        + "\n".join(f"  {line}" for line in missing)
    )


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line; for a command that failed, its standard error."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(error.cmd[:2])} failed: {' '.join(error.stderr.split()) or f'exit code {error.returncode}'}"
    return " ".join(str(error).split()) or type(error).__name__
