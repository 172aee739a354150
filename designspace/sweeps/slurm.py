"""Launching on SLURM through submitit: arrays of tasks (see `pack`), of trials that no task has yet."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder, writing
from designspace.support.text import counted, is_printable
from designspace.sweeps import scheduler, snapshot
from designspace.sweeps.local import PoolSettings
from designspace.sweeps.pack import Pack, Work
from designspace.sweeps.slurm_settings import Slurm
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.plan import Plan
from designspace.trials.run import Run

FOR_EVER = 1_000_000
"""submitit ends a task that was requeued too often; we end trials that make no progress, and the task goes on."""
REQUEUES_AFTER_KILL = 3
PATIENCE_S = 600
"""A task that was told to end waits so long for its end, at most."""
TASK_S = 3600.0
"""How long a task should last."""


@dataclass(frozen=True, slots=True)
class Array:
    """A part of a launch's tasks that is one job of SLURM."""

    name: str
    first: int
    count: int
    job_id: str = ""


def arrays_of(launch: LaunchFolder) -> list[Array]:
    """The arrays of a launch; none if it is not on SLURM."""
    return [Array(**fields) for fields in launch.about().get("arrays", [])]


def queued(run: Run) -> dict[str, scheduler.Job]:
    """The trials of a run that are in tasks which SLURM has pending or running, with these.

    Raises:
        RunError: SLURM does not answer.
    """
    launches = [(launch, arrays_of(launch)) for launch in run.launches() if not launch.is_cancelled]
    jobs = scheduler.queue([array.name for _, arrays in launches for array in arrays])
    by_name: dict[str, list[scheduler.Job]] = {}
    for job in jobs:
        if job.state == "COMPLETING":
            continue  # nearly over; should it come back, it will find nothing left to do
        by_name.setdefault(job.name, []).append(job)
    found = {}
    for launch, arrays in launches:
        here = [(array, job) for array in arrays for job in by_name.get(array.name, ())]
        tasks = launch.tasks() if here else []
        found.update({key: job for array, job in here for key in tasks[array.first + job.index]})
    return found


def executor(settings: Slurm, jobs: Path, code: Path, name: str, count: int, after: str = "") -> submitit.SlurmExecutor:
    """The submitit executor for an array of ``count`` tasks."""
    # SLURM's warning must not end a Python that has no handler for it yet: until then it is ignored.
    quiet = f"trap '' USR2; exec {shlex.quote(sys.executable)} \"$@\""
    python = f"bash -c {shlex.quote(quiet)} python"
    made = submitit.SlurmExecutor(jobs, max_num_timeout=FOR_EVER, python=python)
    options: dict[str, Any] = {
        "job_name": name,
        "time": settings.minutes,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "gres": settings.gres,
        "mem": settings.mem,
        "ntasks_per_node": 1,  # or srun starts one a CPU where a task has its node to itself
        "cpus_per_task": settings.cpus_per_task,
        "gpus_per_node": settings.gpus_per_task or None,
        "array_parallelism": settings.array_parallelism or count,
        "signal_delay_s": settings.delay_s,
        "setup": [*settings.setup, *_own_setup(jobs, code)],
        "dependency": f"afterany:{after}" if after else None,
        "wckey": None,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **settings.more},
    }
    made.update_parameters(**{key: value for key, value in options.items() if value is not None or key == "wckey"})
    return made


_END = """\
told=
trap told=1 TERM
end() {
  case $1 in
    134|135|136|137|139)
      echo killed >>"$killed"
      [ $(wc -l <"$killed") -gt MOST ] || scontrol requeue $SLURM_JOB_ID;;
    143) [ -n "$told" ] || { sleep PATIENCE & wait $!; };;
  esac
}
trap 'end $?' EXIT"""
"""What a task's script does in the end.

srun ends with 128 + the signal that ended the task's process. Killed or crashed: the task goes on, a few times (scancel
ends this shell as well). Ended by SIGTERM: SLURM told it to end, and only SLURM knows what for; a pre-empted job whose
script ends by itself in its time of grace is not requeued. So wait for what comes, unless this shell was told too."""


def _own_setup(jobs: Path, code: Path) -> Iterator[str]:
    """Shell lines of a task's script: where the code is, and what to do when the task ends badly."""
    # Before whatever the user's own lines have put there.
    yield f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"
    yield "export PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1"
    # Since 22.05 srun does not take this over by itself.
    yield '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK'
    killed = shlex.quote(str(jobs / "killed"))
    yield f"killed={killed}.${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}_${{SLURM_ARRAY_TASK_ID:-0}}"
    yield _END.replace("MOST", str(REQUEUES_AFTER_KILL)).replace("PATIENCE", str(PATIENCE_S))


@dataclass(frozen=True, slots=True)
class Submission:
    """What a launch on SLURM came to."""

    trials: int = 0
    """Trials in the tasks that were submitted."""
    tasks: int = 0
    trials_per_task: int = 0
    job_ids: tuple[str, ...] = ()
    ended: int = 0
    """Trials that had ended before."""
    queued: int = 0
    """Trials that other tasks have, or another launch is at."""
    left: tuple[str, ...] = ()
    """Trials that the limit on submitted tasks left for later."""
    script: str = ""
    """Text of the first array's batch script."""
    launch: LaunchFolder | None = None

    def in_words(self) -> str:
        """What was submitted, in a sentence."""
        before = f"{self.ended} had ended before, {self.queued} {'is' if self.queued == 1 else 'are'} queued or running"
        if not self.tasks:
            return f"nothing to submit; {before}"
        ids = f" as job {', '.join(self.job_ids)}" if self.job_ids else ""
        each = f"{counted(self.tasks, 'task')} of up to {counted(self.trials_per_task, 'trial')}"
        return f"{counted(self.trials, 'trial')} in {each}{ids}; {before}"


def submit(
    run: Run,
    plan: Plan,
    settings: Slurm,
    pool: PoolSettings,
    about: Mapping[str, Any],
    trial_s: Callable[[], float],
    workers: int,
    *,
    only: Collection[str] | None = None,
    dry_run: bool = False,
) -> Submission:
    """Submit tasks for what has not ended, is not queued and is not running.

    Args:
        run: a run folder with a population.
        plan: how its networks are trained. It becomes the run's once SLURM has accepted tasks.
        settings: how to submit.
        pool: how each array task trains.
        about: what to note about the launch.
        trial_s: estimates the seconds that a trial takes on one worker.
        workers: workers of a task, as far as can be told here.
        only: keys of the trials to submit; by default all.
        dry_run: change nothing; only say what would be submitted.

    Raises:
        InputError: there is no SLURM here, it refuses the tasks, or another launch fixed another recipe.
        RunError: SLURM does not answer, or the folder cannot be written.
    """
    if not scheduler.is_here():
        raise InputError("launcher=slurm needs SLURM's commands (sbatch, srun, squeue) on the PATH; or launcher=local")
    check_path(run.path.resolve())
    if not dry_run:
        make_folder(run.launches_path)
    with claims.alone(run.launches_path) if not dry_run else contextlib.nullcontext() as claim:
        planned, packs = _pack(run, plan, settings, trial_s, workers, only)
        if not packs:
            return planned
        size = min(settings.max_array or sys.maxsize, scheduler.max_array_size())
        sizes = [min(size, len(packs) - first) for first in range(0, len(packs), size)]
        if claim is None:
            return dataclasses.replace(planned, script=_acceptable_script(run, settings, sizes[0]))
        run.check_plan(plan.recipe, plan.seed)
        code = snapshot.snapshot(run.code).resolve()
        launch = LaunchFolder(run.new_launch({**about, "launcher": "slurm", "code": str(code)}).path.resolve())
        launch.write_tasks(packs)
        job = Work(run=str(run.path.resolve()), launch=str(launch.path), limit_s=settings.limit_s, pool=pool)

        def fix_plan() -> None:
            run.write_plan(plan.recipe, plan.seed, plan.repeats)

        accepted, job_ids = _submit_arrays(launch, settings, job, code, sizes, claim, fix_plan)
        refused = tuple(key for pack in packs[accepted:] for key in pack)
        return dataclasses.replace(
            planned,
            launch=launch,
            job_ids=job_ids,
            tasks=accepted,
            trials=planned.trials - len(refused),
            left=refused + planned.left,
        )


def check_path(path: Path) -> None:
    """Raise unless SLURM takes a path as it is: it expands % in names of logs, and a backslash stops it from doing so.

    Raises:
        InputError: the path holds something else than what is written into a batch script and read back unchanged.
    """
    if signs := [sign for sign in "%\\" if sign in str(path)]:
        listed = " and ".join(signs)
        raise InputError(f"{path}: SLURM has a meaning of its own for {listed} in paths; rename the folder")
    if not is_printable(str(path)):
        raise InputError(f"{path}: a batch script cannot hold this path, which is not all text; rename the folder")


def _job_name(run: str, *parts: object) -> str:
    """Return the name of a job of a run: of plain signs only, since squeue takes names with commas between."""
    return "-".join(map(str, ("ds", re.sub(r"[^\w.-]", "_", run, flags=re.ASCII), *parts)))


def _pack(
    run: Run,
    plan: Plan,
    settings: Slurm,
    trial_s: Callable[[], float],
    workers: int,
    only: Collection[str] | None,
) -> tuple[Submission, list[list[str]]]:
    """Return what there is to submit, and the trials of each task."""
    states = run.states([key for key in run.trial_keys(plan) if only is None or key in only])
    others = queued(run)
    todo = [state.key for state in states if state.status == "waiting" and state.key not in others]
    ended = sum(state.has_ended for state in states)
    planned = Submission(ended=ended, queued=len(states) - ended - len(todo))
    if not todo:
        return planned, []
    each = settings.trials_per_task or _trials_per_task(len(todo), trial_s() / workers, settings)
    count = min(len(todo), each * _room(settings))
    packs = _packs(todo[:count], each, settings.array_parallelism)
    return dataclasses.replace(
        planned, trials_per_task=each, tasks=len(packs), trials=count, left=tuple(todo[count:])
    ), packs


def _packs(trials: Sequence[str], each: int, parallelism: int | None) -> list[list[str]]:
    """Share trials out among tasks, of up to ``each`` trials.

    Without a limit on the tasks that run at once, packs are consecutive: SLURM starts tasks in their order. Under such
    a limit, P tasks run side by side for a long time. Were their packs consecutive, the finished trials would lie in P
    places of the population, so that most of them would not belong to its finished beginning, on which what is said of
    a half-done run rests. Therefore each group of P tasks takes the next trials in turns.

    >>> _packs("abcdefgh", 2, 2)
    [['a', 'c'], ['b', 'd'], ['e', 'g'], ['f', 'h']]
    >>> _packs("abcdefgh", 3, None)
    [['a', 'b', 'c'], ['d', 'e', 'f'], ['g', 'h']]
    """
    packs = []
    group = each * (parallelism or 1)
    for first in range(0, len(trials), group):
        part = trials[first : first + group]
        tasks = math.ceil(len(part) / each)
        packs += [list(part[j::tasks]) for j in range(tasks)]
    return packs


def _submit_arrays(
    launch: LaunchFolder,
    settings: Slurm,
    work: Work,
    code: Path,
    sizes: Sequence[int],
    claim: claims.Claim,
    fix_plan: Callable[[], None],
) -> tuple[int, tuple[str, ...]]:
    """Submit a launch's arrays, each noted before it is submitted, and give how many tasks SLURM accepted, and its ids.

    What a limit refuses after the first array is left for later. ``fix_plan`` is called once the first is accepted: its
    tasks wait for the plan. If it raises, they are cancelled.
    """
    run_name = Path(work.run).name
    about, names = launch.about(), [_job_name(run_name, launch.token, k) for k in range(len(sizes))]
    arrays: list[Array] = []
    for name, count in zip(names, sizes, strict=True):
        first = sum(array.count for array in arrays)
        previous = arrays[-1].job_id if arrays and settings.array_parallelism else ""
        # Noted first: should this process die now, the tasks are still known by their name.
        launch.write_about({**about, "arrays": [dataclasses.asdict(a) for a in (*arrays, Array(name, first, count))]})
        made = executor(settings, launch.jobs, code, name, count, previous)
        if not claim.is_ours():
            raise RunError(f"another launch has begun to submit the trials of {work.run}; look with designspace.status")
        try:
            with writing(launch.jobs):  # submitit writes the tasks and the batch script there
                jobs = made.map_array(Pack(work), range(first, first + count))
        except submitit.core.utils.FailedSubmissionError as error:
            raise InputError(f"sbatch's answer was not understood: {error}") from error
        except submitit.core.utils.FailedJobError as error:
            words = str(error).strip()
            if "timed out" in words or "contact" in words:  # it may have been accepted all the same: it stays noted
                raise RunError(f"SLURM does not answer: {_reason(words)}") from error
            launch.write_about({**about, "arrays": [dataclasses.asdict(a) for a in arrays]})
            for path in launch.jobs.glob("*.pkl"):
                if len(path.stem) == 32:  # of the array that was refused
                    with writing(path):
                        path.unlink()
            is_limit = bool(re.search(r"submit limit|Max\w*Submit", words))
            if arrays and is_limit:
                break
            hint = "; launcher.max_submitted is for a limit on the tasks that you may have in the queue" * is_limit
            raise InputError(f"SLURM refused the tasks: {_reason(words)}{hint}") from error
        arrays.append(Array(name, first, count, jobs[0].job_id.split("_")[0]))
        launch.write_about({**about, "arrays": [dataclasses.asdict(array) for array in arrays]})
        if len(arrays) == 1:
            try:
                fix_plan()
            except (InputError, RunError):
                scheduler.cancel([name])
                launch.cancel("a launch whose recipe could not be fixed")
                raise
    launch.note(ended=True)  # the submitting, not the tasks
    return sum(array.count for array in arrays), tuple(array.job_id for array in arrays)


def _room(settings: Slurm) -> int:
    """How many tasks may be submitted now."""
    if settings.max_submitted is None:
        return sys.maxsize
    return max(0, settings.max_submitted - scheduler.count_of_user())


def _trials_per_task(count: int, trial_s: float, settings: Slurm) -> int:
    """So many trials that a task lasts about an hour, or half its time limit, and that all tasks may be submitted."""
    lasting = max(1, round(min(TASK_S, 30 * settings.minutes) / trial_s))
    # Not fewer tasks than can run at once.
    spread = math.ceil(count / settings.array_parallelism) if settings.array_parallelism else lasting
    fitting = math.ceil(count / settings.max_submitted) if settings.max_submitted else 1
    return min(count, max(min(lasting, spread), fitting))


def _acceptable_script(run: Run, settings: Slurm, count: int) -> str:
    """The batch script of an array, as a launch would submit it.

    Raises:
        InputError: SLURM would refuse it.
        RunError: SLURM does not answer.
    """
    jobs = run.launches_path / "TIME-TOKEN" / "jobs"
    script = _script(executor(settings, jobs, run.code, _job_name(run.name), count), count)
    if refusal := scheduler.refusal(script):
        raise InputError(f"SLURM would refuse the tasks: {refusal}")
    return script


def _script(made: submitit.SlurmExecutor, count: int) -> str:
    """The batch script that an executor would submit for an array."""
    made.parameters["map_count"] = count
    return str(made._make_submission_file_text(made._submitit_command_str, ""))


def _reason(words: str) -> str:
    """What sbatch said, without the traceback around it."""
    lines = [line for line in words.splitlines() if line.startswith("sbatch:")]
    return " ".join(lines) or words.splitlines()[-1]
