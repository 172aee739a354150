"""Computations in forks of this process, one per core, for commands whose user waits."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from designspace.support.machine import available_cores

T = TypeVar("T")
_tasks: Sequence[Callable[[], Any]] = ()
"""The functions to call. Forks inherit them, so only results are pickled."""


def in_forks(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Return the results of functions, which forks of this process call at the same time.

    They are called here, one after another, if there is a single core, if the system is not Linux, if this process has
    other threads, since a fork would copy the locks that they hold, or if the forks are killed.

    Raises:
        Exception: the exception of the first function that raises one.
    """
    global _tasks
    processes = min(len(tasks), available_cores())
    if processes < 2 or sys.platform != "linux" or threading.active_count() > 1:
        return [task() for task in tasks]
    _tasks = tasks
    try:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _begin) as pool:
            return list(pool.map(_call, range(len(tasks))))
    except (BrokenProcessPool, NotImplementedError, OSError):  # no memory, or no semaphores in a sandbox
        return [task() for task in tasks]
    finally:
        _tasks = ()


def _begin() -> None:
    """Prepare a fork."""
    from threadpoolctl import threadpool_limits  # sets an environment variable of OpenMP, which only forks need

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches forks, too, which then end without a traceback
    # OpenMP would wait for the threads of this process, which a fork does not have, in BLAS libraries that use it.
    threadpool_limits(1)


def _call(position: int) -> Any:
    """Return the result of a task."""
    return _tasks[position]()
