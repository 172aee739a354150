"""The empirical bootstrap: the values of a parameter that good networks have.

"Designing Network Design Spaces" (section 3.2) draws a quarter of the networks with replacement, records the parameter
of the best one, and repeats this thousands of times. The limit has a closed form, which is computed here, without a
seed and without simulation noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.edf import check_level
from designspace.analysis.quantities import Column, counted_errors, quantity, values, varying_quantities
from designspace.analysis.results import ErrorColumn, Results
from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric


@dataclass(frozen=True, slots=True)
class BestValue:
    """The likely range of the best value of one quantity."""

    quantity: Quantity
    low: float
    """Lower end of the interval that contains the best network's value in 1 - ``level`` of the resamples."""
    median: float
    """Median over the resamples, which the paper calls the most likely best value."""
    high: float
    best: float
    """Value of the network with the least error."""
    n: int
    """Number of finished networks that have the quantity."""
    draws: int
    """Number of networks in each resample."""
    level: float

    def table(self) -> pd.DataFrame:
        """Return one row."""
        numbers = {"low": self.low, "median": self.median, "high": self.high, "best": self.best}
        return pd.DataFrame(
            [{"quantity": self.quantity.name, **numbers, "n": self.n, "draws": self.draws, "level": self.level}]
        )


@dataclass(frozen=True, slots=True, repr=False)
class BestValues(Outlined):
    """The best values of several quantities of one population, in the requested order."""

    name: str
    values: tuple[BestValue, ...]

    def __len__(self) -> int:
        """Return the number of quantities."""
        return len(self.values)

    def __iter__(self) -> Iterator[BestValue]:
        """Iterate over the best values."""
        return iter(self.values)

    def table(self) -> pd.DataFrame:
        """Return one row per quantity."""
        rows = [value.table() for value in self.values]
        table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
        table.insert(0, "run", self.name)
        return table


@dataclass(frozen=True, eq=False, repr=False)
class Scatter(Outlined):
    """The error and one quantity of each network, with the best value of the quantity."""

    name: str
    quantity: Quantity
    values: Column
    errors: Column
    """Percent; failed trials have the error of chance."""
    failed: NDArray[np.bool_]
    trials: tuple[str, ...]
    best_value: BestValue | None
    """None if no network counts."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    def table(self) -> pd.DataFrame:
        """Return one row per network; each row has the ends of the interval."""
        table = pd.DataFrame(
            {
                "run": self.name,
                "quantity": self.quantity.name,
                "trial": self.trials,
                "value": self.values,
                "error": self.metric.oriented(self.errors),
                "failed": self.failed,
            }
        )
        if self.best_value is not None:
            table = table.assign(low=self.best_value.low, median=self.best_value.median, high=self.best_value.high)
        return table


def best_value(
    results: Results,
    name: str | Quantity,
    share: float = 0.25,
    level: float = 0.05,
    *,
    column: ErrorColumn = "final_error",
) -> BestValue:
    """Return the best value of a quantity by the empirical bootstrap, with its interval and median.

    Args:
        results: a population; networks without the quantity (the width of a missing stage) do not count.
        name: the quantity.
        share: the fraction of the networks in each resample, drawn with replacement.
        level: the interval contains 1 - ``level`` of the resamples, with ``level`` / 2 on either side.
        column: the error that decides which network is best.

    Raises:
        InputError: the quantity is unknown, no network counts, or ``share`` or ``level`` is out of range.
    """
    points = scatter(results, name, share, level, column=column)
    if points.best_value is None:
        raise InputError(
            f"{results.name}: no finished network has a value of {points.quantity.name} ({results.counts.sentence()})"
        )
    return points.best_value


def best_values(
    results: Results,
    names: Iterable[str | Quantity] | None = None,
    share: float = 0.25,
    level: float = 0.05,
    *,
    column: ErrorColumn = "final_error",
) -> BestValues:
    """Return `best_value` for several quantities, by default for all that vary in the population.

    Raises:
        InputError: as `best_value`.
    """
    chosen = varying_quantities(results) if names is None else tuple(names)
    best = (best_value(results, quantity_name, share, level, column=column) for quantity_name in chosen)
    return BestValues(results.name, tuple(best))


def scatter(
    results: Results,
    name: str | Quantity,
    share: float = 0.25,
    level: float = 0.05,
    *,
    column: ErrorColumn = "final_error",
) -> Scatter:
    """Return errors and a quantity, with its best value (figures 2 and 5 of "Designing Network Design Spaces").

    Raises:
        InputError: the quantity is unknown, or ``share`` or ``level`` is out of range.
    """
    rows, errors = counted_errors(results, column)
    quantity_values = values(results, name)[rows]
    is_known = np.isfinite(quantity_values)
    table = results.table.iloc[rows[is_known]]
    best = (
        best_of(quantity_values[is_known], errors[is_known], quantity(name, results), share, level)
        if is_known.any()
        else None
    )
    failed = (table["status"] == "failed").to_numpy(bool)
    trials = tuple(table["trial"].tolist())
    columns = quantity_values[is_known], errors[is_known]
    return Scatter(results.name, quantity(name, results), *columns, failed, trials, best, results.metric)


def best_of(
    column: ArrayLike, errors: ArrayLike, name: str | Quantity, share: float = 0.25, level: float = 0.05
) -> BestValue:
    """Return the best value from arrays: the values of a quantity and the errors of the same networks.

    Raises:
        InputError: there is no network, a number is not finite, or ``share`` or ``level`` is out of range.
    """
    check_level(level)
    if not 0 < share <= 1:
        raise InputError(f"share must be above 0 and at most 1, such as 0.25 for a quarter, not {share!r}")
    checked, checked_errors = np.asarray(column, np.float64), np.asarray(errors, np.float64)
    if not checked.size or checked.shape != checked_errors.shape or not np.isfinite([checked, checked_errors]).all():
        raise InputError("the best value needs as many values as errors, at least one of each, and all must be finite")
    draws = max(1, round(share * checked.size))
    weights = chance_to_be_best(checked_errors, draws)
    low, median, high = weighted_quantiles(checked, weights, [level / 2, 0.5, 1 - level / 2])
    best = float(checked[np.argmin(checked_errors)])
    return BestValue(quantity(name), float(low), float(median), float(high), best, checked.size, draws, level)


def chance_to_be_best(errors: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
    """Return the probability of each network to be the best of ``draws`` drawn with replacement.

    The order is that of ``errors``. The best has rank r or worse if all draws do, so P(rank r) = ((n - r + 1) / n)^m -
    ((n - r) / n)^m. Networks with equal errors share the probability of their ranks equally, as if one of them was
    chosen at random.
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
    """Return the least values whose cumulative weight reaches each probability; each is the value of a network."""
    order = np.argsort(column, kind="stable")
    cumulative = np.cumsum(weights[order])
    cumulative /= cumulative[-1]
    # The sum of many weights may miss a probability by rounding.
    indices = np.searchsorted(cumulative, np.asarray(probabilities) - 1e-12, side="left")
    quantiles: NDArray[np.float64] = column[order][np.minimum(indices, column.size - 1)]
    return quantiles
