"""How the best values of parameters move from population to population: over flop regimes, or along a chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.best_values import best_of
from designspace.analysis.metrics import (
    Column,
    Metric,
    available,
    counted,
    metric,
    parameters_of,
    values,
)
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Trend(Outlined):
    """The values of one parameter in several populations (figure 11 of "Designing Network Design Spaces")."""

    metric: Metric
    names: tuple[str, ...]
    """The populations, in the order of ``x``."""
    x: NDArray[np.float64]
    """Median of ``x_metric`` over the finished networks of each population, or its place, from 0, where that is None.
    All arrays have shape (populations,)."""
    x_metric: Metric | None
    least: NDArray[np.float64]
    """Least value that a finished network of each population has."""
    low: NDArray[np.float64]
    """Lower end of the range of good values: of the interval of the empirical bootstrap (`best_value`)."""
    median: NDArray[np.float64]
    """Median of the bootstrap."""
    high: NDArray[np.float64]
    greatest: NDArray[np.float64]
    best: NDArray[np.float64]
    """Value of the network of least error."""
    n: NDArray[np.int64]
    """Networks that count."""

    def table(self) -> pd.DataFrame:
        """One row for each population."""
        columns = {"run": self.names, "metric": self.metric.name, "x": self.x, "least": self.least, "low": self.low}
        others = {"median": self.median, "high": self.high, "greatest": self.greatest, "best": self.best, "n": self.n}
        return pd.DataFrame(columns | others)


def trend(
    populations: Sequence[Results],
    name: str | Metric,
    x: str | Metric | None = "flops",
    share: float = 0.25,
    level: float = 0.05,
) -> Trend:
    """The trend of one parameter over populations.

    Args:
        populations: those of which no network with that parameter has finished are left out.
        name: the parameter.
        x: where each stands: at its median of this metric (for flop regimes); None for the order given (for chains).
        share: of the empirical bootstrap, see `best_value`.
        level: of its interval.

    Raises:
        InputError: two populations have one name, none has a finished network with the parameter, or a metric that does
            not exist.
    """
    names = [one.name for one in Populations.of(populations)]
    rows: list[tuple[str, float, list[float]]] = []
    for results in populations:
        places, errors = counted(results)
        column = values(results, name)[places]
        there = np.isfinite(column)
        if not there.any():
            continue
        column, errors, places = column[there], errors[there], places[there]
        at = float(len(rows)) if x is None else float(np.nanmedian(values(results, x)[places]))
        found = best_of(column, errors, name, share, level)
        ends = [column.min(), found.low, found.median, found.high, column.max(), found.best, found.n]
        rows.append((results.name, at, ends))
    if not rows:
        raise InputError(f"no finished network of {', '.join(names) or 'no population'} has {metric(name).name}")
    rows.sort(key=lambda row: row[1])  # stable: the order given stays where x is equal
    table = np.array([numbers for _, _, numbers in rows], np.float64)
    at_each = np.array([at for _, at, _ in rows])
    x_metric = None if x is None else metric(x)
    least, low, median, high, greatest, best, n = table.T
    told = tuple(name for name, _, _ in rows)
    counts = n.astype(np.int64)
    return Trend(metric(name), told, at_each, x_metric, least, low, median, high, greatest, best, counts)


def trends(
    populations: Sequence[Results],
    names: Iterable[str | Metric] | None = None,
    x: str | Metric | None = "flops",
    share: float = 0.25,
    level: float = 0.05,
) -> tuple[Trend, ...]:
    """`trend` of several parameters: unless told otherwise, of all that vary in a population and that all have.

    Raises:
        InputError: as `trend`.
    """
    wanted = common_parameters(populations) if names is None else tuple(names)
    return tuple(trend(populations, one, x, share, level) for one in wanted)


def common_parameters(populations: Sequence[Results]) -> tuple[Metric, ...]:
    """The parameters that vary in at least one population and that every one has."""
    if not populations:
        return ()
    varying = {one.name for results in populations for one in parameters_of(results)}
    owned = [
        [one.name for one in available(results, ["parameter"]) if _complete(results, one)] for results in populations
    ]
    return tuple(metric(name) for name in owned[0] if name in varying and all(name in names for names in owned))


def _complete(results: Results, one: Metric) -> bool:
    """Whether a metric is one of all networks: ``b`` and ``g`` are only where stages share them."""
    column: Column = values(results, one)
    return one.name not in ("b", "g") or bool(np.isfinite(column).all())
