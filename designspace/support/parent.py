"""Exit of a process together with its parent, however the parent ended."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable

_POLL_INTERVAL_S = 0.2


class Parent:
    """The process that started this one."""

    def __init__(self) -> None:
        # With multiprocessing, the process that started this one need not be the one that forked it.
        self._process = multiprocessing.parent_process()
        self._pid = os.getppid()

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended."""
        return os.getppid() != self._pid if self._process is None else not self._process.is_alive()


def end_with_parent(clean_up: Callable[[], None] | None = None, grace_s: float = 0.0) -> None:
    """Start a thread that ends this process, whatever it is doing, after its parent has ended.

    Args:
        clean_up: function to call before the exit.
        grace_s: seconds that this process has to exit by itself.
    """
    parent = Parent()

    def watch() -> None:
        while not parent.is_gone:
            time.sleep(_POLL_INTERVAL_S)
        time.sleep(grace_s)
        if clean_up is not None:
            clean_up()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
