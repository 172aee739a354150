"""Whether one learning rate fits all networks: ranks of optimiser settings, averaged over networks.

"On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), figure 12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from designspace.analysis.results import ErrorColumn, Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError, suggest


@dataclass(frozen=True, eq=False, repr=False)
class RelativeRanks(Outlined):
    """Relative ranks of the settings of a recipe, for each network."""

    settings: tuple[str, ...]
    """Columns of the recipe that vary."""
    ranks: pd.DataFrame
    """One row per training: id, the settings, error (percent), rank from 0 (best of the network) to 1 (worst)."""
    networks: int

    def by(self, setting: str) -> pd.DataFrame:
        """Return one row per value of a setting, with quartiles of the relative rank (low, median, high) and n."""
        groups = self.ranks.groupby(setting)["rank"]
        quartiles = groups.quantile(np.array([0.25, 0.5, 0.75])).unstack()
        quartiles.columns = pd.Index(["low", "median", "high"])
        return quartiles.assign(n=groups.count()).reset_index()

    def best(self) -> dict[str, float]:
        """Return the values of the settings with the least mean relative rank."""
        means = self.ranks.groupby(list(self.settings))["rank"].mean()
        least = means.idxmin()
        values = least if isinstance(least, tuple) else (least,)
        return dict(zip(self.settings, (float(value) for value in values), strict=True))

    def table(self) -> pd.DataFrame:
        """Return the ranks of all trainings."""
        return self.ranks


def relative_ranks(
    results: Results,
    settings: tuple[str, ...] = ("lr", "weight_decay"),
    *,
    column: ErrorColumn = "final_error",
) -> RelativeRanks:
    """Rank the trainings of each network: 0 for its best setting, 1 for its worst, ties shared.

    Networks that were trained with only one setting are left out.

    Raises:
        InputError: a setting is not a column of the results, or no network was trained with several settings.
    """
    for setting in settings:
        if setting not in results.table.columns:
            raise InputError(f"{results.name} has no column {setting!r}; {suggest(setting, results.table.columns)}")
    counted = results.table[results.counted()]
    table = counted[["id", *settings]].assign(error=results.errors(column))
    trainings = table.groupby("id")["error"].transform("count")
    table = table[trainings > 1]
    if table.empty:
        raise InputError(f"{results.name}: no network was trained with more than one setting of {', '.join(settings)}")
    groups = table.groupby("id")["error"]
    rank = (groups.rank(method="average") - 1) / (groups.transform("count") - 1)
    table = table.assign(rank=rank).sort_values(["id", *settings], kind="stable").reset_index(drop=True)
    return RelativeRanks(tuple(settings), table, int(table["id"].nunique()))
