"""The local pool: keeps workers busy on this machine until every trial has ended.

A worker is a process of its own, so that a crash takes one trial's try with it and no more: the try is noted, another
worker takes the dead one's place, and the trial is tried again or is marked as failed.
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
from designspace.sweeps.messages import Event, Order, Settings, Task
from designspace.sweeps.process import Process, Slot, out_of_memory_kills
from designspace.sweeps.sharing import shared_gpus
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.open import run_at
from designspace.trials.run import Run
from designspace.trials.trial import TrialFailure
from designspace.trials.trial_folder import TrialFolder

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""How long a worker may take to end its step when it is told to stop."""
LOOK_EVERY_S = 2.0
"""How often the pool looks whether it was cancelled, whether a trial took too long, and at others' claims."""
STILLBORN = 3
"""So many workers in a row that end before they are ready mean that none can work here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard to try."""

    max_retries: int = 2
    """Tries after the first that may end badly without an epoch of progress, before the trial has failed."""
    trial_timeout_s: float | None = None
    """A try that takes longer is ended and counts as failed."""

    def __post_init__(self) -> None:
        whole("max_retries", self.max_retries, 0)
        limit_s = self.trial_timeout_s
        if limit_s is not None and not number("trial_timeout_s", limit_s) > 0:
            raise InputError(f"trial_timeout_min must be a number of minutes above 0, or null, not {limit_s / 60:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """What a pool is started with on another machine, which decides how many workers it holds."""

    data_root: str
    """Folder of the data sets."""
    device: str
    """Of the workers: cpu, cuda or auto."""
    workers: int | None
    """None: one per core, or ``workers_per_gpu`` per GPU."""
    workers_per_gpu: int
    effort: Effort


@dataclass(slots=True)
class _Queue:
    """The tasks that no worker is at."""

    waiting: deque[Task]
    held: set[Task] = field(default_factory=set)
    """Somebody else is at work on them."""
    watch: claims.Watch = field(default_factory=claims.Watch)
    abandoned: dict[Task, str] = field(default_factory=dict)
    unusable: Counter[Task] = field(default_factory=Counter)
    """How often a task's files could not be used."""

    def next(self) -> Order | None:
        """The next task, with what is known of its claim."""
        if not self.waiting:
            return None
        task = self.waiting.popleft()
        return Order(task, self.abandoned.pop(task, ""))


class Pool:
    """Runs tasks on workers, one a slot, and tells ``on_event`` what happens."""

    def __init__(
        self,
        places: Sequence[Slot],
        data_root: Path,
        launches: Sequence[LaunchFolder],
        code: Path,
        on_event: Callable[[Task, Event], None],
        effort: Effort | None = None,
        log: Path | None = None,
        threads: int = 1,
    ) -> None:
        """Make a pool.

        Args:
            places: where workers run.
            data_root: folder of the data sets.
            launches: what this is for; when one is cancelled, the pool ends.
            code: where workers import the package from (see `snapshot`).
            on_event: called with what becomes of each task.
            effort: retries and time limits.
            log: where workers' messages go; the first launch's log by default.
            threads: of each worker on CPUs.
        """
        self._places = places
        self._effort = effort or Effort()
        self._settings = Settings(places[0].device, str(data_root), self._effort.max_retries, threads)
        self._launches = launches
        self._code = code
        self._log = log or launches[0].workers_log
        self._on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._server: ForkServer | None = None
        self._workers: list[Process] = []
        self._idle: list[Slot] = []
        self._stillborn = 0
        self._left_out = 0
        self._has_worked = False
        self._runs: dict[str, Run] = {}
        self._asked_to_stop = False
        self._environment: Mapping[str, str] = {}

    def without_progress(self) -> list[tuple[Task, float]]:
        """Tasks that workers are at without having completed an epoch of them, and for how many seconds."""
        now = time.monotonic()
        return [
            (worker.task, now - worker.training_since)
            for worker in self._workers
            if worker.task and worker.training_since and not worker.has_progressed
        ]

    def ask_to_stop(self, *_: object) -> None:
        """Make `run` end soon, in good order; safe in a signal's handler."""
        self._asked_to_stop = True

    def run(self, tasks: Sequence[Task]) -> list[Task]:
        """Run all tasks to their end, and give those that were left because another launch is at work on them.

        Raises:
            RunError: a worker cannot work at all, or the launch was cancelled; the workers are stopped first.
            KeyboardInterrupt: Ctrl-C, or `ask_to_stop`; the workers are stopped first. What is unfinished goes on from
                its checkpoint in the next run.
        """
        queue = _Queue(deque(tasks))
        make_folder(self._log.parent)
        self._idle = list(self._places)
        with shared_gpus(self._places) as self._environment:
            try:
                self._work(queue)
            finally:
                self.stop()
        return list(queue.held)

    def _work(self, queue: _Queue) -> None:
        """Keep workers busy until nothing is left that this pool should do."""
        looked = time.monotonic()
        self._staff(queue)
        while self._workers or queue.waiting or queue.held:
            for key, _ in self._selector.select(timeout=LOOK_EVERY_S / 4):
                self._listen(key.data, queue)
            if self._asked_to_stop:
                raise KeyboardInterrupt
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                self._look_around(queue)
            if queue.held and not queue.waiting and not self._workers and self._all_in_good_hands(queue):
                break

    def stop(self) -> None:
        """Let every worker end its step, write nothing half, and go; kill those that do not."""
        workers, self._workers = [(worker, worker.task) for worker in self._workers], []
        for worker, _ in workers:
            worker.process.terminate()
            worker.give(None)
        deadline = time.monotonic() + GRACE_S
        for worker, task in workers:
            try:
                worker.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.process.wait()
                _free(task)
            self._selector.unregister(worker.stdout)
            worker.close()
        if self._server is not None:
            self._server.close()
        self._selector.close()

    def _staff(self, queue: _Queue) -> None:
        """Start workers on idle slots while there is more to do than workers."""
        while self._idle and len(queue.waiting) > sum(worker.task is None for worker in self._workers):
            if self._server is None or self._server.has_ended:
                self._server = ForkServer(self._settings, self._code, self._log)
            worker = Process(self._idle.pop(0), self._server, self._environment)
            self._workers.append(worker)
            self._selector.register(worker.stdout, selectors.EVENT_READ, worker)

    def _listen(self, worker: Process, queue: _Queue) -> None:
        """Take in what a worker says, and give it its next task when it is free."""
        events = worker.events()
        if events is None:
            self._bury(worker, queue)
            return
        for event in events:
            if event.kind == "broken":
                raise RunError(event.detail)
            worker.hear(event)
            if event.kind == "ready":
                self._stillborn = 0
            if worker.task is not None:
                self._take(worker.task, event, queue)
            if event.ends_task:
                worker.give(None if worker.is_leaving else queue.next())

    def _take(self, task: Task, event: Event, queue: _Queue) -> None:
        """Put a task where its event says that it belongs, and pass the event on."""
        if event.kind == "unusable":
            self._leave_out(task, event.detail, queue)
            return
        if event.kind not in ("started", "held"):
            self._has_worked = True
        if event.kind == "retry":
            queue.waiting.append(task)
        if event.kind == "held":
            queue.held.add(task)
        self._on_event(task, event)

    def _bury(self, worker: Process, queue: _Queue) -> None:
        """A worker has ended, and another takes its place if there is more to do."""
        self._workers.remove(worker)
        self._selector.unregister(worker.stdout)
        worker.close()
        code = worker.process.wait()
        self._idle.append(worker.slot)
        if not worker.is_ready and not worker.is_leaving:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise RunError(f"workers cannot start here ({_cause(code)}); their last words are in {self._log}")
        if worker.task is not None:
            if worker.is_leaving:  # told to end, from outside; or spent after an error on a GPU
                queue.waiting.appendleft(worker.task)
            else:
                self._mourn(worker, worker.task, code, queue)
        self._staff(queue)

    def _mourn(self, worker: Process, task: Task, code: int, queue: _Queue) -> None:
        """Note that a worker died at a task, which is then tried again or has failed."""
        try:
            folder = self._folder_of(task)
            with as_run_errors(), folder.claimed() as claim:  # the dead worker's, if no other launch was faster
                if claim is None:
                    queue.held.add(task)
                    return
                failure, outside = _failure_of(worker, code, epochs=len(folder.known_history()))
                over = folder.note_failure(failure, self._effort.max_retries, outside=outside)
        except claims.ClaimLost:
            queue.held.add(task)
        except RunError as error:
            if concerns_all(error):
                raise
            self._leave_out(task, error_message(error), queue)
        else:
            detail = f"{failure.reason}: {failure.detail}"
            self._take(task, Event("failed" if over else "retry", epoch=failure.epochs, detail=detail), queue)

    def _leave_out(self, task: Task, why: str, queue: _Queue) -> None:
        """Try a task again whose files cannot be used, or leave it, once that was so too often, to another launch.

        Raises:
            RunError: so it was with the first tasks, and none could be worked at.
        """
        queue.unusable[task] += 1
        if queue.unusable[task] <= self._effort.max_retries:
            queue.waiting.append(task)
            return
        log.warning("trial %s is left out: %s", task.key, why)
        self._on_event(task, Event("failed", detail=f"error: {why}"))
        self._left_out += 1
        if self._left_out >= STILLBORN and not self._has_worked:
            raise RunError(why)

    def _look_around(self, queue: _Queue) -> None:
        """See to what no worker says."""
        for launch in self._launches:
            if launch.is_cancelled:
                raise RunError(
                    f"cancelled by {launch.cancelled_by}; run the same command again to continue with the rest"
                )
        limit = self._effort.trial_timeout_s
        for worker in self._workers:
            if limit and worker.training_since and time.monotonic() - worker.training_since > limit:
                worker.is_over_time = True
                worker.kill()
        for task in list(queue.held):
            self._look_at(task, queue)
        self._staff(queue)

    def _look_at(self, task: Task, queue: _Queue) -> None:
        """See whether a task that somebody else is at has ended or was abandoned."""
        try:
            with as_run_errors():
                folder = self._folder_of(task)
                held = queue.watch.look(folder.path)
                has_ended = folder.state().has_ended
        except RunError as error:
            queue.held.remove(task)
            self._leave_out(task, error_message(error), queue)
            return
        if has_ended:
            queue.held.remove(task)
            self._take(task, Event("skipped"), queue)
        elif held is None or queue.watch.is_abandoned(held):
            queue.held.remove(task)
            queue.waiting.append(task)
            queue.abandoned[task] = held.key if held else ""

    def _all_in_good_hands(self, queue: _Queue) -> bool:
        """Whether somebody is seen to be at work on each task that is held."""
        return all(queue.watch.was_seen_alive(self._folder_of(task).path) for task in queue.held)

    def _folder_of(self, task: Task) -> TrialFolder:
        """The folder of a task's trial."""
        if task.run not in self._runs:
            self._runs[task.run] = run_at(Path(task.run))
        return self._runs[task.run].trial(task.key)


def _free(task: Task | None) -> None:
    """Give up the claim of a worker that was killed because it did not stop: no try of the trial's failed."""
    # A full disk must not keep the pool from stopping the others.
    with contextlib.suppress(RunError, claims.ClaimLost), as_run_errors():
        if task:
            with run_at(Path(task.run)).trial(task.key).claimed():
                pass


def _cause(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"


def _failure_of(worker: Process, code: int, epochs: int) -> tuple[TrialFailure, bool]:
    """Why a worker died at its task, and whether something outside seems to have ended it."""
    if worker.is_over_time:
        return TrialFailure("time limit", "the trial took longer than trial_timeout_min allows", epochs), False
    words = f"the worker's process ended with {_cause(code)}"
    killed = code == -signal.SIGKILL
    if killed and out_of_memory_kills() > worker.kills_seen:
        return TrialFailure("out of memory", f"{words}: this machine had no memory left", epochs), False
    return TrialFailure("worker died", words, epochs), killed
