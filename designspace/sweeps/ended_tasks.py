"""Array tasks that ended before their trials did: what users are told, with the log that says why."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.trials.launches import LaunchFolder
from designspace.trials.run import Run
from designspace.trials.trial_folder import TrialState

_TAIL_BYTES = 4096
_LONGEST_LINE = 200


@dataclass(frozen=True, slots=True)
class _ArrayTask:
    """An array task of a launch."""

    launch: LaunchFolder
    index: int
    """Among all tasks of the launch."""

    @property
    def has_begun(self) -> bool:
        """Whether it came to start workers."""
        return self.launch.task_log(self.index).exists()

    def log(self) -> Path:
        """The file that SLURM and submitit write its output to."""
        for array in self.launch.about().get("arrays", []):
            number = self.index - array["first"]
            if 0 <= number < array["count"] and array.get("job_id"):
                job = f"{array['job_id']}_{number}" if array["count"] > 1 else array["job_id"]
                return self.launch.jobs / f"{job}_0_log.out"
        return self.launch.jobs


@dataclass(frozen=True, slots=True)
class EndedTasks:
    """What became of a run's trials that lost their array tasks."""

    trials: int = 0
    """How many trials have no result, and no process that is at work on them."""
    in_words: str = ""
    """How these tasks ended, and what to do; empty if there are none."""


def ended_tasks(run: Run, states: Sequence[TrialState]) -> EndedTasks:
    """Return what to say of trials without a result, once SLURM has no tasks of a run any more.

    Trials that a process outside this run's array tasks is at work on are not counted.
    """
    launches = [launch for launch in run.launches() if launch.about().get("launcher") == "slurm"]
    jobs = {str(array.get("job_id")) for launch in launches for array in launch.about().get("arrays", [])}
    last: dict[str, _ArrayTask] = {}
    for launch in launches:
        for index, keys in enumerate(launch.tasks()):
            last.update(dict.fromkeys(keys, _ArrayTask(launch, index)))
    left = [state.key for state in states if not state.has_ended and not _is_elsewhere(state, jobs)]
    if not left or not launches:
        return EndedTasks()
    tasks = list(dict.fromkeys(last[key] for key in left if key in last))
    trials = "1 trial has" if len(left) == 1 else f"{len(left)} trials have"
    words = f"{run.name}: {trials} no result, and SLURM has no tasks of this run any more"
    return EndedTasks(len(left), f"{words}{_ending(tasks)} The same launch again submits what is left")


def _ending(tasks: Sequence[_ArrayTask]) -> str:
    """How array tasks ended, as the rest of a sentence."""
    if not tasks:
        return "."
    if who := next((task.launch.cancelled_by for task in tasks if task.launch.is_cancelled), ""):
        return f": their launch was cancelled by {who}."
    unstarted = [task for task in tasks if not task.has_begun]
    when = "before any training began" if unstarted else "early"
    chosen = unstarted or tasks
    return f": {len(chosen)} array task{'s' if len(chosen) > 1 else ''} ended {when}. {_evidence(chosen)}"


def _is_elsewhere(state: TrialState, jobs: set[str]) -> bool:
    """Whether a process outside some SLURM jobs is at work on a trial."""
    owner = state.claim.owner if state.claim else None
    return state.status == "running" and (owner is None or owner.job.partition("_")[0] not in jobs)


def _evidence(tasks: Sequence[_ArrayTask]) -> str:
    """Where the log of the first of some tasks that wrote one is, and how it ends."""
    logs = [task.log() for task in tasks]
    for log in logs:
        if line := _last_line(log):
            return f"The log {log} ends with: {line}."
    return f"There is nothing in the log {logs[0]}: can the nodes write there?"


def _last_line(path: Path) -> str:
    """The last line of a log that has something in it, cut, without signs that a terminal acts upon."""
    with contextlib.suppress(OSError):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            return ""
        with path.open("rb") as file:
            file.seek(-min(_TAIL_BYTES, status.st_size), os.SEEK_END)
            lines = [line.strip() for line in file.read(_TAIL_BYTES).decode(errors="replace").splitlines()]
        # What SLURM says of the end itself explains little.
        told = [line for line in lines if line and not line.startswith(("srun:", "slurmstepd:"))]
        line = (told or [line for line in lines if line] or [""])[-1]
        return "".join(sign if sign.isprintable() else "?" for sign in line[:_LONGEST_LINE])
    return ""
