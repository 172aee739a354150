"""A fork server: workers are forked from one process that has imported torch, which takes most of a worker's start.

``python -m designspace.sweeps.fork_server SETTINGS`` (see `messages.Settings`) gets requests over a socket, which is
its standard input, and answers with the process ids and later the exit codes of the workers that it has forked. It
ends when the socket is closed; its workers notice that, and end after their step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from designspace.support.files import writing
from designspace.sweeps import snapshot, worker
from designspace.sweeps.messages import Settings

_LENGTH = struct.Struct("!I")
"""Of a request, which follows; its number and variables are JSON. The file descriptors come with the length."""
_ANSWER = struct.Struct("!?Ii")
"""Whether a worker has ended, its number, and its exit code or else its process id."""


class ForkServer:
    """The server as the pool sees it.

    Args:
        settings: of its workers.
        code: where it imports the package from.
        log: where its messages and those of its workers go.

    Raises:
        RunError: the log cannot be written.
    """

    def __init__(self, settings: Settings, code: Path, log: Path) -> None:
        self._log = log
        self._channel, theirs = socket.socketpair()
        self._count = 0
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}
        with writing(log):
            errors = log.open("ab")
        with theirs, errors, _usr2_blocked():
            # A session of its own: Ctrl-C reaches the pool alone, which then lets the workers end in good order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(settings))],
                stdin=theirs.fileno(),
                stdout=errors,
                stderr=errors,
                env={**_allocator(), **os.environ, **snapshot.environment(code)},
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        """Whether no more workers can be started."""
        return self._process.poll() is not None

    def start(self, environment: Mapping[str, str]) -> ForkedWorker:
        """Request a worker with some variables of its own. It starts when the server has imported torch."""
        self._count += 1
        (orders_from, orders_to), (events_from, events_to) = os.pipe(), os.pipe()
        request = json.dumps({"number": self._count, "environment": dict(environment)}).encode()
        try:
            with self._log.open("ab") as errors, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                streams = [orders_from, events_to, errors.fileno()]
                socket.send_fds(self._channel, [_LENGTH.pack(len(request))], streams)
                self._channel.sendall(request)
        finally:
            os.close(orders_from)
            os.close(events_to)
        return ForkedWorker(self, self._count, orders_to, events_from)

    def pid_of(self, number: int) -> int | None:
        """Return the process id of a worker, or None if it has not started yet or has ended."""
        while number not in self._codes and self._hear(0):
            pass
        return None if number in self._codes else self._pids.get(number)

    def is_over(self, number: int) -> bool:
        """Whether a worker has ended, or can no longer start."""
        self.pid_of(number)
        return number in self._codes

    def code_of(self, number: int, timeout_s: float | None) -> int:
        """Return the exit code of a worker once it has ended, as `subprocess.Popen.wait` does.

        If the server ended first, its own code counts for all workers: what ended it ends them.

        Raises:
            subprocess.TimeoutExpired: the worker still runs after that time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while number not in self._codes:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._hear(left) and left == 0:
                raise subprocess.TimeoutExpired(f"worker {number}", timeout_s or 0.0)
        return self._codes[number]

    def _hear(self, timeout_s: float | None) -> bool:
        """Wait for one answer, and return whether it came; the end of the server counts as one."""
        if not select.select([self._channel], [], [], timeout_s)[0]:
            return False
        answer = _receive(self._channel, _ANSWER.size)
        if answer:
            has_ended, number, value = _ANSWER.unpack(answer)
            (self._codes if has_ended else self._pids)[number] = value
        else:
            self._note_end()
        return True

    def _note_end(self) -> None:
        """Wait for the end of the server, whose code becomes that of its workers."""
        self._channel.close()
        code = self._process.wait()
        self._codes = dict.fromkeys(range(1, self._count + 1), code) | self._codes

    def close(self) -> None:
        """End the server. Its workers, if any are left, end after their step."""
        self._process.kill()  # it may still be importing torch
        self._note_end()


class ForkedWorker:
    """A worker of a fork server, with as much of `subprocess.Popen` as a pool needs."""

    def __init__(self, server: ForkServer, number: int, orders: int, events: int) -> None:
        self._server = server
        self._number = number
        self.stdin = os.fdopen(orders, "wb")
        self.stdout = os.fdopen(events, "rb")

    @property
    def pid(self) -> int | None:
        """Its process id; None if it has not started yet or has ended."""
        return self._server.pid_of(self._number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code (see `ForkServer.code_of`)."""
        return self._server.code_of(self._number, timeout)

    def terminate(self) -> None:
        """Tell it to end after its step. One that has not started yet ends when its standard input is closed."""
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it has started; if it has not started yet, the server, so that it never does."""
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.killpg(pid, signal.SIGKILL)
        elif not self._server.is_over(self._number):
            self._server.close()


def main() -> None:
    """Fork workers until the socket is closed; in each fork, be a worker."""
    settings = Settings(**json.loads(sys.argv[1]))
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # read when torch is first imported
    channel = socket.socket(fileno=os.dup(0))
    # SLURM sends its signals to all processes of a job; this one has to tell afterwards how the workers ended.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.load_modules()
    if _serve(channel):
        worker.main(settings)


def _serve(channel: socket.socket) -> bool:
    """Fork workers until the socket is closed; return whether this process is one of them."""
    woken_by, wake = os.pipe()
    sources: list[socket.socket | int] = [channel, woken_by]
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # which writes to the pipe
    numbers: dict[int, int] = {}  # of the workers, by process id
    while True:
        ready = select.select(sources, [], [])[0]
        if woken_by in ready:
            os.read(woken_by, 4096)
            _report_ended(channel, numbers)
        if channel in ready:
            length, streams, _, _ = socket.recv_fds(channel, _LENGTH.size, 3)
            if not length:
                return False
            request = json.loads(_receive(channel, _LENGTH.unpack(length)[0]))
            pid = os.fork()
            if pid == 0:
                for handle in (channel.detach(), woken_by, wake):
                    os.close(handle)
                _begin(streams, request["environment"])
                return True
            for stream in streams:
                os.close(stream)
            numbers[pid] = request["number"]
            _answer(channel, False, request["number"], pid)


def _report_ended(channel: socket.socket, numbers: dict[int, int]) -> None:
    """Answer with the exit codes of the workers that have ended."""
    while numbers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _answer(channel, True, numbers.pop(pid), os.waitstatus_to_exitcode(status))


def _answer(channel: socket.socket, has_ended: bool, number: int, value: int) -> None:
    """Send an answer to the pool, unless it is gone."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(_ANSWER.pack(has_ended, number, value))


def _receive(channel: socket.socket, size: int) -> bytes:
    """Receive a message of that size, or nothing if the other side is gone."""
    try:
        message = channel.recv(size, socket.MSG_WAITALL)
    except ConnectionResetError:
        return b""
    return message if len(message) == size else b""


def _begin(streams: list[int], environment: Mapping[str, str]) -> None:
    """Make a fork a process of its own: session, signals, standard streams and variables."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for kind in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(kind, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.update(environment)


def _allocator() -> dict[str, str]:
    """How the C library hands out memory in a worker, unless the user has said how.

    In huge pages, and kept when it is freed: a training step allocates and frees the same maps again and again.
    Measured on a CPU: 5 to 8% of a step.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return {}
    kept = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=2147483648"
    return {"GLIBC_TUNABLES": f"glibc.malloc.hugetlb=1:{kept}"}


@contextlib.contextmanager
def _usr2_blocked():  # type: ignore[no-untyped-def]
    """Start processes that never see SIGUSR2, with which SLURM warns a job's processes: it is for the pool alone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if __name__ == "__main__":
    main()
