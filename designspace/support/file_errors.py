"""What an error with a file means for other files: is the disk full, or has one file suffered?"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from designspace.support.errors import RunError

_CONCERNS_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)
_MAY_PASS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


_NOT_BUGS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EBUSY, errno.ENOTCONN),
        *(*_CONCERNS_ALL, *_MAY_PASS),
    }
)
"""Errors that can occur for a file whatever the code does. A missing file is not among them: code can expect it."""


@contextlib.contextmanager
def as_run_errors() -> Iterator[None]:
    """Raise as `RunError` what the system says of a named file in the block: no permission, or a full disk.

    The functions of `files` and `reading` do so themselves; this is for the edge of a command, since even
    ``Path.exists`` raises for a folder that may not be searched. Any other error of the system is a bug and passes.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.errno not in _NOT_BUGS:
            raise
        raise RunError(in_words(error)) from error


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
