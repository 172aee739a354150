"""Processes that are killed just before one of their changes to files."""

import os
import sys
from collections.abc import Callable

_CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
KILLED = 137


def killed_before(number: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child process that exits, as if killed, just before its ``number``-th change to a file.

    Returns whether that change was reached; False if ``work`` finished first.
    """
    child = os.fork()
    if child == 0:
        _exit_before(number)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), code
    return code == KILLED


def _exit_before(number: int) -> None:
    """Make this process exit just before its ``number``-th change to a file."""
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
            count += 1
            if count == number:
                os._exit(KILLED)

    sys.addaudithook(hook)
