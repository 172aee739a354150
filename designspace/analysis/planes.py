"""Two quantities of the networks of a population, with the rank of each network's error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.quantities import Column, counted_errors, quantity, values
from designspace.analysis.results import Results
from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.trials.metric import TOP1_ERROR, Metric


@dataclass(frozen=True, eq=False, repr=False)
class Plane(Outlined):
    """Two quantities and the error of each finished network of a population."""

    name: str
    x_quantity: Quantity
    y_quantity: Quantity
    x: Column
    y: Column
    errors: Column
    """Percent; failed trials have the error of chance."""
    ranks: Column
    """From 0 (the least error) to 1 (the greatest); equal errors share their mean rank."""
    failed: NDArray[np.bool_]
    trials: tuple[str, ...]
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    def table(self) -> pd.DataFrame:
        """Return one row per network."""
        return pd.DataFrame(
            {
                "run": self.name,
                "trial": self.trials,
                self.x_quantity.name: self.x,
                self.y_quantity.name: self.y,
                "error": self.metric.oriented(self.errors),
                "rank": self.ranks,
                "failed": self.failed,
            }
        )


def plane(results: Results, x: str | Quantity, y: str | Quantity) -> Plane:
    """Return two quantities of the finished networks that have both, with the rank of each network's error.

    Raises:
        InputError: a quantity is unknown, or these results do not have it.
    """
    from scipy.stats import rankdata

    rows, errors = counted_errors(results)
    columns = [values(results, name)[rows] for name in (x, y)]
    is_known = np.isfinite(columns[0]) & np.isfinite(columns[1])
    table = results.table.iloc[rows[is_known]]
    ranks = (rankdata(errors[is_known]) - 1) / max(1, is_known.sum() - 1)
    return Plane(
        results.name,
        quantity(x, results),
        quantity(y, results),
        columns[0][is_known],
        columns[1][is_known],
        errors[is_known],
        ranks.astype(np.float64),
        (table["status"] == "failed").to_numpy(bool),
        tuple(table["trial"].tolist()),
        results.metric,
    )
