"""Reading files that somebody else may have written: in bounded time and memory, with one sentence if they are odd.

Only regular files are opened (a named pipe would wait for ever), no more than a limit is read, and what is nested,
repeated or expanded beyond reason is refused before it becomes a value.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from designspace.support.errors import RunError
from designspace.support.text import shown

MAX_JSON_BYTES = 32 << 20
"""The largest JSON file that is read: the tasks of a launch of a million trials have 16 MB."""


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a regular file.

    Args:
        path: the file; a folder, a named pipe or a device is refused without waiting for it.
        most: refuse a file of more bytes; None for no limit.

    Raises:
        RunError: the file is missing, unreadable, not a regular file, or too large.
    """
    return read_with_time(path, most)[0]


def read_with_time(path: Path, most: int | None = None) -> tuple[bytes, int]:
    """Read a regular file, and when it was last changed, in nanoseconds since 1970; otherwise as `read_bytes`."""
    try:
        # Without O_NONBLOCK, opening a named pipe waits for somebody to write to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise RunError(f"cannot read {path}: it is not a regular file")
            if most is not None and about.st_size > most:
                raise RunError(f"{path} has {about.st_size:,} bytes; at most {most:,} are read")
            return file.readall(), about.st_mtime_ns
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise the errors of the system in a block that reads a file or folder as `RunError`, with the path."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def entries(folder: Path) -> list[Path]:
    """Return what a folder holds, by name.

    Raises:
        RunError: it cannot be read.
    """
    with reading(folder):
        return sorted(folder.iterdir())


def is_missing(error: RunError) -> bool:
    """Whether a file could not be read because there is none."""
    return isinstance(error.__cause__, FileNotFoundError)


def check_regular(path: Path) -> None:
    """Raise `RunError` unless a path is a regular file, which can be opened without waiting."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise RunError(f"cannot read {path}: it is not a regular file")


def read_text(path: Path, most: int | None = None) -> str:
    """Read a UTF-8 text; a byte-order mark is left out.

    Raises:
        RunError: as `read_bytes`, or it is not UTF-8.
    """
    content = read_bytes(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8 text (byte {error.start})") from error


# JSON


def parse_json(content: bytes | str, *, file_names: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        content: the text.
        file_names: whether its texts may hold bytes of file names that are not UTF-8, as Python escapes them.

    Raises:
        ValueError: it is cut off, nested too deeply, holds NaN or infinity, a number of thousands of digits, half of
            a surrogate pair, or a key twice.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        value = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
        if "\\u" in text:
            # Half of a surrogate pair is no text and cannot be written.
            json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape" if file_names else "strict")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it holds a text that is not Unicode ({error.reason})") from None
    except ValueError as error:
        if str(error).startswith("Exceeds the limit"):  # of digits; what Python says of it is meant for programmers
            raise ValueError("it holds a number of thousands of digits") from None
        raise
    return value


def read_json(path: Path, most: int = MAX_JSON_BYTES, *, file_names: bool = False) -> Any:
    """Read a JSON file; for ``file_names`` see `parse_json`.

    Raises:
        RunError: the file is missing, unreadable, too large, or not whole JSON (see `parse_json`).
    """
    content = read_bytes(path, most)
    try:
        return parse_json(content, file_names=file_names)
    except ValueError as error:
        raise RunError(f"{path} is not whole JSON ({error}); it may have been cut off or edited") from error


def read_json_object(path: Path, most: int = MAX_JSON_BYTES, *, file_names: bool = False) -> dict[str, Any]:
    """Read a JSON file that holds an object; for ``file_names`` see `parse_json`.

    Raises:
        RunError: as `read_json`, or it holds something else.
    """
    value = read_json(path, most, file_names=file_names)
    if not isinstance(value, dict):
        raise RunError(f"{path} must hold an object, {{...}}, not {shown(value)}; it may have been edited")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of some pairs; a key that comes twice is refused."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} stands there twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and infinity, which Python's reader takes though they are not JSON."""
    raise ValueError(f"it holds {name}, which is not a number")
