"""Trainers that go wrong on purpose, for workers of the tests to use (`Recipe.trainer`)."""

import errno
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from designspace.support import files
from designspace.training import Diverged
from designspace.training import train as really_train


def train(network, recipe, data, *, on_epoch, **options):
    """Train, but go wrong after the epoch that $FAULTS names, for so many times."""
    folder = Path(os.environ["FAULTS"])
    fault = json.loads((folder / "faults.json").read_text()).get(network.id)

    def keep(history):
        on_epoch(history)
        if fault and len(history) == fault["epoch"] and _is_due(folder, network.id, fault["times"]):
            KINDS[fault["kind"]]()

    if fault and fault["epoch"] == 0 and _is_due(folder, network.id, fault["times"]):
        KINDS[fault["kind"]]()
    return really_train(network, recipe, data, on_epoch=keep, **options)


def alone(network, recipe, data, **options):
    """Train, and tell if any other process trains the same network at the same time."""
    folder = Path(os.environ["FAULTS"])
    with (folder / f"{network.id}.lock").open("w") as lock:  # the kernel frees it when the process dies
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (folder / f"{network.id}.clash").touch()
        return really_train(network, recipe, data, **options)


def held(network, recipe, data, *, on_epoch, should_stop, **options):
    """Train, and wait while there is a file "hold" in $FAULTS: the test decides when trials go on.

    They wait after their first epoch, or after as many as the file says.
    """
    gate = Path(os.environ["FAULTS"]) / "hold"
    epochs = 0

    def keep(history):
        nonlocal epochs
        on_epoch(history)
        epochs = len(history)

    def is_held():
        try:
            return epochs >= int(gate.read_text() or 1)
        except FileNotFoundError:
            return False

    def stop():
        while is_held() and not should_stop():
            time.sleep(0.05)
        return should_stop()

    return really_train(network, recipe, data, on_epoch=keep, should_stop=stop, **options)


def slow(network, recipe, data, *, should_stop, **options):
    """Train, and take four seconds more for every step."""

    def stop():
        for _ in range(43):
            time.sleep(0.1)
            if should_stop():
                return True
        return False

    return really_train(network, recipe, data, should_stop=stop, **options)


def _is_due(folder, id_, times):
    """Whether the fault is to happen once more; -1 for always."""
    with (folder / id_).open("a+") as count:
        count.write(".")
    return times < 0 or (folder / id_).stat().st_size <= times


def _raise():
    raise ValueError("on purpose\nsecond line")


def _diverge():
    raise Diverged("the loss is nan, on purpose")


def _die_while_writing():
    """Be killed in the middle of the next file, when half of it is on the disk."""

    def die(handle):
        os.truncate(handle, os.fstat(handle).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    files.os.fsync = die


def _fail_next_write(number):
    """Let the next file that is written end in an error of the system."""
    fsync = files.os.fsync

    def fail(handle):
        files.os.fsync = fsync
        raise OSError(number, os.strerror(number))

    files.os.fsync = fail


KINDS = {
    "raise": _raise,
    "diverge": _diverge,
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "die while writing": _die_while_writing,
    "io error": lambda: _fail_next_write(errno.EIO),
    "full disk": lambda: _fail_next_write(errno.ENOSPC),
    "system exit": lambda: sys.exit(3),
    "exit": lambda: os._exit(3),
    "exit quietly": lambda: os._exit(0),
    "memory": lambda: torch.empty(10**15),
    "hang": lambda: time.sleep(3600),
}
