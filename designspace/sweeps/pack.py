"""A task of a launch on SLURM: it trains a pack of trials with a pool of its own.

A task is asked to do trials, not told which are left: when it starts, or starts again, it does those of its pack that
have not ended and that nobody else is at. So a task that runs twice, or late, or on two nodes at once, does no harm.
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
from designspace.sweeps.places import slots, within_memory, worker_bytes
from designspace.trials.claims import ClaimLost
from designspace.trials.launches import LaunchFolder
from designspace.trials.open import run_at
from designspace.trials.plan import Plan
from designspace.trials.run import Run
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import TrialFailure

PLAN_WAIT_S = 120.0
"""How long a task waits for the run's recipe. NFS may hide a new file for up to 60 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all tasks of a launch need to know."""

    run: str
    launch: str
    pool: PoolSettings
    limit_s: float
    """A trial that SLURM warns after less than this was pre-empted; after more, it has used up a task's time."""


class Pack:
    """The function of a task: train a pack of trials. submitit calls `checkpoint` when time is up."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._pool: Pool | None = None

    def __call__(self, index: int) -> str:
        """Train what is left of pack ``index`` and say how many trials that were."""
        work, run, launch = self.work, run_at(Path(self.work.run)), LaunchFolder(Path(self.work.launch))
        plan = _plan_of(run)
        tasks = [Task(work.run, key) for key in launch.tasks()[index]]
        tasks = [task for task in tasks if not run.trial(task.key).state().has_ended]
        settings, root = work.pool, Path(work.pool.data_root)
        is_single = isinstance(run, TrainingFolder)  # then its worker has all cores
        workers = 1 if is_single else settings.workers
        places = slots(settings.device, workers, settings.workers_per_gpu, plan.recipe.devices)
        need = worker_bytes(costs_of(run, plan.recipe, root), plan.recipe, places[0].device, root)
        places, note = within_memory(places, need, is_fixed=workers is not None)
        print(f"{counted(len(tasks), 'trial')}, {counted(len(places), 'worker')}. {note}", flush=True)
        log, code = launch.task_log(index), snapshot.PACKAGE.parent
        threads = max(1, available_cores() // plan.recipe.devices) if is_single else 1
        self._pool = Pool(places, root, [launch], code, lambda task, event: None, settings.effort, log, threads)
        # SLURM ends a job with SIGTERM first: leave the trials in good order and wait for the end.
        signal.signal(signal.SIGTERM, self._pool.ask_to_stop)
        with contextlib.suppress(KeyboardInterrupt):
            self._pool.run(tasks)
            # From the last one, which is likely to wait still: thousands of tasks must not each read all of a run.
            if all(run.trial(key).state().has_ended for key in reversed(run.trial_keys())):
                run.write_results()
            return counted(len(tasks), "trial")
        print("told to end; what is unfinished goes on from its checkpoint", flush=True)
        raise SystemExit(128 + signal.SIGTERM)

    def checkpoint(self, index: int) -> DelayedSubmission:
        """Stop in good order; the task starts again as it did the first time, and goes on from the files."""
        pool = self._pool
        if pool is not None:
            stuck = pool.without_progress()
            pool.stop()
            for task, seconds in stuck:
                self._note_no_progress(task, seconds)
        return DelayedSubmission(Pack(self.work), index)

    def _note_no_progress(self, task: Task, seconds: float) -> None:
        """Note that a task's whole time was not enough for an epoch of a trial, or that it was pre-empted so early."""
        folder = run_at(Path(task.run)).trial(task.key)
        words = f"no epoch ended within {seconds / 60:.0f} minutes of a task"
        failure = TrialFailure("time limit", words, len(folder.known_history()))
        pre_empted = seconds < self.work.limit_s
        retries = self.work.pool.effort.max_retries
        try:
            with as_run_errors(), folder.claimed() as claim:
                if claim is not None:
                    folder.note_failure(failure, retries, outside=pre_empted)
        except (RunError, ClaimLost) as error:  # the task's other trials have still to be noted
            print(f"{folder.path}: {error}", flush=True)


def _plan_of(run: Run) -> Plan:
    """Return the plan of a run. A launch writes it once its tasks are accepted, and file systems show it late.

    Raises:
        RunError: there is none.
    """
    deadline = time.monotonic() + PLAN_WAIT_S
    while (plan := run.plan()) is None:
        if time.monotonic() > deadline:
            raise RunError(f"{run.path} has no recipe; its launch ended before it wrote one. Launch it again")
        time.sleep(0.5)
    return plan
