"""The two kinds of failure that a person can do something about; anything else is a bug and keeps its traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterable


class InputError(ValueError):
    """What was asked for is not possible: a wrong name, value or combination. Commands exit with code 2."""


class RunError(RuntimeError):
    """What was asked for is fine, but the world did not play along: a corrupt file, a full disk. Exit code 1."""


def unknown(kind: str, given: object, allowed: Iterable[object]) -> InputError:
    """The error for a name that does not exist: it says what was given and lists what exists.

    >>> str(unknown("space", "AnyNetXF", ["AnyNetXA", "RegNetX"]))
    "unknown space 'AnyNetXF'; there is: AnyNetXA, RegNetX"
    """
    return InputError(f"unknown {kind} {given!r}; there is: {', '.join(str(name) for name in allowed)}")


_CONCERNS_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)
_MAY_PASS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


def concerns_all(error: BaseException) -> bool:
    """Whether an error with a file would also come up with any other: a full disk, too many open files."""
    return _errno(error) in _CONCERNS_ALL


def may_pass(error: BaseException) -> bool:
    """Whether an error with a file may be gone the next time: a disk or file server that failed for a moment."""
    return _errno(error) in _MAY_PASS


def _errno(error: BaseException) -> int | None:
    """The system's number for what went wrong with a file, if that is what an error comes from."""
    cause = error.__cause__ if isinstance(error, RunError) else error
    return cause.errno if isinstance(cause, OSError) else None


def in_words(error: Exception) -> str:
    """What an error says, with the file's path first where it is one of the system's."""
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    return str(error)
