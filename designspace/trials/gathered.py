"""The results of all trials of a run, as they were read at one time."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designspace.trials.metric import Metric
from designspace.trials.state import TrialState
from designspace.trials.trial import EpochRecord

if TYPE_CHECKING:
    from designspace.trials.folder import RunFolder

RESULT_COLUMNS = (
    "seed",
    "status",
    "final_error",
    "best_error",
    "heldout_error",
    "epochs",
    "train_s",
    "device",
    "memory_bytes",
    "reason",
    "detail",
)

_OF_RESULT = operator.attrgetter(*RESULT_COLUMNS[2:-2])
"""Returns the values of a result."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Results of all trials of a run, read at one time."""

    run: RunFolder
    num_classes: int
    metric: Metric
    header: tuple[str, ...]
    """The columns of results.csv. A run with repeats has two more: ``trial``, the key, and ``fresh``, which is "yes" if
    the network was trained again with this seed after it had been chosen. Fields of the recipe that are drawn for each
    network have columns after the results, and then the standing of trials if some were stopped early."""
    rows: tuple[tuple[Any, ...], ...]
    """One row per trial, finished or not; None is a missing value."""
    histories: Mapping[str, tuple[EpochRecord, ...]]
    """The epochs so far of each trial that has completed at least one, by its key."""
    is_drawn: bool = True
    """Whether the networks were drawn from a space, not given as a list."""

    @property
    def statuses(self) -> list[str]:
        """Statuses of all trials, in the order of the rows."""
        column = self.header.index("status")
        return [row[column] for row in self.rows]


def outcome(state: TrialState) -> tuple[Any, ...]:
    """Return the values of a trial in the columns of `RESULT_COLUMNS` after seed and status."""
    if state.result:
        return (*_OF_RESULT(state.result), None, None)
    *values, detail = (getattr(state.failure, name, None) for name in RESULT_COLUMNS[2:])
    return (*values, " ".join(str(detail or "").split()) or None)
