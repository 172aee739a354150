"""An array task of a launch on SLURM, which trains a batch of trials with its own pool.

Whenever a task starts or restarts, it trains the trials of its batch that are not finished and that no other process is
working on. So a task may run twice, late, or on two nodes at once without harm.
"""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from submitit.helpers import DelayedSubmission

from designspace.support.errors import RunError
from designspace.support.file_errors import as_run_errors
from designspace.support.machine import available_cores
from designspace.support.text import counted
from designspace.sweeps import snapshot
from designspace.sweeps.estimate import costs_of
from designspace.sweeps.local import Pool, PoolSettings
from designspace.sweeps.messages import Task
from designspace.sweeps.slots import within_memory, worker_bytes, worker_slots
from designspace.trials.claims import ClaimLost
from designspace.trials.launches import LaunchFolder
from designspace.trials.open import run_at
from designspace.trials.plan import Plan
from designspace.trials.run import Run
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import TrialFailure

PLAN_WAIT_S = 120.0
"""Seconds that a task waits for the recipe of the run. NFS may hide a new file for up to 60 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayTaskSettings:
    """Settings of all array tasks of a launch."""

    run: str
    """Path of the run folder."""
    launch: str
    """Path of the launch folder."""
    pool: PoolSettings
    limit_s: float
    """A task that SLURM warns earlier than this was pre-empted; a task that it warns later has used up its time."""
    epochs: int | None = None
    """Number of epochs after which trials are paused; None to train them to their ends."""


class ArrayTask:
    """The function that an array task runs. submitit calls `checkpoint` when its time is up."""

    def __init__(self, settings: ArrayTaskSettings) -> None:
        self.settings = settings
        self._pool: Pool | None = None

    def __call__(self, index: int) -> str:
        """Train the unfinished trials of the batch of task ``index``, and return their number as text."""
        run, launch = run_at(Path(self.settings.run)), LaunchFolder(Path(self.settings.launch))
        plan = _plan_of(run)
        epochs = self.settings.epochs
        tasks = [Task(self.settings.run, key, epochs) for key in launch.tasks()[index]]
        tasks = [task for task in tasks if not run.has_reached(run.trial(task.key).state(), epochs)]
        pool_settings, root = self.settings.pool, Path(self.settings.pool.data_root)
        is_single = isinstance(run, TrainingFolder)  # its only worker uses all cores
        workers = 1 if is_single else pool_settings.workers
        slots = worker_slots(pool_settings.device, workers, pool_settings.workers_per_gpu, plan.recipe.devices)
        bytes_per_worker = worker_bytes(costs_of(run, plan.recipe, root), plan.recipe, slots[0].device, root)
        slots, note = within_memory(slots, bytes_per_worker, is_fixed=workers is not None)
        print(f"{counted(len(tasks), 'trial')}, {counted(len(slots), 'worker')}. {note}", flush=True)
        log, code = launch.task_log(index), snapshot.PACKAGE.parent
        threads = max(1, available_cores() // plan.recipe.devices) if is_single else 1
        self._pool = Pool(
            slots, root, [launch], code, lambda task, event: None, pool_settings.retry_policy, log, threads
        )
        # SLURM sends SIGTERM first when it ends a job: stop cleanly, and wait for the end.
        signal.signal(signal.SIGTERM, self._pool.ask_to_stop)
        with contextlib.suppress(KeyboardInterrupt):
            self._pool.run(tasks)
            # From the last trial, which is likely to be waiting: thousands of tasks must not each read all trials.
            if all(run.trial(key).state().is_finished for key in reversed(run.trial_keys())):
                run.write_results()
            return counted(len(tasks), "trial")
        print("terminated; unfinished trials will resume from their checkpoints", flush=True)
        raise SystemExit(128 + signal.SIGTERM)

    def checkpoint(self, index: int) -> DelayedSubmission:
        """Stop cleanly, and return the task to be submitted again, which continues from the files."""
        pool = self._pool
        if pool is not None:
            stalled = pool.without_progress()
            pool.stop()
            for task, seconds in stalled:
                self._record_no_progress(task, seconds)
        return DelayedSubmission(ArrayTask(self.settings), index)

    def _record_no_progress(self, task: Task, seconds: float) -> None:
        """Record that a trial completed no epoch before the task ran out of time or was pre-empted."""
        folder = run_at(Path(task.run)).trial(task.key)
        detail = f"no epoch ended within {seconds / 60:.0f} minutes of a task"
        failure = TrialFailure("time limit", detail, len(folder.known_history()))
        is_pre_empted = seconds < self.settings.limit_s
        retries = self.settings.pool.retry_policy.max_retries
        try:
            with as_run_errors(), folder.claimed() as claim:
                if claim is not None:
                    folder.record_failure(failure, retries, outside=is_pre_empted)
        except (RunError, ClaimLost) as error:  # other trials have yet to be recorded
            print(f"{folder.path}: {error}", flush=True)


def _plan_of(run: Run) -> Plan:
    """Return the plan of a run. A launch writes it after its tasks are accepted, and file systems may delay it.

    Raises:
        RunError: there is no plan.
    """
    deadline = time.monotonic() + PLAN_WAIT_S
    while (plan := run.plan()) is None:
        if time.monotonic() > deadline:
            raise RunError(f"{run.path} has no recipe; its launch ended before it wrote one. Launch it again")
        time.sleep(0.5)
    return plan
