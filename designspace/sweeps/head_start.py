"""A head start for the fork server: a process imports torch while a launch imports its modules and checks its input.

The copy of the code that workers import does not exist yet, so this file, which the process runs, imports nothing of
the package. `fork_server.ForkServer` takes the process over with a message: the server's settings, the folder of the
code, the environment variables, and the log as a file descriptor.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("!I")
"""Length of a message, which follows as JSON. It carries the file descriptors."""
SERVER = "designspace.sweeps.fork_server"
"""The module that the process runs in the end, from the copy of the code."""


@dataclass(frozen=True)
class HeadStart:
    """A process that imports torch, and the socket that is its standard input."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    @staticmethod
    def begin() -> HeadStart:
        """Start the process."""
        channel, server_channel = socket.socketpair()
        variables = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with server_channel, usr2_blocked():
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), SERVER],  # the name tells people what the process is
                stdin=server_channel.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**malloc_variables(), **os.environ, **variables},
                start_new_session=True,  # as in `fork_server`
            )
        return HeadStart(process, channel)

    def hand_over(self, settings: Mapping[str, Any], code: Path, environment: Mapping[str, str], log: int) -> bool:
        """Make the process a fork server, which writes to ``log``; return False if it has exited."""
        message = json.dumps({"settings": dict(settings), "code": str(code), "environment": dict(environment)}).encode()
        try:
            socket.send_fds(self.channel, [LENGTH.pack(len(message))], [log])
            self.channel.sendall(message)
        except (BrokenPipeError, ConnectionResetError):
            self.end()
            return False
        return True

    def end(self) -> None:
        """Kill the process."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


_begun: list[HeadStart] = []
_TRAINS_NOTHING_HERE = frozenset(("-h", "--help", "help", "--version", "launcher=slurm", "dry_run=true"))


def begin_early() -> None:
    """Begin before a command imports its modules, unless its arguments show that it trains nothing on this machine."""
    if _TRAINS_NOTHING_HERE.isdisjoint(sys.argv):
        _begun.append(HeadStart.begin())
        atexit.register(_end)


@contextlib.contextmanager
def importing_torch(wanted: bool = True) -> Iterator[None]:
    """Import torch for the first fork server that is started in this block, if ``wanted``; continue an early begin."""
    if not wanted:
        _end()
    elif not _begun:
        _begun.append(HeadStart.begin())
    try:
        yield
    finally:
        _end()


def _end() -> None:
    """Kill the process if no fork server has taken it."""
    while _begun:
        _begun.pop().end()


def take() -> HeadStart | None:
    """Return the process that has a head start, once; None if there is none."""
    return _begun.pop() if _begun else None


def malloc_variables() -> dict[str, str]:
    """Return the variables that configure the C library's allocator in a worker, unless the user has set others.

    Memory is kept when it is freed, since a training step allocates and frees the same tensors repeatedly. Huge pages
    are not requested: they save 3% of a step, but a virtual machine whose host takes free memory back may need 10 ms
    for the first access to each, which made a sweep of half a minute 5 to 10% slower.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return {}
    return {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=2147483648"}


@contextlib.contextmanager
def usr2_blocked() -> Iterator[None]:
    """Block SIGUSR2 in processes started meanwhile: SLURM warns all processes of a job, but only the pool reacts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> None:
    """Import torch, wait for the message, and serve; exit if the socket is closed first."""
    gc.disable()  # until `fork_server.serve` freezes what was imported; a collection visits all of torch's objects
    channel = socket.socket(fileno=os.dup(0))
    problem = ""
    try:
        import torch  # noqa: F401
    except BaseException:
        problem = traceback.format_exc()
    length, streams, _, _ = socket.recv_fds(channel, LENGTH.size, 1)
    if not length:
        return
    message = json.loads(channel.recv(LENGTH.unpack(length)[0], socket.MSG_WAITALL))
    for number in (1, 2):
        os.dup2(streams[0], number)
    os.close(streams[0])
    channel.close()
    if problem:
        sys.exit(problem)
    os.environ.clear()
    os.environ.update(message["environment"])
    sys.path.insert(0, message["code"])
    importlib.import_module(SERVER).serve(message["settings"])


if __name__ == "__main__":
    main()
