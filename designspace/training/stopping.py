"""Signals that stop a training: Ctrl-C and SIGTERM end it between two steps, on all its devices at the same one."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class StopSignals:
    """Record of SIGINT and SIGTERM while a block runs. A second signal of the same kind has its usual effect."""

    def __init__(self) -> None:
        self.received: int | None = None
        """Number of the last received signal, or None if there was none."""


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Record signals instead of their usual effect while the block runs; only for the main thread."""
    signals = StopSignals()

    def note(number: int, _: object) -> None:
        signals.received = number
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
