"""Settings of a launch on SLURM, with checks."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from designspace.support.checks import whole_or_null
from designspace.support.errors import InputError

SIGNAL_MARGIN_S = 60
"""Maximum seconds by which SLURM may send its warning too early (manual of sbatch, --signal)."""
RESERVED_OPTIONS = (
    "job-name",
    "array",
    "output",
    "error",
    "signal",
    "open-mode",
    "parsable",
    "wrap",
    "requeue",
    "no-requeue",
)
"""Options of sbatch that a launch sets itself."""
START_S = 30
"""Seconds that a task needs to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings:
    """Settings of a launch on SLURM. None leaves a choice to the cluster, unless noted otherwise."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    time: int | str = 120
    """Time limit of a task, after which it is requeued: minutes, or SLURM's ``[days-]hours:minutes:seconds``."""
    memory: float | str | None = None
    """Memory of a task: GB, or a text with a unit, such as ``8000M``."""
    cpus_per_task: int | None = None
    gpus_per_task: int | None = None
    array_parallelism: int | None = None
    """Maximum number of tasks that run at once."""
    trials_per_task: int | None = None
    """Number of trials per task; None for tasks of about an hour."""
    max_array: int | None = None
    """Maximum number of tasks of an array; None for the limit of the cluster."""
    max_submitted: int | None = None
    """Number of tasks that this user may have in the queue at once, if the cluster limits it."""
    signal_delay_s: int | None = None
    """Seconds before the time limit at which SLURM warns a task; None for 90 s, or a quarter of less than 6 minutes."""
    container: str | None = None
    """Command in front of ``python`` that runs it in a container, such as ``apptainer exec --nv image.sif``; None to
    run tasks with the Python of the launch."""
    setup: tuple[str, ...] = ()
    """Shell lines that run before a task starts, such as ``module load cuda``."""
    sbatch: tuple[str, ...] = ()
    """More options of sbatch, by their long names, such as ``mail-type=END`` or ``exclusive``."""

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> SlurmSettings:
        """Return the settings with some fields.

        Raises:
            InputError: a value is out of range.
        """
        return SlurmSettings(**{**fields, **{name: _lines(name, fields.get(name)) for name in ("setup", "sbatch")}})

    def __post_init__(self) -> None:
        counts = ("cpus_per_task", "array_parallelism", "trials_per_task", "max_array", "max_submitted")
        for name in (*counts, "gpus_per_task", "signal_delay_s"):
            value, minimum = getattr(self, name), 1 if name in counts else 0
            whole_or_null(f"launcher: {name}", value, minimum)
        _command(self.container)
        for key in self.more:
            if key in RESERVED_OPTIONS:
                raise InputError(f"launcher: sbatch must not set {key}, which a launch sets itself")
        minimum_s = self.delay_s + SIGNAL_MARGIN_S + START_S
        if 60 * self.minutes < minimum_s:
            raise InputError(
                f"launcher: time is {self.minutes} minutes, but SLURM warns a task {self.delay_s} s "
                f"(signal_delay_s) before its end, or up to {SIGNAL_MARGIN_S} s earlier: "
                f"it must be at least {-(-minimum_s // 60)} minutes"
            )

    @property
    def python(self) -> str:
        """Shell words that start Python in a task."""
        words = [sys.executable] if self.container is None else [*_command(self.container), "python"]
        return shlex.join(words)

    @property
    def minutes(self) -> int:
        """Time limit in minutes.

        Raises:
            InputError: the time limit is not valid.
        """
        if isinstance(self.time, int) and not isinstance(self.time, bool):
            return self.time
        match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?", str(self.time))
        if not match:
            raise InputError(f"launcher: time must be minutes or [days-]hours:minutes:seconds, not {self.time!r}")
        days, first, second, third = (int(part or 0) for part in match.groups())
        if match[1] is None and match[3] is None:
            return first
        if match[1] is None and match[4] is None:  # minutes:seconds, as in SLURM
            return first + (second > 0)
        return (days * 24 + first) * 60 + second + (third > 0)

    @property
    def delay_s(self) -> int:
        """Seconds before its time limit at which SLURM warns a task."""
        return min(90, 15 * self.minutes) if self.signal_delay_s is None else self.signal_delay_s

    @property
    def limit_s(self) -> float:
        """Earliest time after its start, in seconds, at which SLURM warns a task that its time is up."""
        return max(0.0, 60 * self.minutes - self.delay_s - SIGNAL_MARGIN_S - START_S)

    @property
    def gpus(self) -> int:
        """Number of GPUs of a task, as far as the settings determine it."""
        match = re.search(r"(?:^|,)gpu(?::[^,:]*[a-zA-Z][^,:]*)?(?::(\d+))?", self.gres or "")
        return self.gpus_per_task or (int(match[1] or 1) if match else 0)

    @property
    def mem(self) -> str | None:
        """Memory in the syntax of SLURM."""
        if self.memory is None or isinstance(self.memory, str):
            return self.memory
        return f"{round(self.memory * 1024)}M"

    @property
    def more(self) -> dict[str, str | bool]:
        """The options of ``sbatch`` for submitit."""
        pairs = (option.lstrip("-").partition("=") for option in self.sbatch)
        return {key: value if equals else True for key, equals, value in pairs}


def _command(text: str | None) -> list[str]:
    """Return the words of a command.

    Raises:
        InputError: the text is empty or has unmatched quotes.
    """
    try:
        words = None if text is None else shlex.split(text)
    except ValueError as error:
        raise InputError(f"launcher: container has unmatched quotes: {text}") from error
    if words == []:
        raise InputError('launcher: container must be a command such as "apptainer exec image.sif", not an empty text')
    return words or []


def _lines(name: str, value: Any) -> tuple[str, ...]:
    """Return the lines of an option, which may be a list or a single line.

    Raises:
        InputError: the value is something else.
    """
    lines = [value] if isinstance(value, str) else value or []
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise InputError(f"launcher: {name} must be a list of texts, such as [{name} line,another], not {value!r}")
    return tuple(lines)
