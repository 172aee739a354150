"""Questions and orders to SLURM, through its own commands. Its answers are hints: files say what happened."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from designspace.support.errors import InputError, RunError

TIMEOUT_S = 60.0
OVER = frozenset({"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE"})
"""States of which nothing more is to be expected."""

_REFUSES = re.compile("invalid|unrecognized|unknown|denied|permitted|exceed|satisfied|violates", re.IGNORECASE)
"""What sbatch says of a script that it would not take at any time."""


@dataclass(frozen=True, slots=True)
class Job:
    """A task as SLURM has it in its queue."""

    name: str
    id: str
    """As ``12_3``, or ``12`` outside an array."""
    index: int
    """Within its array; 0 outside one."""
    state: str
    """``PENDING``, ``RUNNING`` and so on."""
    reason: str
    """Why it waits."""


def is_here() -> bool:
    """Whether SLURM's commands are there."""
    return all(shutil.which(command) for command in ("sbatch", "srun", "squeue", "scancel", "scontrol"))


def queue(names: Sequence[str]) -> list[Job]:
    """The tasks that are pending or running under some jobs' names, or completing; whoever submitted them.

    Raises:
        RunError: SLURM does not answer.
    """
    if not names:
        return []
    words = ["squeue", "--noheader", "--array", "--format=%j|%F|%K|%T|%r", f"--name={','.join(names)}"]
    return [job for job in map(_job, _ask(words).splitlines()) if job.state not in OVER]


def count_of_user() -> int:
    """How many tasks this user has pending or running, of whatever name."""
    return len(_ask(["squeue", "--me", "--noheader", "--array", "--format=%i"]).splitlines())


def max_array_size() -> int:
    """Tasks that an array may have at most."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask(["scontrol", "show", "config"]), re.MULTILINE)
    return max(1, int(found[1])) if found else 1001


def cancel(names: Sequence[str]) -> None:
    """Take all tasks of some jobs' names from the queue; those that run are told to end.

    Raises:
        RunError: SLURM does not answer.
    """
    for name in names:
        _ask(["scancel", "--quiet", "--me", f"--name={name}"])


def refusal(script: str) -> str:
    """Return why sbatch would not take a script; an empty text if it would, as far as can be told without submitting.

    Raises:
        RunError: SLURM does not answer.
    """
    try:
        command = ["sbatch", "--test-only"]
        answer = subprocess.run(command, input=script, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"SLURM does not answer: sbatch took more than {TIMEOUT_S:.0f} s") from error
    words = " ".join(line for line in answer.stderr.splitlines() if line.startswith("sbatch:")) or answer.stderr.strip()
    # What is only busy or down now would wait in the queue.
    return words if answer.returncode and _REFUSES.search(words) else ""


def _job(line: str) -> Job:
    name, number, index, state, reason = line.split("|")
    inside = index.isdecimal()
    return Job(name, f"{number}_{index}" if inside else number, int(index) if inside else 0, state, reason)


def _ask(command: Sequence[str]) -> str:
    """What a command of SLURM says."""
    if not shutil.which(command[0]):
        raise InputError(f"there is no SLURM here: {command[0]} is not on the PATH")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"SLURM does not answer: {command[0]} took more than {TIMEOUT_S:.0f} s") from error
    if answer.returncode:
        raise RunError(f"SLURM does not answer: {command[0]}: {answer.stderr.strip() or 'no message'}")
    return answer.stdout
