"""Atomic writing of files: a reader sees either the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from designspace.support.errors import RunError
from designspace.support.reading import read_bytes, read_json

__all__ = [
    "WriteError",
    "add_to_log",
    "atomic_writer",
    "read_bytes",
    "read_json",
    "sha256_of",
    "write_bytes",
    "write_first",
    "write_folder",
    "write_json",
    "write_text",
    "write_together",
]


class WriteError(RunError):
    """A file cannot be written: the disk is full, permission is denied, or the file system is read-only."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert system errors in a block that changes a file or folder to `WriteError`, with the path."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Create a folder and its parents unless they exist.

    Raises:
        RunError: the folder cannot be created.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Create a temporary folder that is removed when the block ends.

    Raises:
        RunError: the folder cannot be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        raise WriteError(f"cannot create a temporary folder: {error.strerror or error}") from error
    with folder as name:
        yield Path(name)


_checks: dict[Path, Callable[[], None]] = {}
"""Folder -> function to call before a file below it is changed (see `guarded`)."""


@contextlib.contextmanager
def guarded(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """While the block runs, call ``check`` right before this module changes a file below ``folder``.

    An exception from ``check`` cancels the write and leaves the file unchanged. A process that was suspended while
    another one took over its work can therefore not replace a new file by an old one, whichever code writes it.
    """
    key = folder.resolve()
    previous = _checks.get(key)
    _checks[key] = check
    try:
        yield
    finally:
        if previous is None:
            del _checks[key]
        else:
            _checks[key] = previous


def check_of(path: Path) -> Callable[[], None] | None:
    """Return the check that guards a file, or None; for a process that writes the file on behalf of this one."""
    parent = path.parent.resolve()
    return next((_checks[folder] for folder in (parent, *parent.parents) if folder in _checks), None)


def check_guard(path: Path) -> None:
    """Call the check that guards a file, if any; it raises an error if the file must no longer be changed."""
    if _checks and (check := check_of(path)):
        check()


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` if the block succeeds, and is removed if it fails.

    The data is flushed to disk before the rename, so that a crash leaves either version, also on NFS.

    Raises:
        RunError: the file cannot be written (disk full, no permission); an existing file is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private, but run folders are shared with a group
        check_guard(path)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def write_together(files: Mapping[Path, Iterable[str]]) -> None:
    """Write several text files, all or none: every file is on the disk before the first one is replaced.

    The files are replaced in reverse order. A text may be an iterable of parts, which are not joined in memory.

    Raises:
        RunError: a file cannot be written (disk full, no permission); existing files are unchanged.
    """
    with contextlib.ExitStack() as stack:
        for path, text in files.items():
            file = stack.enter_context(atomic_writer(path))
            for piece in [text] if isinstance(text, str) else text:
                file.write(piece.encode())
            file.flush()
            os.fsync(file.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_writer(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON and a final newline; NaN raises an error, since it is not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_first(path: Path, text: str) -> None:
    """Write a text atomically unless the file exists; if several processes write, the first one wins.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o666 & ~_umask())  # noqa: PTH101
            check_guard(path)
            with contextlib.suppress(FileExistsError):
                _link(file.name, path, text)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def _link(name: str, path: Path, text: str) -> None:
    """Hard-link a file to a path that must not exist; create a new file if the file system has no links."""
    try:
        os.link(name, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        with path.open("x", encoding="utf-8") as file:
            file.write(text)


def add_to_log(path: Path, text: str) -> None:
    """Append a text to a log, with the time in front.

    Raises:
        RunError: the file cannot be written, or is a symbolic link, which may lead anywhere.
    """
    check_guard(path)
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text.rstrip()}\n"
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a reader.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        with os.fdopen(handle, "a", encoding="utf-8") as log:
            log.write(line)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def write_folder(path: Path, files: Mapping[str, bytes], stale: Iterable[str] = ()) -> None:
    """Write files as a new folder, which appears only when it is complete.

    If a folder that is not empty exists, the files named in ``stale`` are removed, and then the new files replace those
    in the folder one by one, in order; its other files stay.

    Raises:
        RunError: the folder cannot be written (disk full, no permission).
    """
    path = path.resolve()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
        for name, data in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(temporary / name, data)
        temporary.chmod(0o777 & ~_umask())
        if path.is_dir() and any(path.iterdir()):
            for name in stale:
                check_guard(path / name)
                (path / name).unlink(missing_ok=True)
            for name in files:
                check_guard(path / name)
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).replace(path / name)
        else:
            temporary.replace(path)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
