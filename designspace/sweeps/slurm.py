"""Launching on SLURM through submitit: array tasks (see `array_task`) for trials that no task has yet."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder, writing
from designspace.support.text import counted, is_printable
from designspace.sweeps import scheduler, snapshot
from designspace.sweeps.array_task import ArrayTask, ArrayTaskSettings
from designspace.sweeps.batches import batches_of, trials_per_task
from designspace.sweeps.local import PoolSettings
from designspace.sweeps.slurm_settings import SlurmSettings
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.plan import Plan
from designspace.trials.run import Run

MAX_SUBMITIT_TIMEOUTS = 1_000_000
"""submitit ends a task that timed out more often. This is unlimited, since trials without progress fail instead."""
REQUEUES_AFTER_KILL = 3
"""Number of times that a task is requeued after its process was killed or crashed."""
END_WAIT_S = 600
"""Maximum seconds that the script of a task waits for SLURM to end it, after its process received SIGTERM."""


@dataclass(frozen=True, slots=True)
class Array:
    """A job array of a launch, with some of its tasks."""

    name: str
    first: int
    count: int
    job_id: str = ""


def arrays_of(launch: LaunchFolder) -> list[Array]:
    """Return the arrays of a launch; empty if it is not on SLURM."""
    return [Array(**fields) for fields in launch.about().get("arrays", [])]


def queued(run: Run) -> dict[str, scheduler.Job]:
    """Return the keys of a run's trials in pending or running SLURM tasks, each with its task in SLURM's queue.

    Raises:
        RunError: SLURM does not answer.
    """
    launches = [(launch, arrays_of(launch)) for launch in run.launches() if not launch.is_cancelled]
    jobs = scheduler.queue([array.name for _, arrays in launches for array in arrays])
    by_name: dict[str, list[scheduler.Job]] = {}
    for job in jobs:
        if job.state == "COMPLETING":
            continue  # nearly finished; if it is requeued, it will have nothing left to do
        by_name.setdefault(job.name, []).append(job)
    trials = {}
    for launch, arrays in launches:
        queued_jobs = [(array, job) for array in arrays for job in by_name.get(array.name, ())]
        tasks = launch.tasks() if queued_jobs else []
        trials.update({key: job for array, job in queued_jobs for key in tasks[array.first + job.index]})
    return trials


def wait_for_end(launches: Sequence[LaunchFolder], poll_s: float = 2.0) -> None:
    """Wait until no task of some launches is pending or running; a task may last a little longer than its trials."""
    names = [array.name for launch in launches for array in arrays_of(launch)]
    while names:
        with contextlib.suppress(RunError):  # SLURM does not answer
            if all(job.state == "COMPLETING" for job in scheduler.queue(names)):
                return
        time.sleep(poll_s)


def measurements_in_queue(run: Run) -> list[scheduler.Job]:
    """Return the jobs in SLURM's queue that measure the networks of a run.

    Raises:
        RunError: SLURM does not answer.
    """
    launches = [each for each in run.launches() if each.is_measurement]
    names = [array.name for launch in launches if not launch.is_cancelled for array in arrays_of(launch)]
    return [job for job in scheduler.queue(names) if job.state != "COMPLETING"] if names else []


def executor(
    settings: SlurmSettings, jobs: Path, code: Path, name: str, count: int, after: str = ""
) -> submitit.SlurmExecutor:
    """Return the submitit executor for an array of ``count`` tasks."""
    # SLURM's warning would end a Python process that has no handler for it yet, so it is ignored until then.
    ignore_warning = f"trap '' USR2; exec {settings.python} \"$@\""
    python = f"bash -c {shlex.quote(ignore_warning)} python"
    slurm_executor = submitit.SlurmExecutor(jobs, max_num_timeout=MAX_SUBMITIT_TIMEOUTS, python=python)
    options: dict[str, Any] = {
        "job_name": name,
        "time": settings.minutes,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "gres": settings.gres,
        "mem": settings.mem,
        "ntasks_per_node": 1,  # otherwise srun starts one per CPU if a task has a node to itself
        "cpus_per_task": settings.cpus_per_task,
        "gpus_per_node": settings.gpus_per_task or None,
        "array_parallelism": settings.array_parallelism or count,
        "signal_delay_s": settings.delay_s,
        "setup": [*settings.setup, *_setup_lines(jobs, code)],
        "dependency": f"afterany:{after}" if after else None,
        "wckey": None,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **settings.more},
    }
    slurm_executor.update_parameters(
        **{key: value for key, value in options.items() if value is not None or key == "wckey"}
    )
    return slurm_executor


_END = """\
terminated=
trap terminated=1 TERM
end() {
  case $1 in
    134|135|136|137|139)
      echo killed >>"$killed"
      [ $(wc -l <"$killed") -gt MAX_REQUEUES ] || scontrol requeue $SLURM_JOB_ID;;
    143) [ -n "$terminated" ] || { sleep END_WAIT_S & wait $!; };;
  esac
}
trap 'end $?' EXIT"""
"""Shell lines that a task's script runs at its end.

srun exits with 128 + the signal that ended the task's process. A task whose process was killed or crashed is requeued,
a few times (scancel ends this shell as well). After SIGTERM, only SLURM knows the reason: a pre-empted job is not
requeued if its script exits by itself within the grace time. So the script waits, unless it received SIGTERM, too."""


def _setup_lines(jobs: Path, code: Path) -> Iterator[str]:
    """Yield shell lines of a task's script that set the path of the code, and handle failures of the task."""
    # In front of what the user's own setup lines added.
    yield f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"
    yield "export PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1"
    # Since SLURM 22.05, srun does not inherit this by itself.
    yield '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK'
    killed = shlex.quote(str(jobs / "killed"))
    yield f"killed={killed}.${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}_${{SLURM_ARRAY_TASK_ID:-0}}"
    yield _END.replace("MAX_REQUEUES", str(REQUEUES_AFTER_KILL)).replace("END_WAIT_S", str(END_WAIT_S))


@dataclass(frozen=True, slots=True)
class Submission:
    """The result of a launch on SLURM."""

    trials: int = 0
    """Number of trials in the submitted tasks."""
    tasks: int = 0
    trials_per_task: int = 0
    job_ids: tuple[str, ...] = ()
    finished: int = 0
    """Number of trials that were finished already."""
    queued: int = 0
    """Number of trials in other tasks, or claimed by another launch."""
    left: tuple[str, ...] = ()
    """Keys of the trials that were not submitted because of the limit on submitted tasks."""
    script: str = ""
    """Text of the first array's batch script."""
    launch: LaunchFolder | None = None

    def describe(self) -> str:
        """Return a sentence on what was submitted."""
        queued = f"{self.queued} {'is' if self.queued == 1 else 'are'} queued or running"
        before = f"{self.finished} had finished before, {queued}"
        if not self.tasks:
            return f"nothing to submit; {before}"
        ids = f" as job {', '.join(self.job_ids)}" if self.job_ids else ""
        tasks = f"{counted(self.tasks, 'task')} of up to {counted(self.trials_per_task, 'trial')}"
        return f"{counted(self.trials, 'trial')} in {tasks}{ids}; {before}"


def submit(
    run: Run,
    plan: Plan,
    settings: SlurmSettings,
    pool: PoolSettings,
    about: Mapping[str, Any],
    trial_s: Callable[[], float],
    workers: int,
    *,
    only: Collection[str] | None = None,
    epochs: int | None = None,
    dry_run: bool = False,
) -> Submission:
    """Submit array tasks for all trials that are waiting, or were stopped early, and are not queued.

    Args:
        run: a run folder with a population.
        plan: how its networks are trained. It is written into the run folder once SLURM has accepted tasks.
        settings: how to submit.
        pool: how each array task trains.
        about: fields to record about the launch.
        trial_s: returns an estimate of the seconds that a trial takes on one worker.
        workers: expected number of workers of a task.
        only: keys of the trials to submit; by default all.
        epochs: number of epochs after which trials are paused; None to train them to their ends.
        dry_run: change nothing, and return what would be submitted.

    Raises:
        InputError: SLURM is not available or refuses the tasks, or the run has another recipe.
        RunError: SLURM does not answer, or the folder cannot be written.
    """
    if not scheduler.is_available():
        raise InputError("launcher=slurm needs SLURM's commands (sbatch, srun, squeue) on the PATH; or launcher=local")
    check_path(run.path.resolve())
    if not dry_run:
        make_folder(run.launches_path)
    with claims.exclusive(run.launches_path) if not dry_run else contextlib.nullcontext() as claim:
        planned, batches = _plan_batches(run, plan, settings, trial_s, workers, only, epochs)
        if not batches:
            return planned
        sizes = _array_sizes(len(batches), settings)
        if claim is None:
            return dataclasses.replace(planned, script=_acceptable_script(run, settings, sizes[0]))
        run.check_plan(plan.recipe, plan.seed, plan.axes)
        code = snapshot.snapshot(run.code, run.imported_names(plan)).resolve()
        launch = LaunchFolder(run.new_launch({**about, "launcher": "slurm", "code": str(code)}).path.resolve())
        launch.write_tasks(batches)
        paths = {"run": str(run.path.resolve()), "launch": str(launch.path)}
        task = ArrayTask(ArrayTaskSettings(**paths, limit_s=settings.limit_s, pool=pool, epochs=epochs))
        write_plan = functools.partial(run.write_plan, plan.recipe, plan.seed, plan.repeats, plan.axes, plan.metric)
        accepted, job_ids = submit_arrays(run, launch, settings, task, code, sizes, claim, write_plan)
        refused = tuple(key for batch in batches[accepted:] for key in batch)
        return dataclasses.replace(
            planned,
            launch=launch,
            job_ids=job_ids,
            tasks=accepted,
            trials=planned.trials - len(refused),
            left=refused + planned.left,
        )


def check_path(path: Path) -> None:
    """Raise unless SLURM uses a path unchanged: it expands % in names of logs, and a backslash prevents this.

    Raises:
        InputError: the path contains characters that SLURM or a batch script would change.
    """
    if special := [character for character in "%\\" if character in str(path)]:
        listed = " and ".join(special)
        raise InputError(f"{path}: SLURM interprets {listed} in paths; rename the folder")
    if not is_printable(str(path)):
        raise InputError(f"{path}: this path has characters that a batch script cannot contain; rename the folder")


def _job_name(run: str, *parts: object) -> str:
    """Return the name of a job of a run, in plain ASCII, since squeue separates names by commas."""
    return "-".join(map(str, ("ds", re.sub(r"[^\w.-]", "_", run, flags=re.ASCII), *parts)))


def _plan_batches(
    run: Run,
    plan: Plan,
    settings: SlurmSettings,
    trial_s: Callable[[], float],
    workers: int,
    only: Collection[str] | None,
    epochs: int | None = None,
) -> tuple[Submission, list[list[str]]]:
    """Return what would be submitted, and the keys of the trials of each array task."""
    states = run.states([key for key in run.trial_keys(plan) if only is None or key in only])
    queued_keys = queued(run)
    reached = {state.key for state in states if run.has_reached(state, epochs)}
    waiting = [
        state.key
        for state in states
        if state.status in ("waiting", "stopped") and state.key not in queued_keys and state.key not in reached
    ]
    finished = len(reached)
    planned = Submission(finished=finished, queued=len(states) - finished - len(waiting))
    if not waiting:
        return planned, []
    size = settings.trials_per_task or trials_per_task(len(waiting), trial_s() / workers, settings)
    count = min(len(waiting), size * _max_new_tasks(settings))
    batches = batches_of(waiting[:count], size, settings.array_parallelism)
    return dataclasses.replace(
        planned, trials_per_task=size, tasks=len(batches), trials=count, left=tuple(waiting[count:])
    ), batches


def _array_sizes(count: int, settings: SlurmSettings) -> list[int]:
    """Return the sizes of arrays that together have ``count`` tasks."""
    max_size = min(settings.max_array or sys.maxsize, scheduler.max_array_size())
    return [min(max_size, count - first) for first in range(0, count, max_size)]


def submit_arrays(
    run: Run,
    launch: LaunchFolder,
    settings: SlurmSettings,
    task: Callable[[int], str],
    code: Path,
    sizes: Sequence[int],
    claim: claims.Claim,
    write_plan: Callable[[], None] = lambda: None,
) -> tuple[int, tuple[str, ...]]:
    """Submit the arrays of a launch; return the number of tasks that SLURM accepted, and the ids of their jobs.

    A task calls ``task`` with its index. If a limit refuses an array after the first one, it is left for later.
    ``write_plan`` is called once the first array is accepted, whose tasks wait for the plan. If it raises, they are
    cancelled.
    """
    run_path = run.path.resolve()
    about, names = launch.about(), [_job_name(run_path.name, launch.token, k) for k in range(len(sizes))]
    arrays: list[Array] = []
    for name, count in zip(names, sizes, strict=True):
        first = sum(array.count for array in arrays)
        previous = arrays[-1].job_id if arrays and settings.array_parallelism else ""
        # Recorded first, so that the tasks can be found by name if this process is killed now.
        launch.write_about({**about, "arrays": [dataclasses.asdict(a) for a in (*arrays, Array(name, first, count))]})
        slurm_executor = executor(settings, launch.jobs, code, name, count, previous)
        if not claim.is_ours():
            raise RunError(f"another launch has begun to submit the trials of {run_path}; see designspace.status")
        try:
            with writing(launch.jobs):  # submitit writes the tasks and the batch script there
                jobs = slurm_executor.map_array(task, range(first, first + count))
        except submitit.core.utils.FailedSubmissionError as error:
            raise InputError(f"the answer of sbatch was not understood: {error}") from error
        except submitit.core.utils.FailedJobError as error:
            message = str(error).strip()
            if "timed out" in message or "contact" in message:  # it may have been accepted, so it stays recorded
                raise RunError(f"SLURM does not answer: {_reason(message)}") from error
            launch.write_about({**about, "arrays": [dataclasses.asdict(a) for a in arrays]})
            for path in launch.jobs.glob("*.pkl"):
                if len(path.stem) == 32:  # of the refused array
                    with writing(path):
                        path.unlink()
            is_limit = bool(re.search(r"submit limit|Max\w*Submit", message))
            if arrays and is_limit:
                break
            hint = "; set launcher.max_submitted to the number of tasks that you may have in the queue" * is_limit
            raise InputError(f"SLURM refused the tasks: {_reason(message)}{hint}") from error
        arrays.append(Array(name, first, count, jobs[0].job_id.split("_")[0]))
        launch.write_about({**about, "arrays": [dataclasses.asdict(array) for array in arrays]})
        if len(arrays) == 1:
            try:
                write_plan()
            except (InputError, RunError):
                scheduler.cancel([name])
                launch.cancel("a launch whose recipe could not be written")
                raise
    launch.update(ended=True)  # the submission, not the tasks
    return sum(array.count for array in arrays), tuple(array.job_id for array in arrays)


def _max_new_tasks(settings: SlurmSettings) -> int:
    """Return the number of tasks that may be submitted now."""
    if settings.max_submitted is None:
        return sys.maxsize
    return max(0, settings.max_submitted - scheduler.count_own_tasks())


def _acceptable_script(run: Run, settings: SlurmSettings, count: int) -> str:
    """Return the batch script of an array, as a launch would submit it.

    Raises:
        InputError: SLURM would refuse it.
        RunError: SLURM does not answer.
    """
    jobs = run.launches_path / "TIME-TOKEN" / "jobs"
    script = _script(executor(settings, jobs, run.code, _job_name(run.name), count), count)
    if refusal := scheduler.refusal(script):
        raise InputError(f"SLURM would refuse the tasks: {refusal}")
    return script


def _script(slurm_executor: submitit.SlurmExecutor, count: int) -> str:
    """Return the batch script that an executor would submit for an array."""
    slurm_executor.parameters["map_count"] = count
    return str(slurm_executor._make_submission_file_text(slurm_executor._submitit_command_str, ""))


def _reason(message: str) -> str:
    """Return the output of sbatch in an error message, without the traceback around it."""
    lines = [line for line in message.splitlines() if line.startswith("sbatch:")]
    return " ".join(lines) or message.splitlines()[-1]
