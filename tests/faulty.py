"""Trainers that fail or wait on purpose, for the workers of the tests (`Recipe.trainer`)."""

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
from designspace.training import train as train_normally


def train(network, recipe, data, *, on_epoch, **options):
    """Train, but fail after an epoch, as often as ``faults.json`` in the folder $FAULTS gives for this network."""
    folder = Path(os.environ["FAULTS"])
    fault = json.loads((folder / "faults.json").read_text()).get(network.id)

    def save_and_fail(history):
        on_epoch(history)
        if fault and len(history) == fault["epoch"] and _is_due(folder, network.id, fault["times"]):
            KINDS[fault["kind"]]()

    if fault and fault["epoch"] == 0 and _is_due(folder, network.id, fault["times"]):
        KINDS[fault["kind"]]()
    return train_normally(network, recipe, data, on_epoch=save_and_fail, **options)


def alone(network, recipe, data, **options):
    """Train, and create a file ``.clash`` in $FAULTS if another process trains the same network at the same time."""
    folder = Path(os.environ["FAULTS"])
    with (folder / f"{network.id}.lock").open("w") as lock:  # the kernel releases it when the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (folder / f"{network.id}.clash").touch()
        return train_normally(network, recipe, data, **options)


def held(network, recipe, data, *, on_epoch, should_stop, **options):
    """Train, but wait while the file "hold" exists in $FAULTS, so that the test decides when trials continue.

    Trials wait after their first epoch, or after the number of epochs in the file.
    """
    hold_file = Path(os.environ["FAULTS"]) / "hold"
    epochs = 0

    def save_and_count(history):
        nonlocal epochs
        on_epoch(history)
        epochs = len(history)

    def must_wait():
        try:
            return epochs >= int(hold_file.read_text() or 1)
        except FileNotFoundError:
            return False

    def wait_and_check():
        while must_wait() and not should_stop():
            time.sleep(0.05)
        return should_stop()

    return train_normally(network, recipe, data, on_epoch=save_and_count, should_stop=wait_and_check, **options)


def slow(network, recipe, data, *, should_stop, **options):
    """Train, but take four seconds longer for every step."""

    def wait_and_check():
        for _ in range(43):
            time.sleep(0.1)
            if should_stop():
                return True
        return False

    return train_normally(network, recipe, data, should_stop=wait_and_check, **options)


def _is_due(folder, id_, times):
    """Count this call, and return whether the fault happens in it; ``times`` is -1 for a fault that always happens."""
    with (folder / id_).open("a+") as calls:
        calls.write(".")
    return times < 0 or (folder / id_).stat().st_size <= times


def _raise():
    raise ValueError("on purpose\nsecond line")


def _diverge():
    raise Diverged("the loss is nan, on purpose")


def _kill_while_writing():
    """Kill this process during its next write, when half of the file is on the disk."""

    def truncate_and_kill(handle):
        os.truncate(handle, os.fstat(handle).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    files.os.fsync = truncate_and_kill


def _fail_next_write(number):
    """Make the next write of a file fail with a system error."""
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
    "die while writing": _kill_while_writing,
    "io error": lambda: _fail_next_write(errno.EIO),
    "full disk": lambda: _fail_next_write(errno.ENOSPC),
    "system exit": lambda: sys.exit(3),
    "exit": lambda: os._exit(3),
    "exit quietly": lambda: os._exit(0),
    "memory": lambda: torch.empty(10**15),
    "hang": lambda: time.sleep(3600),
}
