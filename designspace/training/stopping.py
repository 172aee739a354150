"""Being told to stop: Ctrl-C and SIGTERM end a training between two steps, on all its devices at the same one."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class StopSignals:
    """Notes SIGINT and SIGTERM while its block runs. A second one of the same kind acts as if nobody noted it."""

    def __init__(self) -> None:
        self.received: int | None = None
        """The number of the first signal; None before."""


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Note signals in the place of what they do by themselves; for the main thread alone."""
    noted = StopSignals()

    def note(number: int, _: object) -> None:
        noted.received = number
        signal.signal(number, before[signal.Signals(number)])

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
