"""The contents of a run's files, before they are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from designspace.support.display import Outlined
from designspace.trials.trial import EpochRecord

EMA = " EMA"
"""What follows the name of a trial in the histories, for errors of averaged weights."""


@dataclass(frozen=True, eq=False, repr=False)
class Source(Outlined):
    """The contents of a run's files: a table with the columns ``trial`` and ``run`` that is not checked yet."""

    name: str
    table: pd.DataFrame
    num_classes: int
    histories: Mapping[str, tuple[EpochRecord, ...]] = field(default_factory=dict)
    """By the column ``trial``."""
    notes: tuple[str, ...] = ()
    """What a reader must know of how it was read, one sentence each."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """The run folders among what was read, by the column ``run``."""
    training: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values of each field of the recipe that is known, None for a blank."""


def histories_of(
    table: pd.DataFrame, histories: Mapping[str, tuple[EpochRecord, ...]]
) -> dict[str, tuple[EpochRecord, ...]]:
    """Those histories that are of a table's trials."""
    trials = set(table["trial"]) if histories else set()
    return {key: history for key, history in histories.items() if key.removesuffix(EMA) in trials}
