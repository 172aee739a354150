"""The contents of a run's files, before they are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.trials.metric import Metric
from designspace.trials.recipe_axes import RecipeAxis
from designspace.trials.trial import EpochRecord

EMA = " EMA"
"""Suffix of a trial's name in the histories for the errors of averaged weights."""


@dataclass(frozen=True, eq=False, repr=False)
class Source(Outlined):
    """The contents of a run's files: an unchecked table with the columns ``trial`` and ``run``."""

    name: str
    table: pd.DataFrame
    num_classes: int
    histories: Mapping[str, tuple[EpochRecord, ...]] = field(default_factory=dict)
    """By the column ``trial``."""
    notes: tuple[str, ...] = ()
    """Notes on how the files were read, one sentence each."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """The run folders that were read, by the column ``run``."""
    training: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values of each field of the recipe that is known, None for a blank."""
    drawn: Mapping[str, RecipeAxis] = field(default_factory=dict)
    """The axes of the fields of the recipe that were drawn for each network, in the same way in all runs."""
    metric: Metric | None = None
    """What the errors are values of; None for the top-1 error in percent."""
    is_drawn: bool = True
    """Whether the networks were drawn from a space; False if any of them was chosen for a list."""
    measured: Mapping[str, Quantity] = field(default_factory=dict)
    """The measured costs of networks (costs.csv) that the table has columns for, by name."""


def histories_of(
    table: pd.DataFrame, histories: Mapping[str, tuple[EpochRecord, ...]]
) -> dict[str, tuple[EpochRecord, ...]]:
    """Return the histories that belong to trials of a table."""
    trials = set(table["trial"]) if histories else set()
    return {key: history for key, history in histories.items() if key.removesuffix(EMA) in trials}
