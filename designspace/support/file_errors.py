"""What an error with a file means for other files: is the disk full, or has one file suffered?"""

from __future__ import annotations

import errno

from designspace.support.errors import RunError

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
