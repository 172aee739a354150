"""What reaches the terminal: text that is shown, never characters that a terminal obeys.

Names of folders and classes, error texts, logs and provenance may come from anybody. What a command prints, including
errors, logs and warnings, passes through `SafeStream`; only our own tables and progress bars write to the stream below.
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
    """A stream of text that spells out what a terminal would obey (see `printable`)."""

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream

    def write(self, text: str) -> int:
        """Write text; return its length."""
        with _writable(self.raw):
            self.raw.write(printable(text))
        return len(text)

    def flush(self) -> None:
        """Write what is still in memory."""
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
    except BrokenPipeError:  # its reader has seen enough
        raise
    except OSError as error:
        _discard(stream)
        raise RunError(f"cannot write the output: {error.strerror or error}") from error


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere, since Python flushes it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def protect() -> None:
    """Let whatever this process prints from now on pass through a `SafeStream`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, SafeStream):
            setattr(sys, name, SafeStream(stream))


def raw(stream: TextIO) -> TextIO:
    """Return the stream below a `SafeStream`, for escapes of our own."""
    return stream.raw if isinstance(stream, SafeStream) else stream


@contextlib.contextmanager
def while_read() -> Iterator[None]:
    """Run a block that prints, and end the process as SIGPIPE would if the reader (such as head) has seen enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        raise SystemExit(128 + signal.SIGPIPE) from None
