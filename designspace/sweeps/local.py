"""The local pool, which keeps workers busy on this machine until every trial is finished.

Each worker is a separate process, so that a crash ends only one attempt at one trial: the attempt is recorded, another
worker replaces the one that crashed, and the trial is attempted again or marked as failed.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from designspace.support.checks import number, whole
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import as_run_errors, concerns_all, error_message
from designspace.support.files import make_folder
from designspace.sweeps.fork_server import ForkServer
from designspace.sweeps.messages import Assignment, Event, Settings, Task
from designspace.sweeps.process import Slot, WorkerProcess, out_of_memory_kills
from designspace.sweeps.sharing import shared_gpus
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.open import run_at
from designspace.trials.run import Run
from designspace.trials.trial import TrialFailure
from designspace.trials.trial_folder import TrialFolder

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""Seconds that a worker may take to complete its step when it is stopped."""
CHECK_EVERY_S = 2.0
"""Seconds between two checks for cancellation, for trials that take too long, and of other processes' claims."""
MAX_FAILED_STARTS = 3
"""Number of workers in a row that may exit before they are ready; then workers cannot start here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Number of retries and time limit of trials."""

    max_retries: int = 2
    """Number of attempts after the first that may fail without an epoch of progress before the trial has failed."""
    trial_timeout_s: float | None = None
    """Time limit of an attempt, which is then ended and counts as failed; None for no limit."""

    def __post_init__(self) -> None:
        whole("max_retries", self.max_retries, 0)
        limit_s = self.trial_timeout_s
        if limit_s is not None and not number("trial_timeout_s", limit_s) > 0:
            raise InputError(f"trial_timeout_min must be a number of minutes above 0, or null, not {limit_s / 60:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Settings of a pool on another machine, which determines the number of its workers."""

    data_root: str
    """Folder of the data sets."""
    device: str
    """Device of the workers: cpu, cuda or auto."""
    workers: int | None
    """Number of workers; None for one per core, or ``workers_per_gpu`` per GPU."""
    workers_per_gpu: int
    retry_policy: RetryPolicy


@dataclass(slots=True)
class _Queue:
    """The tasks that no worker of the pool is running."""

    waiting: deque[Task]
    held: set[Task] = field(default_factory=set)
    """Tasks on which another process is working."""
    watch: claims.Watch = field(default_factory=claims.Watch)
    abandoned: dict[Task, str] = field(default_factory=dict)
    """Keys of claims that are known to be abandoned."""
    unusable: Counter[Task] = field(default_factory=Counter)
    """Number of times that the files of a task could not be used."""

    def next(self) -> Assignment | None:
        """Return the next task for a worker, with its abandoned claim; None if no task is waiting."""
        if not self.waiting:
            return None
        task = self.waiting.popleft()
        return Assignment(task, self.abandoned.pop(task, ""))


class Pool:
    """A pool of workers, one per slot, that runs tasks and reports events to ``on_event``."""

    def __init__(
        self,
        slots: Sequence[Slot],
        data_root: Path,
        launches: Sequence[LaunchFolder],
        code: Path,
        on_event: Callable[[Task, Event], None],
        retry_policy: RetryPolicy | None = None,
        log: Path | None = None,
        threads: int = 1,
    ) -> None:
        """Create a pool.

        Args:
            slots: slots of the workers.
            data_root: folder of the data sets.
            launches: the launches that the pool works for; if one is cancelled, the pool stops.
            code: folder from which workers import the package (see `snapshot`).
            on_event: called with each task and event.
            retry_policy: number of retries and time limit.
            log: log of the workers; by default the log of the first launch.
            threads: number of threads of each worker on CPUs.
        """
        self._slots = slots
        self._retry_policy = retry_policy or RetryPolicy()
        self._settings = Settings(slots[0].device, str(data_root), self._retry_policy.max_retries, threads)
        self._launches = launches
        self._code = code
        self._log = log or launches[0].workers_log
        self._on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._server: ForkServer | None = None
        self._workers: list[WorkerProcess] = []
        self._idle: list[Slot] = []
        self._failed_starts = 0
        self._skipped = 0
        self._has_trained = False
        self._runs: dict[str, Run] = {}
        self._asked_to_stop = False
        self._environment: Mapping[str, str] = {}

    def without_progress(self) -> list[tuple[Task, float]]:
        """Return the running tasks of which no epoch has been completed yet, and their duration in seconds."""
        now = time.monotonic()
        return [
            (worker.task, now - worker.training_since)
            for worker in self._workers
            if worker.task and worker.training_since and not worker.has_progressed
        ]

    def ask_to_stop(self, *_: object) -> None:
        """Make `run` stop soon and cleanly; safe in a signal handler."""
        self._asked_to_stop = True

    def run(self, tasks: Sequence[Task]) -> list[Task]:
        """Run all tasks, and return those that were left because another launch is working on them.

        Raises:
            RunError: workers cannot train here, or the launch was cancelled; the workers are stopped first.
            KeyboardInterrupt: Ctrl-C, or `ask_to_stop`; the workers are stopped first. Unfinished trials resume from
                their checkpoints in the next run.
        """
        queue = _Queue(deque(tasks))
        make_folder(self._log.parent)
        self._idle = list(self._slots)
        with shared_gpus(self._slots) as self._environment:
            try:
                self._work(queue)
            finally:
                self.stop()
        return list(queue.held)

    def _work(self, queue: _Queue) -> None:
        """Keep workers busy until no task is left for this pool."""
        checked = time.monotonic()
        self._start_workers(queue)
        while self._workers or queue.waiting or queue.held:
            for key, _ in self._selector.select(timeout=CHECK_EVERY_S / 4):
                self._read_events(key.data, queue)
            if self._asked_to_stop:
                raise KeyboardInterrupt
            if time.monotonic() - checked >= CHECK_EVERY_S:
                checked = time.monotonic()
                self._check_periodically(queue)
            if queue.held and not queue.waiting and not self._workers and self._are_held_tasks_alive(queue):
                break

    def stop(self) -> None:
        """Let every worker complete its step and exit; kill workers that do not exit in time."""
        workers, self._workers = [(worker, worker.task) for worker in self._workers], []
        for worker, _ in workers:
            worker.process.terminate()
            worker.assign(None)
        deadline = time.monotonic() + GRACE_S
        for worker, task in workers:
            try:
                worker.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.process.wait()
                _release_claim(task)
            self._selector.unregister(worker.stdout)
            worker.close()
        if self._server is not None:
            self._server.close()
        self._selector.close()

    def _start_workers(self, queue: _Queue) -> None:
        """Start workers on idle slots while there are more waiting tasks than free workers."""
        while self._idle and len(queue.waiting) > sum(worker.task is None for worker in self._workers):
            if self._server is not None and self._server.has_exited:
                self._server.close()
                self._server = None
            if self._server is None:
                self._server = ForkServer(self._settings, self._code, self._log)
            worker = WorkerProcess(self._idle.pop(0), self._server, self._environment)
            self._workers.append(worker)
            self._selector.register(worker.stdout, selectors.EVENT_READ, worker)

    def _read_events(self, worker: WorkerProcess, queue: _Queue) -> None:
        """Handle the events of a worker, and assign its next task when it is free."""
        events = worker.events()
        if events is None:
            self._remove_worker(worker, queue)
            return
        for event in events:
            if event.kind == "broken":
                raise RunError(event.detail)
            worker.note_event(event)
            if event.kind == "ready":
                self._failed_starts = 0
            if worker.task is not None:
                self._handle_event(worker.task, event, queue)
            if event.ends_task:
                worker.assign(None if worker.is_leaving else queue.next())

    def _handle_event(self, task: Task, event: Event, queue: _Queue) -> None:
        """Update the queue after an event of a task, and report the event."""
        if event.kind == "unusable":
            self._handle_unusable(task, event.detail, queue)
            return
        if event.kind not in ("started", "held"):
            self._has_trained = True
        if event.kind == "retry":
            queue.waiting.append(task)
        if event.kind == "held":
            queue.held.add(task)
        self._on_event(task, event)

    def _remove_worker(self, worker: WorkerProcess, queue: _Queue) -> None:
        """Remove a worker that has exited, and start another one if there are tasks for it."""
        self._workers.remove(worker)
        self._selector.unregister(worker.stdout)
        worker.close()
        code = worker.process.wait()
        self._idle.append(worker.slot)
        if not worker.is_ready and not worker.is_leaving:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise RunError(f"workers cannot start here ({_cause(code)}); see the last lines of {self._log}")
        if worker.task is not None:
            if worker.is_leaving:  # terminated from outside, or unusable after an error on a GPU
                queue.waiting.appendleft(worker.task)
            else:
                self._record_worker_death(worker, worker.task, code, queue)
        self._start_workers(queue)

    def _record_worker_death(self, worker: WorkerProcess, task: Task, code: int, queue: _Queue) -> None:
        """Record that a worker died during a task, which is then attempted again or has failed."""
        try:
            folder = self._folder_of(task)
            # This takes over the dead worker's claim, unless another launch was faster.
            with as_run_errors(), folder.claimed() as claim:
                if claim is None:
                    queue.held.add(task)
                    return
                failure, outside = _failure_of(worker, code, epochs=len(folder.known_history()))
                has_failed = folder.record_failure(failure, self._retry_policy.max_retries, outside=outside)
        except claims.ClaimLost:
            queue.held.add(task)
        except RunError as error:
            if concerns_all(error):
                raise
            self._handle_unusable(task, error_message(error), queue)
        else:
            detail = f"{failure.reason}: {failure.detail}"
            self._handle_event(
                task, Event("failed" if has_failed else "retry", epoch=failure.epochs, detail=detail), queue
            )

    def _handle_unusable(self, task: Task, reason: str, queue: _Queue) -> None:
        """Retry a task whose files cannot be used; after too many retries, leave it to another launch.

        Raises:
            RunError: the files of the first tasks cannot be used, and no task could be trained.
        """
        queue.unusable[task] += 1
        if queue.unusable[task] <= self._retry_policy.max_retries:
            queue.waiting.append(task)
            return
        log.warning("trial %s is skipped: %s", task.key, reason)
        self._on_event(task, Event("failed", detail=f"error: {reason}"))
        self._skipped += 1
        if self._skipped >= MAX_FAILED_STARTS and not self._has_trained:
            raise RunError(reason)

    def _check_periodically(self, queue: _Queue) -> None:
        """Check for what workers do not report: cancellation, time limits and other processes' claims."""
        for launch in self._launches:
            if launch.is_cancelled:
                raise RunError(
                    f"cancelled by {launch.cancelled_by}; run the same command again to train the remaining trials"
                )
        limit = self._retry_policy.trial_timeout_s
        for worker in self._workers:
            if limit and worker.training_since and time.monotonic() - worker.training_since > limit:
                worker.has_timed_out = True
                worker.kill()
        for task in list(queue.held):
            self._check_held(task, queue)
        self._start_workers(queue)

    def _check_held(self, task: Task, queue: _Queue) -> None:
        """Check whether a task of another process is finished or was abandoned."""
        try:
            with as_run_errors():
                folder = self._folder_of(task)
                claim = queue.watch.observe(folder.path)
                is_finished = self._runs[task.run].has_reached(folder.state(), task.epochs)
        except RunError as error:
            queue.held.remove(task)
            self._handle_unusable(task, error_message(error), queue)
            return
        if is_finished:
            queue.held.remove(task)
            self._handle_event(task, Event("skipped"), queue)
        elif claim is None or queue.watch.is_abandoned(claim):
            queue.held.remove(task)
            queue.waiting.append(task)
            queue.abandoned[task] = claim.key if claim else ""

    def _are_held_tasks_alive(self, queue: _Queue) -> bool:
        """Return whether another process was observed working on each held task."""
        return all(queue.watch.was_seen_alive(self._folder_of(task).path) for task in queue.held)

    def _folder_of(self, task: Task) -> TrialFolder:
        """Return the folder of a task's trial."""
        if task.run not in self._runs:
            self._runs[task.run] = run_at(Path(task.run))
        return self._runs[task.run].trial(task.key)


def _release_claim(task: Task | None) -> None:
    """Release the claim of a worker that was killed because it did not stop. This is not a failed attempt."""
    # A full disk must not keep the pool from stopping the others.
    with contextlib.suppress(RunError, claims.ClaimLost), as_run_errors():
        if task:
            with run_at(Path(task.run)).trial(task.key).claimed():
                pass


def _cause(code: int) -> str:
    """Return an exit code as text."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"


def _failure_of(worker: WorkerProcess, code: int, epochs: int) -> tuple[TrialFailure, bool]:
    """Return why a worker died during its task, and whether the cause seems to be outside the trial."""
    if worker.has_timed_out:
        return TrialFailure("time limit", "the trial took longer than trial_timeout_min allows", epochs), False
    detail = f"the worker's process ended with {_cause(code)}"
    is_killed = code == -signal.SIGKILL
    if is_killed and out_of_memory_kills() > worker.kills_before:
        return TrialFailure("out of memory", f"{detail}: this machine had no memory left", epochs), False
    return TrialFailure("worker died", detail, epochs), is_killed
