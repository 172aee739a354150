"""The noise of training: the same networks trained from several seeds.

"On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), figures 13 and 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from designspace.analysis.results import ErrorColumn, Failures, Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Reruns(Outlined):
    """The errors of networks that were trained more than once."""

    errors: pd.DataFrame
    """Columns id, seed, error (per cent), one row a training; networks in order of their mean error."""
    noise: float
    """Standard deviation of one training's error around its network's mean, percentage points (pooled)."""
    between: float
    """Standard deviation of the networks' true means, percentage points: what is left when the noise is taken out."""

    @property
    def reliability(self) -> float:
        """Part of the variance of single trainings that is due to the networks (intraclass correlation, from 0 to 1).

        The correlation that two trainings of the same networks can be expected to have.
        """
        total = self.between**2 + self.noise**2
        return self.between**2 / total if total else 1.0

    def of(self, place: float) -> tuple[str, pd.Series]:
        """Id and errors of a network by the rank of its mean error: 0 for the best, 0.5 for the middle, 1 the worst.

        Of those that were trained most often.
        """
        counts = self.errors.groupby("id", sort=False)["error"].count()
        often = list(counts[counts == counts.max()].index)
        id_ = often[round(place * (len(often) - 1))]
        return id_, self.errors.loc[self.errors["id"] == id_, "error"]

    def table(self) -> pd.DataFrame:
        """Columns id, seed, error."""
        return self.errors


def reruns(results: Results, *, failures: Failures = "chance", column: ErrorColumn = "final_error") -> Reruns:
    """Gather the networks that were trained more than once, and part the noise of training from their differences.

    One-way analysis of variance with networks as groups: the mean square within is the noise; the one between less that
    within, over the (effective) number of trainings, is the variance of the networks.

    Raises:
        InputError: no network was trained twice.
    """
    counted = results.table[results.counted(failures)]
    table = pd.DataFrame(
        {"id": counted["id"], "seed": counted["seed"], "error": results.errors(failures, column)}
    ).sort_values(["id", "seed"], kind="stable")
    groups = table.groupby("id")["error"]
    table = table[groups.transform("count") > 1]
    if table.empty:
        raise InputError(f"{results.name}: no network was trained more than once; read runs with other seeds beside it")
    groups = table.groupby("id")["error"]
    means, sizes = groups.mean(), groups.count().to_numpy(np.float64)
    within = float((table["error"] - groups.transform("mean")).pow(2).sum() / (len(table) - len(means)))
    between = 0.0
    if len(means) > 1:
        grand = float(table["error"].mean())
        square = float((sizes * (means.to_numpy() - grand) ** 2).sum() / (len(means) - 1))
        effective = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(means) - 1)
        between = max(0.0, (square - within) / effective)
    order = table["id"].map(means)
    table = table.assign(mean=order).sort_values(["mean", "id", "seed"], kind="stable").drop(columns="mean")
    return Reruns(table.reset_index(drop=True), within**0.5, between**0.5)
