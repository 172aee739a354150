"""Safe output to terminals: control characters in printed text are escaped.

Names of folders and classes, error messages, logs and provenance may come from untrusted files. All output of a
command, including errors, logs and warnings, passes through `SafeStream`; only tables and progress bars bypass it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from designspace.support.errors import RunError
from designspace.support.text import printable


class SafeStream:
    """Text stream that escapes control characters (see `printable`)."""

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        with _writable(self.raw):
            self.raw.write(printable(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with _writable(self.raw):
            self.raw.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextlib.contextmanager
def _writable(stream: TextIO) -> Iterator[None]:
    """Raise `RunError` if a stream cannot be written, for example because it is a file on a full disk."""
    try:
        yield
    except BrokenPipeError:  # the reader has closed the pipe
        raise
    except OSError as error:
        _discard(stream)
        raise RunError(f"cannot write the output: {error.strerror or error}") from error


def _discard(stream: TextIO) -> None:
    """Redirect a stream to the null device, because Python flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def protect() -> None:
    """Make stdout and stderr of this process a `SafeStream`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, SafeStream):
            setattr(sys, name, SafeStream(stream))


def raw(stream: TextIO) -> TextIO:
    """Return the stream below a `SafeStream`, for our own escape sequences."""
    return stream.raw if isinstance(stream, SafeStream) else stream


@contextlib.contextmanager
def exit_on_closed_pipe() -> Iterator[None]:
    """Exit like a process stopped by SIGPIPE if the reader of the output, such as head, closes the pipe."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        raise SystemExit(128 + signal.SIGPIPE) from None
