"""A fork server: workers are forked from one process that has imported torch, which takes most of the start-up time.

``python -m designspace.sweeps.fork_server SETTINGS`` (see `messages.Settings`) reads requests from a socket, which is
its standard input, and answers with the process ids, and later the exit codes, of the workers that it has forked. It
exits when the socket is closed; its workers notice that, and exit after their step.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from designspace.support.files import writing
from designspace.sweeps import head_start, snapshot, worker
from designspace.sweeps.head_start import LENGTH, malloc_variables, usr2_blocked
from designspace.sweeps.messages import Settings

_ANSWER = struct.Struct("!?Ii")
"""Whether a worker has exited, its number, and its exit code or, if it has just started, its process id."""


class ForkServer:
    """A client of the server, for the pool.

    Args:
        settings: settings of the workers.
        code: folder from which the server imports the package.
        log: file for the messages of the server and its workers.

    Raises:
        RunError: the log cannot be written.
    """

    def __init__(self, settings: Settings, code: Path, log: Path) -> None:
        self._log = log
        self._count = 0
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}
        environment = {**malloc_variables(), **os.environ, **snapshot.environment(code)}
        with self._open_log() as errors:
            # torch has been imported with one thread.
            ahead = head_start.take() if settings.threads == 1 else None
            if ahead and ahead.hand_over(dataclasses.asdict(settings), code, environment, errors.fileno()):
                self._process, self._channel = ahead.process, ahead.channel
                return
            self._channel, server_channel = socket.socketpair()
            with server_channel, usr2_blocked():
                # In a new session, so that Ctrl-C reaches only the pool, which then stops the workers cleanly.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(settings))],
                    stdin=server_channel.fileno(),
                    stdout=errors,
                    stderr=errors,
                    env=environment,
                    start_new_session=True,
                )

    def _open_log(self) -> BinaryIO:
        """Open the log for appending.

        Raises:
            RunError: the log cannot be written.
        """
        with writing(self._log):
            return self._log.open("ab")

    @property
    def has_exited(self) -> bool:
        """Whether the server has exited, so that no more workers can be started."""
        return self._process.poll() is not None

    def start(self, environment: Mapping[str, str]) -> ForkedWorker:
        """Request a worker with additional environment variables. It starts when the server has imported torch.

        Raises:
            RunError: the log cannot be written.
        """
        self._count += 1
        request = json.dumps({"number": self._count, "environment": dict(environment)}).encode()
        with self._open_log() as errors:
            (orders_from, orders_to), (events_from, events_to) = os.pipe(), os.pipe()
            streams = [orders_from, events_to, errors.fileno()]
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server has exited
                socket.send_fds(self._channel, [LENGTH.pack(len(request))], streams)
                self._channel.sendall(request)
        os.close(orders_from)
        os.close(events_to)
        return ForkedWorker(self, self._count, orders_to, events_from)

    def pid_of(self, number: int) -> int | None:
        """Return the process id of a worker, or None if it has not started yet or has exited."""
        while number not in self._codes and self._read_answer(0):
            pass
        return None if number in self._codes else self._pids.get(number)

    def has_worker_exited(self, number: int) -> bool:
        """Return whether a worker has exited, or can no longer start."""
        self.pid_of(number)
        return number in self._codes

    def exit_code(self, number: int, timeout_s: float | None) -> int:
        """Wait until a worker exits, and return its exit code, like `subprocess.Popen.wait`.

        If the server exited first, its own code counts for all workers, since they exit with it.

        Raises:
            subprocess.TimeoutExpired: the worker is still running after that time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while number not in self._codes:
            remaining_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._read_answer(remaining_s) and remaining_s == 0:
                raise subprocess.TimeoutExpired(f"worker {number}", timeout_s or 0.0)
        return self._codes[number]

    def _read_answer(self, timeout_s: float | None) -> bool:
        """Wait for one answer, and return whether it came; the exit of the server counts as an answer."""
        if not select.select([self._channel], [], [], timeout_s)[0]:
            return False
        answer = _receive(self._channel, _ANSWER.size)
        if answer:
            has_exited, number, value = _ANSWER.unpack(answer)
            (self._codes if has_exited else self._pids)[number] = value
        else:
            self._record_exit()
        return True

    def _record_exit(self) -> None:
        """Wait until the server exits, and use its exit code for its workers."""
        self._channel.close()
        code = self._process.wait()
        self._codes = dict.fromkeys(range(1, self._count + 1), code) | self._codes

    def close(self) -> None:
        """Kill the server. Its remaining workers exit after their step."""
        self._process.kill()  # it may still be importing torch
        self._record_exit()


class ForkedWorker:
    """A worker of a fork server, with the parts of `subprocess.Popen` that a pool needs."""

    def __init__(self, server: ForkServer, number: int, orders: int, events: int) -> None:
        self._server = server
        self._number = number
        self.stdin = os.fdopen(orders, "wb")
        self.stdout = os.fdopen(events, "rb")

    @property
    def pid(self) -> int | None:
        """Process id; None if the worker has not started yet or has exited."""
        return self._server.pid_of(self._number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the worker exits, and return its exit code (see `ForkServer.exit_code`)."""
        return self._server.exit_code(self._number, timeout)

    def terminate(self) -> None:
        """Make the worker exit after its step. If it has not started, it exits when its standard input is closed."""
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the worker and its children; if it has not started yet, kill the server, so that it never starts."""
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):  # it has just exited
                os.killpg(pid, signal.SIGKILL)
        elif not self._server.has_worker_exited(self._number):
            self._server.close()


def serve(fields: Mapping[str, Any]) -> None:
    """Fork workers with settings of these fields until the socket is closed, and run a worker in each fork."""
    gc.disable()  # collections during imports would take a fifth of a second
    settings = Settings(**fields)
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # read when torch is first imported
    channel = socket.socket(fileno=os.dup(0))
    # SLURM signals all processes of a job; this one must survive to report the exit codes of the workers.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.load_modules()
    # What was imported stays: garbage collections in workers need not visit it, nor copy its pages.
    gc.freeze()
    gc.enable()
    if _serve(channel):
        _work_and_exit(settings)


def _work_and_exit(settings: Settings) -> NoReturn:
    """Run a worker in this fork, and exit without deleting torch's modules one by one, which takes half a second."""
    code = 1
    try:
        worker.main(settings)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a full disk, or it is closed
                stream.flush()
        os._exit(code)


def _serve(channel: socket.socket) -> bool:
    """Fork workers until the socket is closed; return whether this process is one of them."""
    wakeup_read, wakeup_write = os.pipe()
    sources: list[socket.socket | int] = [channel, wakeup_read]
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler makes the signal write to the pipe
    numbers: dict[int, int] = {}  # process id -> number of the worker
    while True:
        ready = select.select(sources, [], [])[0]
        if wakeup_read in ready:
            os.read(wakeup_read, 4096)
            _report_exits(channel, numbers)
        if channel in ready:
            length, streams, _, _ = socket.recv_fds(channel, LENGTH.size, 3)
            if not length:
                return False
            request = json.loads(_receive(channel, LENGTH.unpack(length)[0]))
            pid = os.fork()
            if pid == 0:
                for handle in (channel.detach(), wakeup_read, wakeup_write):
                    os.close(handle)
                _set_up_fork(streams, request["environment"])
                return True
            for stream in streams:
                os.close(stream)
            numbers[pid] = request["number"]
            _answer(channel, False, request["number"], pid)


def _report_exits(channel: socket.socket, numbers: dict[int, int]) -> None:
    """Answer with the exit codes of the workers that have exited."""
    while numbers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _answer(channel, True, numbers.pop(pid), os.waitstatus_to_exitcode(status))


def _answer(channel: socket.socket, has_exited: bool, number: int, value: int) -> None:
    """Send an answer to the pool, unless it has exited."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(_ANSWER.pack(has_exited, number, value))


def _receive(channel: socket.socket, size: int) -> bytes:
    """Receive a message of that size; return nothing if the other side has exited."""
    try:
        message = channel.recv(size, socket.MSG_WAITALL)
    except ConnectionResetError:
        return b""
    return message if len(message) == size else b""


def _set_up_fork(streams: list[int], environment: Mapping[str, str]) -> None:
    """Give a fork its own session, signal handlers, standard streams and environment variables."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for kind in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(kind, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.update(environment)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
