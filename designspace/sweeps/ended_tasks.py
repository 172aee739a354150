"""Messages about array tasks that ended before their trials were finished, with the log that shows the cause."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.trials.launches import LaunchFolder
from designspace.trials.run import Run
from designspace.trials.state import TrialState

_TAIL_BYTES = 4096
_MAX_LINE = 200


@dataclass(frozen=True, slots=True)
class _SubmittedTask:
    """An array task of a launch, as it was submitted."""

    launch: LaunchFolder
    index: int
    """Index among all tasks of the launch."""

    @property
    def has_begun(self) -> bool:
        """Whether the task started workers."""
        return self.launch.task_log(self.index).exists()

    def log(self) -> Path:
        """Return the path of the log of SLURM and submitit; that of the folder of logs if the job is unknown."""
        for array in self.launch.about().get("arrays", []):
            index_in_array = self.index - array["first"]
            if 0 <= index_in_array < array["count"] and array.get("job_id"):
                job = f"{array['job_id']}_{index_in_array}" if array["count"] > 1 else array["job_id"]
                return self.launch.jobs / f"{job}_0_log.out"
        return self.launch.jobs


@dataclass(frozen=True, slots=True)
class EndedTasks:
    """The unfinished trials of a run whose array tasks have ended."""

    trials: int = 0
    """Number of trials without a result on which no process is working."""
    message: str = ""
    """Describes how these tasks ended, and what to do; empty if there are none."""


def ended_tasks(run: Run, states: Sequence[TrialState]) -> EndedTasks:
    """Describe the trials without a result, after SLURM has no tasks of a run any more.

    Trials on which a process outside this run's array tasks is working are not counted.
    """
    launches = [
        launch for launch in run.launches() if launch.about().get("launcher") == "slurm" and not launch.is_measurement
    ]
    jobs = {str(array.get("job_id")) for launch in launches for array in launch.about().get("arrays", [])}
    last_tasks: dict[str, _SubmittedTask] = {}
    for launch in launches:
        for index, keys in enumerate(launch.tasks()):
            last_tasks.update(dict.fromkeys(keys, _SubmittedTask(launch, index)))
    unfinished = [state.key for state in states if not state.is_finished and not _is_elsewhere(state, jobs)]
    if not unfinished or not launches:
        return EndedTasks()
    tasks = list(dict.fromkeys(last_tasks[key] for key in unfinished if key in last_tasks))
    trials = "1 trial has" if len(unfinished) == 1 else f"{len(unfinished)} trials have"
    summary = f"{run.name}: {trials} no result, and SLURM has no tasks of this run any more"
    return EndedTasks(len(unfinished), f"{summary}{_ending(tasks)} The same launch command submits them again")


def _ending(tasks: Sequence[_SubmittedTask]) -> str:
    """Return how array tasks ended, as the end of a sentence."""
    if not tasks:
        return "."
    if user := next((task.launch.cancelled_by for task in tasks if task.launch.is_cancelled), ""):
        return f": their launch was cancelled by {user}."
    not_begun = [task for task in tasks if not task.has_begun]
    when = "before any training began" if not_begun else "early"
    chosen = not_begun or tasks
    return f": {len(chosen)} array task{'s' if len(chosen) > 1 else ''} ended {when}. {_evidence(chosen)}"


def _is_elsewhere(state: TrialState, jobs: set[str]) -> bool:
    """Return whether a process outside some SLURM jobs is working on a trial."""
    owner = state.claim.owner if state.claim else None
    return state.status == "running" and (owner is None or owner.job.partition("_")[0] not in jobs)


def _evidence(tasks: Sequence[_SubmittedTask]) -> str:
    """Return the path and the last line of the first log that is not empty."""
    logs = [task.log() for task in tasks]
    for log in logs:
        if line := _last_line(log):
            return f"The log {log} ends with: {line}."
    return f"The log {logs[0]} is empty or missing: can the nodes write there?"


def _last_line(path: Path) -> str:
    """Return the last non-empty line of a log, shortened and without control characters."""
    with contextlib.suppress(OSError):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            return ""
        with path.open("rb") as file:
            file.seek(-min(_TAIL_BYTES, status.st_size), os.SEEK_END)
            lines = [line.strip() for line in file.read(_TAIL_BYTES).decode(errors="replace").splitlines()]
        # SLURM's own messages about the end explain little.
        own_lines = [line for line in lines if line and not line.startswith(("srun:", "slurmstepd:"))]
        line = (own_lines or [line for line in lines if line] or [""])[-1]
        return "".join(character if character.isprintable() else "?" for character in line[:_MAX_LINE])
    return ""
