"""The noise of training, estimated from the same networks trained with several seeds.

"On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), figures 13 and 14.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from designspace.analysis.edf import check_level
from designspace.analysis.repeats import without_fresh
from designspace.analysis.results import ErrorColumn, Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.metric import TOP1_ERROR, Metric


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class NoiseIntervals:
    """Intervals of the estimates of `Reruns`, each with confidence 1 - ``level``."""

    noise: Interval
    """Interval of the standard deviation of trainings, percentage points."""
    between: Interval
    """Interval of the standard deviation of the networks' true means, percentage points."""
    reliability: Interval
    """Interval of the intraclass correlation, from 0 to 1."""
    level: float


@dataclass(frozen=True, eq=False, repr=False)
class Reruns(Outlined):
    """The errors of networks that were trained more than once."""

    errors: pd.DataFrame
    """Columns id, seed and error (see `Results.errors`), one row per training; the best mean error is first."""
    noise: float
    """Standard deviation of one training's error around its network's mean, percentage points (pooled)."""
    between: float
    """Standard deviation of the networks' true means, percentage points, after subtracting the noise."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    @property
    def reliability(self) -> float:
        """Fraction of the variance of single trainings that is due to the networks (intraclass correlation).

        It is the expected correlation between two trainings of the same networks, from 0 to 1.
        """
        total = self.between**2 + self.noise**2
        return self.between**2 / total if total else 1.0

    def intervals(self, level: float = 0.05) -> NoiseIntervals:
        """Return intervals of the noise, the spread of networks and the reliability, for normal errors.

        The interval of the noise is exact (chi squared). That of the reliability is the F interval of Shrout and Fleiss
        ("Intraclass Correlations", 1979, for ICC(1, 1)), and that of the spread is from Williams ("A Confidence
        Interval for Variance Components", 1962). The latter two are exact or nearly so if all networks were trained
        equally often, and approximate otherwise. Negative ends are set to 0.

        Raises:
            InputError: fewer than 2 networks were trained more than once, or ``level`` is not between 0 and 1.
        """
        from scipy.special import chdtri, fdtri

        check_level(level)
        squares = _mean_squares(self.errors)
        if squares.networks < 2:
            raise InputError("intervals of the noise need at least 2 networks that were trained more than once, not 1")
        above, within = squares.networks - 1, squares.trainings - squares.networks
        tails = (level / 2, 1 - level / 2)  # chdtri takes the upper tail, fdtri the lower one
        noise = [math.sqrt(squares.within * within / float(chdtri(within, tail))) for tail in tails]
        if not squares.within:  # seeds change nothing
            reliability = [1.0, 1.0] if squares.between else [0.0, 1.0]
            variances = [squares.between * above / float(chdtri(above, tail)) / squares.effective for tail in tails]
        else:
            ratio = squares.between / squares.within
            scaled = [ratio / float(fdtri(above, within, 1 - tail)) for tail in tails]
            reliability = [max(0.0, (value - 1) / (value + squares.effective - 1)) for value in scaled]
            variances = [
                squares.between * above / float(chdtri(above, tail)) * (1 - 1 / max(1.0, value)) / squares.effective
                for value, tail in zip(scaled, tails, strict=True)
            ]
        between = [math.sqrt(variance) for variance in variances]
        return NoiseIntervals(Interval(*noise), Interval(*between), Interval(*reliability), level)

    def at_rank(self, relative_rank: float) -> tuple[str, pd.Series]:
        """Return id and errors of the network at a relative rank: 0 for the best, 0.5 for the middle, 1 for the worst.

        Networks are ranked by mean error, among those that were trained most often.
        """
        counts = self.errors.groupby("id", sort=False)["error"].count()
        most_trained = list(counts[counts == counts.max()].index)
        id_ = most_trained[round(relative_rank * (len(most_trained) - 1))]
        return id_, self.errors.loc[self.errors["id"] == id_, "error"]

    def table(self) -> pd.DataFrame:
        """Return the columns id, seed and error."""
        return self.errors

    def sentence(self, level: float = 0.05, cause: str = "the networks") -> str:
        """Return, as text, the noise of training, the spread of the networks and the variance that is due to them.

        Args:
            level: one minus the confidence of the intervals.
            cause: what differs between networks.

        Raises:
            InputError: as `intervals`.
        """
        ends = self.intervals(level)
        part, low, high = (f"{100 * value:.0f}%" for value in (self.reliability, *_ends(ends.reliability)))
        metric = self.metric
        noise, between = (
            f"{metric.number(interval.low)} to {metric.number(interval.high)}"
            for interval in (ends.noise, ends.between)
        )
        trainings = f"{counted(self.errors['id'].nunique(), 'network')} in {counted(len(self.errors), 'training')}"
        return (
            f"{metric.plural} vary by {metric.number(self.noise)} {metric.points} ({noise}) between seeds and by "
            f"{metric.number(self.between)} ({between}) between networks (standard deviations): {part} ({low} to "
            f"{high}) of the variance of single trainings is due to {cause} ({trainings})."
        )


def reruns(results: Results, *, column: ErrorColumn = "final_error") -> Reruns:
    """Gather the networks that were trained more than once, and separate noise of training from their differences.

    This is a one-way analysis of variance with networks as groups: the mean square within groups is the noise; that
    between groups less that within, over the (effective) number of trainings, is the variance of the networks. Fresh
    trainings of networks that were chosen by their errors do not count, since the best networks are closer together
    than the others.

    Raises:
        InputError: no network was trained twice.
    """
    results = without_fresh(results)
    rows = results.table[results.counted()]
    table = pd.DataFrame({"id": rows["id"], "seed": rows["seed"], "error": results.errors(column)})
    table = table.sort_values(["id", "seed"], kind="stable")
    groups = table.groupby("id")["error"]
    table = table[groups.transform("count") > 1]
    if table.empty:
        raise InputError(f"{results.name}: no network was trained more than once; read runs with other seeds as well")
    squares = _mean_squares(table)
    between = max(0.0, (squares.between - squares.within) / squares.effective)
    order = table.groupby("id")["error"].transform("mean")
    table = table.assign(mean=order).sort_values(["mean", "id", "seed"], kind="stable").drop(columns="mean")
    return Reruns(table.reset_index(drop=True), squares.within**0.5, between**0.5, results.metric)


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


@dataclass(frozen=True, slots=True)
class _MeanSquares:
    """A one-way analysis of variance with networks as groups."""

    within: float
    between: float
    """0 for a single network."""
    networks: int
    trainings: int
    effective: float
    """Trainings per network, or, if these differ, the number that replaces them in the expected mean square."""


def _mean_squares(table: pd.DataFrame) -> _MeanSquares:
    """Return the mean squares of a table with columns id and error, whose networks were all trained repeatedly."""
    groups = table.groupby("id")["error"]
    means, sizes = groups.mean(), groups.count().to_numpy(np.float64)
    within = float((table["error"] - groups.transform("mean")).pow(2).sum() / (len(table) - len(means)))
    if len(means) < 2:
        return _MeanSquares(within, 0.0, 1, len(table), float(len(table)))
    grand = float(table["error"].mean())
    between = float((sizes * (means.to_numpy() - grand) ** 2).sum() / (len(means) - 1))
    effective = float((sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(means) - 1))
    return _MeanSquares(within, between, len(means), len(table), effective)
