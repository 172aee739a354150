"""Division of the trials of a launch on SLURM into batches, one per array task."""

from __future__ import annotations

import math
from collections.abc import Sequence

from designspace.sweeps.slurm_settings import SlurmSettings

TARGET_TASK_S = 3600.0
"""Seconds that a task should last."""


def batches_of(trials: Sequence[str], size: int, parallelism: int | None) -> list[list[str]]:
    """Divide trials into batches of up to ``size`` trials, one per array task.

    Without a limit on the tasks that run at once, the batches are consecutive, since SLURM starts tasks in order. With
    such a limit, P tasks run side by side for a long time. If their batches were consecutive, most finished trials
    would not belong to the finished beginning of the population, from which the results of a partial run are computed.
    Therefore each group of P tasks takes the next trials in turns.

    >>> batches_of("abcdefgh", 2, 2)
    [['a', 'c'], ['b', 'd'], ['e', 'g'], ['f', 'h']]
    >>> batches_of("abcdefgh", 3, None)
    [['a', 'b', 'c'], ['d', 'e', 'f'], ['g', 'h']]
    """
    batches = []
    group_size = size * (parallelism or 1)
    for first in range(0, len(trials), group_size):
        group = trials[first : first + group_size]
        tasks = math.ceil(len(group) / size)
        batches += [list(group[j::tasks]) for j in range(tasks)]
    return batches


def trials_per_task(count: int, trial_s: float, settings: SlurmSettings) -> int:
    """Return the trials per task for tasks of an hour, or half their time limit, that may all be submitted."""
    by_duration = max(1, round(min(TARGET_TASK_S, 30 * settings.minutes) / trial_s))
    # At least as many tasks as can run at once.
    by_parallelism = math.ceil(count / settings.array_parallelism) if settings.array_parallelism else by_duration
    by_limit = math.ceil(count / settings.max_submitted) if settings.max_submitted else 1
    return min(count, max(min(by_duration, by_parallelism), by_limit))
