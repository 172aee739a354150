"""Reading of untrusted files in bounded time and memory, with a clear error if they are malformed.

Only regular files are opened (a named pipe would block forever), their size is limited, and content that is nested too
deeply or has repeated keys is rejected before it is used.
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
"""Maximum size of a JSON file; the array tasks of a million trials take 16 MB."""


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a regular file.

    Args:
        path: the file; a folder, named pipe or device raises an error at once instead of blocking.
        most: maximum number of bytes; None for no limit.

    Raises:
        RunError: the file is missing, unreadable, not a regular file, or too large.
    """
    return read_with_time(path, most)[0]


def read_with_time(path: Path | str, most: int | None = None) -> tuple[bytes, int]:
    """Read a regular file like `read_bytes`; also return its modification time in nanoseconds since 1970."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise RunError(f"cannot read {path}: it is not a regular file")
            if most is not None and info.st_size > most:
                raise RunError(f"{path} has {info.st_size:,} bytes, but at most {most:,} are allowed")
            return file.readall(), info.st_mtime_ns
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert system errors in a block that reads a file or folder to `RunError`, with the path."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted by name.

    Raises:
        RunError: the folder cannot be read.
    """
    with reading(folder):
        return sorted(folder.iterdir())


def is_missing(error: RunError) -> bool:
    """Return whether the cause of an error is that the file does not exist."""
    return isinstance(error.__cause__, FileNotFoundError)


def check_regular(path: Path) -> None:
    """Raise `RunError` unless a path is a regular file, which can be opened without blocking."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise RunError(f"cannot read {path}: it is not a regular file")


def read_text(path: Path, most: int | None = None) -> str:
    """Read a UTF-8 text file, without a byte-order mark.

    Raises:
        RunError: as for `read_bytes`, or the file is not UTF-8.
    """
    return as_text(path, read_bytes(path, most))


def as_text(path: Path, content: bytes) -> str:
    """Return the content of a file as text; see `read_text`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8 text (byte {error.start})") from error


# JSON


def parse_json(content: bytes | str, *, file_names: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        content: the text.
        file_names: whether strings may contain file names that are not UTF-8, as escaped by Python.

    Raises:
        ValueError: the text is truncated or nested too deeply, or contains NaN, infinity, a number of thousands of
            digits, an unpaired surrogate, or a repeated key.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            # An unpaired surrogate is not valid text and cannot be written.
            json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape" if file_names else "strict")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it contains a text that is not Unicode ({error.reason})") from None
    except ValueError as error:
        if str(error).startswith("Exceeds the limit"):  # of digits; Python's own message is meant for programmers
            raise ValueError("it contains a number of thousands of digits") from None
        raise
    return value


def read_json(path: Path, most: int = MAX_JSON_BYTES, *, file_names: bool = False) -> Any:
    """Read a JSON file; for ``file_names`` see `parse_json`.

    Raises:
        RunError: the file is missing, unreadable, too large, or not valid JSON (see `parse_json`).
    """
    return as_json(path, read_bytes(path, most), file_names=file_names)


def as_json(path: Path, content: bytes, *, file_names: bool = False) -> Any:
    """Return the content of a JSON file as a value; see `read_json`."""
    try:
        return parse_json(content, file_names=file_names)
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON ({error}); it may have been truncated or edited") from error


def read_json_object(path: Path, most: int = MAX_JSON_BYTES, *, file_names: bool = False) -> dict[str, Any]:
    """Read a JSON file that contains an object; for ``file_names`` see `parse_json`.

    Raises:
        RunError: as for `read_json`, or the value is not an object.
    """
    value = read_json(path, most, file_names=file_names)
    if not isinstance(value, dict):
        raise RunError(f"{path} must contain an object, {{...}}, not {shown(value)}; it may have been edited")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the dict of some key-value pairs; raise an error for a repeated key."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(repeated)} occurs twice")
    return value


def _reject_constant(name: str) -> NoReturn:
    """Raise an error for NaN and infinity, which Python's parser accepts although they are not JSON."""
    raise ValueError(f"it contains {name}, which is not a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
"""Made once, since `json.loads` would make one per text, which takes as long as decoding a small one."""
