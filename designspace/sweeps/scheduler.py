"""Queries and commands to SLURM, through its own programs. Its answers are hints; the files of a run are decisive."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from designspace.support.errors import InputError, RunError

TIMEOUT_S = 60.0
"""Seconds to wait for an answer of SLURM."""
FINISHED_STATES = frozenset({"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE"})
"""States of jobs that do nothing more."""

_REFUSES = re.compile("invalid|unrecognized|unknown|denied|permitted|exceed|satisfied|violates", re.IGNORECASE)
"""Matches the messages of sbatch about a script that it would never accept."""


@dataclass(frozen=True, slots=True)
class Job:
    """An array task, or a job outside an array, in SLURM's queue."""

    name: str
    id: str
    """Id such as ``12_3``, or ``12`` outside an array."""
    index: int
    """Index within its array; 0 outside an array."""
    state: str
    """``PENDING``, ``RUNNING`` and so on."""
    reason: str
    """Why it is pending."""


def is_available() -> bool:
    """Return whether SLURM's commands are on the PATH."""
    return all(shutil.which(command) for command in ("sbatch", "srun", "squeue", "scancel", "scontrol"))


def queue(names: Sequence[str]) -> list[Job]:
    """Return the pending, running and completing tasks of jobs with some names, of all users.

    Raises:
        RunError: SLURM does not answer.
    """
    if not names:
        return []
    command = ["squeue", "--noheader", "--array", "--format=%j|%F|%K|%T|%r", f"--name={','.join(names)}"]
    return [job for job in map(_job, _run(command).splitlines()) if job.state not in FINISHED_STATES]


def count_own_tasks() -> int:
    """Return the number of pending and running tasks of this user, with any name."""
    return len(_run(["squeue", "--me", "--noheader", "--array", "--format=%i"]).splitlines())


def max_array_size() -> int:
    """Return the maximum number of tasks of an array."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.MULTILINE)
    return max(1, int(match[1])) if match else 1001


def cancel(names: Sequence[str]) -> None:
    """Cancel all tasks of jobs with some names, pending and running.

    Raises:
        RunError: SLURM does not answer.
    """
    for name in names:
        _run(["scancel", "--quiet", "--me", f"--name={name}"])


def refusal(script: str) -> str:
    """Return why sbatch would refuse a script; empty if it would accept it, as far as it can be tested.

    Raises:
        RunError: SLURM does not answer.
    """
    try:
        command = ["sbatch", "--test-only"]
        answer = subprocess.run(command, input=script, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"SLURM does not answer: sbatch took more than {TIMEOUT_S:.0f} s") from error
    errors = [line for line in answer.stderr.splitlines() if line.startswith("sbatch:")]
    message = " ".join(errors) or answer.stderr.strip()
    # If resources are only busy or down at the moment, the job would wait in the queue.
    return message if answer.returncode and _REFUSES.search(message) else ""


def _job(line: str) -> Job:
    """Return the job in a line of squeue."""
    name, number, index, state, reason = line.split("|")
    is_in_array = index.isdecimal()
    return Job(name, f"{number}_{index}" if is_in_array else number, int(index) if is_in_array else 0, state, reason)


def _run(command: Sequence[str]) -> str:
    """Return the output of a command of SLURM."""
    if not shutil.which(command[0]):
        raise InputError(f"SLURM is not available: {command[0]} is not on the PATH")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"SLURM does not answer: {command[0]} took more than {TIMEOUT_S:.0f} s") from error
    if answer.returncode:
        raise RunError(f"SLURM does not answer: {command[0]}: {answer.stderr.strip() or 'no message'}")
    return answer.stdout
