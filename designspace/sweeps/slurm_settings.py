"""What a user may say about a launch on SLURM, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from designspace.support.checks import whole_or_null
from designspace.support.errors import InputError

SIGNAL_MARGIN_S = 60
"""SLURM may send its warning before a time limit so much too early (sbatch's manual, --signal)."""
OURS = ("job-name", "array", "output", "error", "signal", "open-mode", "parsable", "wrap", "requeue", "no-requeue")
"""Options of sbatch that launches rely on."""
START_S = 30
"""Before this a task has hardly begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm:
    """How to launch on SLURM. None leaves a choice to the cluster, or to us where that is said."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    time: int | str = 120
    """Time limit of a task: minutes, or SLURM's ``[days-]hours:minutes:seconds``. A task that meets it is requeued."""
    memory: float | str | None = None
    """Memory of a task: GB, or with a unit, as ``8000M``."""
    cpus_per_task: int | None = None
    gpus_per_task: int | None = None
    array_parallelism: int | None = None
    """Tasks that run at once, at most."""
    trials_per_task: int | None = None
    """None: so many that a task lasts about an hour."""
    max_array: int | None = None
    """Tasks of an array, at most; None: what the cluster allows."""
    max_submitted: int | None = None
    """Tasks that this user may have in the queue at once, where the cluster limits that."""
    signal_delay_s: int | None = None
    """SLURM warns a task so long before its time limit; None: 90 s, or a quarter of a limit below 6 minutes."""
    setup: tuple[str, ...] = ()
    """Shell lines before a task starts, as ``module load cuda``."""
    sbatch: tuple[str, ...] = ()
    """More options of sbatch, by their long names, as ``mail-type=END`` or ``exclusive``."""

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Slurm:
        """The settings with those fields.

        Raises:
            InputError: a value out of range.
        """
        return Slurm(**{**fields, **{name: _lines(name, fields.get(name)) for name in ("setup", "sbatch")}})

    def __post_init__(self) -> None:
        counts = ("cpus_per_task", "array_parallelism", "trials_per_task", "max_array", "max_submitted")
        for name in (*counts, "gpus_per_task", "signal_delay_s"):
            value, low = getattr(self, name), 1 if name in counts else 0
            whole_or_null(f"launcher: {name}", value, low)
        for key in self.more:
            if key in OURS:
                raise InputError(f"launcher: sbatch must not set {key}, which a launch sets itself")
        least = self.delay_s + SIGNAL_MARGIN_S + START_S
        if 60 * self.minutes < least:
            raise InputError(
                f"launcher: time is {self.minutes} minutes, but SLURM warns a task {self.delay_s} s "
                f"(signal_delay_s) before its end, or up to {SIGNAL_MARGIN_S} s earlier: "
                f"it must be at least {-(-least // 60)} minutes"
            )

    @property
    def minutes(self) -> int:
        """The time limit in minutes.

        Raises:
            InputError: it is not understood.
        """
        if isinstance(self.time, int) and not isinstance(self.time, bool):
            return self.time
        found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?", str(self.time))
        if not found:
            raise InputError(f"launcher: time must be minutes or [days-]hours:minutes:seconds, not {self.time!r}")
        days, first, second, third = (int(part or 0) for part in found.groups())
        if found[1] is None and found[3] is None:
            return first
        if found[1] is None and found[4] is None:  # as SLURM reads it: minutes:seconds
            return first + (second > 0)
        return (days * 24 + first) * 60 + second + (third > 0)

    @property
    def delay_s(self) -> int:
        """How long before its time limit SLURM warns a task."""
        return min(90, 15 * self.minutes) if self.signal_delay_s is None else self.signal_delay_s

    @property
    def limit_s(self) -> float:
        """How long after its start, at the earliest, SLURM warns a task that its time is up."""
        return max(0.0, 60 * self.minutes - self.delay_s - SIGNAL_MARGIN_S - START_S)

    @property
    def gpus(self) -> int:
        """GPUs of a task, as far as can be told."""
        found = re.search(r"(?:^|,)gpu(?::[^,:]*[a-zA-Z][^,:]*)?(?::(\d+))?", self.gres or "")
        return self.gpus_per_task or (int(found[1] or 1) if found else 0)

    @property
    def mem(self) -> str | None:
        """The memory as SLURM wants it."""
        if self.memory is None or isinstance(self.memory, str):
            return self.memory
        return f"{round(self.memory * 1024)}M"

    @property
    def more(self) -> dict[str, str | bool]:
        """``sbatch`` as submitit wants it."""
        pairs = (option.lstrip("-").partition("=") for option in self.sbatch)
        return {key: value if equals else True for key, equals, value in pairs}


def _lines(name: str, value: Any) -> tuple[str, ...]:
    """A list of words that a user gave, which may be one word.

    Raises:
        InputError: it is something else.
    """
    words = [value] if isinstance(value, str) else value or []
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise InputError(f"launcher: {name} must be a list of words, as [{name} line,another], not {value!r}")
    return tuple(words)
