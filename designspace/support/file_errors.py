"""Classification of file errors: whether they affect all files, such as a full disk, or only one."""

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
"""Errors that code cannot prevent. A missing file is not among them, because code can expect it."""


@contextlib.contextmanager
def as_run_errors() -> Iterator[None]:
    """Convert system errors with a file in the block, such as a missing permission, to `RunError`.

    The functions of `files` and `reading` do this themselves. This is for the outermost level of a command, because
    even ``Path.exists`` raises if a folder may not be searched. Any other `OSError` is a bug and is not converted.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.errno not in _NOT_BUGS:
            raise
        raise RunError(error_message(error)) from error


def concerns_all(error: BaseException) -> bool:
    """Return whether an error would also occur with any other file: a full disk, too many open files."""
    return _errno(error) in _CONCERNS_ALL


def may_pass(error: BaseException) -> bool:
    """Return whether an error may be temporary: a disk or file server that failed for a moment."""
    return _errno(error) in _MAY_PASS


def _errno(error: BaseException) -> int | None:
    """Return the errno of an error or of the cause of a `RunError`; None if it has none."""
    cause = error.__cause__ if isinstance(error, RunError) else error
    return cause.errno if isinstance(cause, OSError) else None


def error_message(error: Exception) -> str:
    """Return the message of an error; of a system error with a file, the path and the reason."""
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    return str(error)
