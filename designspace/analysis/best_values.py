"""The empirical bootstrap: which values of a parameter do good networks have?

"Designing Network Design Spaces" (section 3.2) draws a quarter of the networks with replacement, notes the parameter of
the best one, and does so thousands of times. What that tends to has a closed form, which is computed here: there is
nothing to seed, and no noise of simulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.edf import check_level
from designspace.analysis.metrics import Column, Metric, counted, metric, metrics_of, values
from designspace.analysis.results import ErrorColumn, Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True)
class BestValue:
    """The likely range of the best value of one metric."""

    metric: Metric
    low: float
    """Lower end of the interval that holds the best network's value in 1 - ``level`` of the resamples."""
    median: float
    """Median over the resamples: the most likely best value, as the paper calls it."""
    high: float
    best: float
    """Value of the network of least error itself."""
    n: int
    """Networks that count: those finished that have the metric."""
    draws: int
    """Networks in each resample."""
    level: float

    def table(self) -> pd.DataFrame:
        """One row."""
        numbers = {"low": self.low, "median": self.median, "high": self.high, "best": self.best}
        return pd.DataFrame(
            [{"metric": self.metric.name, **numbers, "n": self.n, "draws": self.draws, "level": self.level}]
        )


@dataclass(frozen=True, slots=True, repr=False)
class BestValues(Outlined):
    """The best values of several metrics of one population, in the order asked for."""

    name: str
    found: tuple[BestValue, ...]

    def __len__(self) -> int:
        """How many metrics."""
        return len(self.found)

    def __iter__(self) -> Iterator[BestValue]:
        """One after the other."""
        return iter(self.found)

    def table(self) -> pd.DataFrame:
        """One row for each metric."""
        rows = [one.table() for one in self.found]
        table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
        table.insert(0, "run", self.name)
        return table


@dataclass(frozen=True, eq=False, repr=False)
class Scatter(Outlined):
    """Error against one metric, network by network, with the best value."""

    name: str
    metric: Metric
    values: Column
    errors: Column
    """Per cent; a failed trial has that of chance."""
    failed: NDArray[np.bool_]
    trials: tuple[str, ...]
    best_value: BestValue | None
    """None where no network counts."""

    def table(self) -> pd.DataFrame:
        """One row for each network; the ends of the interval stand in each."""
        table = pd.DataFrame(
            {
                "run": self.name,
                "metric": self.metric.name,
                "trial": self.trials,
                "value": self.values,
                "error": self.errors,
                "failed": self.failed,
            }
        )
        if self.best_value is not None:
            table = table.assign(low=self.best_value.low, median=self.best_value.median, high=self.best_value.high)
        return table


def best_value(
    results: Results,
    name: str | Metric,
    share: float = 0.25,
    level: float = 0.05,
    *,
    column: ErrorColumn = "final_error",
) -> BestValue:
    """The best value of a metric by the empirical bootstrap: interval of 1 - ``level``, and median.

    Args:
        results: a population; its networks without that metric (the width of a stage they lack) do not count.
        name: the metric.
        share: the part of the networks that each resample holds, drawn with replacement.
        level: the interval holds 1 - ``level`` of the resamples, with ``level`` / 2 on either side.
        column: the error that decides which network is best.

    Raises:
        InputError: an unknown metric, no network that counts, or a ``share`` or ``level`` out of range.
    """
    drawn = scatter(results, name, share, level, column=column)
    if drawn.best_value is None:
        raise InputError(
            f"{results.name}: no finished network has a value of {drawn.metric.name} ({results.counts.sentence()})"
        )
    return drawn.best_value


def best_values(
    results: Results,
    names: Iterable[str | Metric] | None = None,
    share: float = 0.25,
    level: float = 0.05,
    *,
    column: ErrorColumn = "final_error",
) -> BestValues:
    """`best_value` of several metrics; of all that vary in the population unless told otherwise.

    Raises:
        InputError: as `best_value`.
    """
    wanted = metrics_of(results) if names is None else tuple(names)
    found = (best_value(results, one, share, level, column=column) for one in wanted)
    return BestValues(results.name, tuple(found))


def scatter(
    results: Results,
    name: str | Metric,
    share: float = 0.25,
    level: float = 0.05,
    *,
    column: ErrorColumn = "final_error",
) -> Scatter:
    """Errors against a metric, with its best value (figures 2 and 5 of "Designing Network Design Spaces").

    Raises:
        InputError: an unknown metric, or a ``share`` or ``level`` out of range.
    """
    rows, errors = counted(results, column)
    column_ = values(results, name)[rows]
    there = np.isfinite(column_)
    table = results.table.iloc[rows[there]]
    found = best_of(column_[there], errors[there], metric(name), share, level) if there.any() else None
    failed = (table["status"] == "failed").to_numpy(bool)
    return Scatter(results.name, metric(name), column_[there], errors[there], failed, tuple(table["trial"]), found)


def best_of(
    column: ArrayLike, errors: ArrayLike, name: str | Metric, share: float = 0.25, level: float = 0.05
) -> BestValue:
    """The best value of plain arrays: the values of a metric and the errors of the same networks.

    Raises:
        InputError: no network, a number that is not finite, or a ``share`` or ``level`` out of range.
    """
    check_level(level)
    if not 0 < share <= 1:
        raise InputError(f"share must be above 0 and at most 1, as 0.25 for a quarter, not {share!r}")
    wanted, error = np.asarray(column, np.float64), np.asarray(errors, np.float64)
    if not wanted.size or wanted.shape != error.shape or not np.isfinite([wanted, error]).all():
        raise InputError("the best value needs as many values as errors, at least one, all of them finite")
    draws = max(1, round(share * wanted.size))
    weights = chance_to_be_best(error, draws)
    low, median, high = weighted_quantiles(wanted, weights, [level / 2, 0.5, 1 - level / 2])
    best = float(wanted[np.argmin(error)])
    return BestValue(metric(name), float(low), float(median), float(high), best, wanted.size, draws, level)


def chance_to_be_best(errors: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
    """Probability of each network to be the best of ``draws`` drawn with replacement. Same order as ``errors``.

    The best has rank r or worse where all draws have, so P(rank r) = ((n - r + 1) / n)^m - ((n - r) / n)^m. Networks
    of equal error share the probability of their ranks equally, which is a fair choice among the best ones.
    """
    n = errors.size
    ascending = np.sort(errors)
    better = np.searchsorted(ascending, errors, side="left")  # networks of lower error
    not_worse = np.searchsorted(ascending, errors, side="right")
    weights: NDArray[np.float64] = (((n - better) / n) ** draws - ((n - not_worse) / n) ** draws) / (not_worse - better)
    return weights


def weighted_quantiles(
    column: NDArray[np.float64], weights: NDArray[np.float64], probabilities: Sequence[float]
) -> NDArray[np.float64]:
    """The least values whose cumulated weight reaches each probability: always values that a network has."""
    order = np.argsort(column, kind="stable")
    cumulated = np.cumsum(weights[order])
    cumulated /= cumulated[-1]
    # The sum of many weights may miss a probability by its last digits.
    places = np.searchsorted(cumulated, np.asarray(probabilities) - 1e-12, side="left")
    found: NDArray[np.float64] = column[order][np.minimum(places, column.size - 1)]
    return found
