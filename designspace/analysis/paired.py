"""The same networks under two recipes, and whether one predicts the other: do 10 epochs rank networks as 50 do?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.edf import check_level
from designspace.analysis.effects import Estimate
from designspace.analysis.p_values import p_text
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import Metric

BEST_FRACTIONS = (0.1, 0.25)
"""Fractions of the networks that count as the best."""
_MAX_FOR_JACKKNIFE = 2000
"""Maximum number of networks from which the standard error of Kendall's tau is computed, since time is quadratic."""


@dataclass(frozen=True, slots=True)
class BestOverlap:
    """Number of the best networks under A that are among the best under B."""

    part: float
    """Fraction of the networks that counts as the best: 0.1 for the best 10%."""
    networks: int
    """That fraction in networks, rounded up; the best by (error, id)."""
    kept: int
    """How many of the best under A are also among the best under B."""

    @property
    def share(self) -> float:
        """Fraction of the best networks under A that is among those under B; by chance it would be ``part``."""
        return self.kept / self.networks


@dataclass(frozen=True, eq=False, repr=False)
class Paired(Outlined):
    """Networks that two runs, A and B, have in common, with their errors under both.

    Each interval has confidence 1 - ``level``.
    """

    a: str
    b: str
    ids: tuple[str, ...]
    """The networks compared, in the order of A."""
    errors_a: NDArray[np.float64]  # (n,)
    """Percent, under A."""
    errors_b: NDArray[np.float64]  # (n,)
    failed_a: NDArray[np.bool_]  # (n,)
    """Whether the network failed under A, so that its error is the chance level."""
    failed_b: NDArray[np.bool_]  # (n,)
    spearman: Estimate
    """Rank correlation rho; NaN if all errors of a run are equal."""
    kendall: Estimate
    """Rank correlation tau-b."""
    mean_difference: Estimate
    """Mean of the error under A less that under B, in percentage points, with the t interval of pairs."""
    wilcoxon_p: float
    """P value of the signed-rank test of no change."""
    best: tuple[BestOverlap, ...]
    only_a: int
    """Number of networks that are only in A."""
    only_b: int
    unfinished: int
    """Number of networks in both that have not finished in one of them; they do not count."""
    left_out: int
    """Number of networks left out because they failed in one of them (see `Results.left_out`)."""
    level: float
    chance_error: float
    metric: Metric
    """What the errors are values of, which are negated if higher ones are better."""

    @property
    def n(self) -> int:
        """Number of networks compared."""
        return len(self.ids)

    @property
    def predicts(self) -> bool:
        """Whether the order under A is shown to correlate positively with that under B."""
        return self.spearman.value > 0 and self.spearman.p < self.level

    def sentence(self) -> str:
        """Return the conclusion as text, with the numbers on which it rests and what was left out."""
        if math.isnan(self.spearman.value):
            equal = "all errors under one of them are equal"
            order = f"{self.a} and {self.b}: no order to compare, since {equal} (n = {self.n})"
        else:
            rho, tau = (f"{estimate.value:.2f}{_interval(estimate)}" for estimate in (self.spearman, self.kendall))
            verb = "predicts" if self.predicts else "is not shown to predict"
            order = (
                f"The order of networks under {self.a} {verb} that under {self.b}: "
                f"Spearman {rho}, Kendall {tau}, n = {self.n}"
            )
        top = "; ".join(
            f"of the best {100 * best.part:g}% under {self.a}, {best.kept} of {best.networks} are among the best "
            f"{100 * best.part:g}% under {self.b} (chance: {best.part * best.networks:.1f})"
            for best in self.best
        )
        own = self.mean_difference if self.metric.direction == "lower" else self.mean_difference.negated()
        change = (
            f"Mean {self.metric.name} under {self.a} minus that under {self.b}: {self.metric.difference(own.value)}"
            f"{_interval(own, '+')}, Wilcoxon {p_text(self.wilcoxon_p)}"
        )
        return ". ".join([order, top[0].upper() + top[1:], change, *self._missing()]) + "."

    def table(self) -> pd.DataFrame:
        """Return one row per network compared."""
        return pd.DataFrame(
            {
                "id": list(self.ids),
                "error_a": self.metric.oriented(self.errors_a),
                "error_b": self.metric.oriented(self.errors_b),
                "failed_a": self.failed_a,
                "failed_b": self.failed_b,
            }
        )

    def _missing(self) -> list[str]:
        """Return sentences about networks that failed or are missing."""
        sentences = []
        failed = [int(column.sum()) for column in (self.failed_a, self.failed_b)]
        if any(failed):
            how = f"counted at chance level, {self.metric.short_text(self.metric.oriented(self.chance_error))}"
            sentences.append(f"{failed[0]} failed under {self.a} and {failed[1]} under {self.b}, {how}")
        if self.left_out:
            sentences.append(f"{self.left_out} that failed under one of them are left out")
        if self.only_a or self.only_b:
            sentences.append(f"{self.only_a} networks are only in {self.a}, {self.only_b} only in {self.b}")
        if self.unfinished:
            sentences.append(f"{self.unfinished} have not finished under both")
        return sentences


def compare_paired(a: Results, b: Results, level: float = 0.05) -> Paired:
    """Compare the same networks under two recipes, joined by their ids.

    The intervals of rank correlations are valid for any joint distribution of the errors. But if the runs agree well
    except for a few networks that failed in only one of them, they are too narrow: a 95% interval of Spearman's rho
    then covers about 90%.

    Args:
        a: results under one recipe.
        b: results under the other.
        level: one minus the confidence of each interval.

    Raises:
        InputError: both have the same name or different numbers of classes, one has a network twice, or they have no
            finished network in common.
    """
    check_level(level)
    Populations.of([a, b])
    common = _errors(a).add_suffix("_a").join(_errors(b).add_suffix("_b"), how="inner")
    finished = common[common["finished_a"] & common["finished_b"]]
    counted = finished[~(finished["left_out_a"] | finished["left_out_b"])]
    if counted.empty:
        raise InputError(
            f"{a.name} and {b.name} have no network in common that counts in both; networks are matched by id"
        )
    ids = tuple(map(str, counted.index))
    x, y = (counted[f"error_{letter}"].to_numpy(np.float64) for letter in "ab")
    return Paired(
        a=a.name,
        b=b.name,
        ids=ids,
        errors_a=x,
        errors_b=y,
        failed_a=counted["failed_a"].to_numpy(np.bool_),
        failed_b=counted["failed_b"].to_numpy(np.bool_),
        spearman=spearman(x, y, level),
        kendall=kendall(x, y, level),
        mean_difference=mean_paired_difference(x, y, level),
        wilcoxon_p=_wilcoxon_p(x - y),
        best=tuple(_best_overlap(ids, x, y, part) for part in BEST_FRACTIONS),
        only_a=len(a.table) - len(common),
        only_b=len(b.table) - len(common),
        unfinished=len(common) - len(finished),
        left_out=len(finished) - len(counted),
        level=level,
        chance_error=a.chance_error,
        metric=a.metric,
    )


def spearman(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> Estimate:
    """Return Spearman's rank correlation rho, with an interval for any joint distribution.

    The interval is that of Fisher's z, with the standard error from the influence function of rho (the contribution of
    each network, ties included) and the t quantile of n - 2. Rho is NaN if all values of ``x`` or of ``y`` are equal;
    the ends are NaN for fewer than four values.
    """
    from scipy.special import stdtr  # scipy.stats takes a second to import

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, level)
    n = x.size
    u, v = ((pd.Series(values).rank().to_numpy() - 0.5) / n - 0.5 for values in (x, y))  # ranks between -1/2 and 1/2
    parts = [u * v, u * u, v * v]
    covariance, var_u, var_v = (float(part.mean()) for part in parts)
    scale = math.sqrt(var_u * var_v)
    rho = float(np.clip(covariance / scale, -1, 1))
    # A network contributes by its own ranks, and by the ranks of others that it raises by one.
    covariance_part = u * v + _mean_not_below(x, v) + _mean_not_below(y, u)
    part_u, part_v = u * u + 2 * _mean_not_below(x, u), v * v + 2 * _mean_not_below(y, v)
    influence = _centred(covariance_part) / scale
    influence -= rho / 2 * (_centred(part_u) / var_u + _centred(part_v) / var_v)
    error = math.sqrt(float(influence @ influence) / (n * max(1, n - 1)))
    t = math.inf if abs(rho) == 1 else abs(rho) * math.sqrt((n - 2) / (1 - rho * rho))
    p = 2 * float(stdtr(n - 2, -t)) if n > 2 else math.nan
    return Estimate(rho, *_fisher(rho, error, n, level, of_rho=True), p, level)


def kendall(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> Estimate:
    """Return Kendall's rank correlation tau-b, with an interval for any joint distribution.

    The interval is that of Fisher's z, with the jackknife standard error and the t quantile of n - 2. The standard
    error is computed from at most 2,000 of the networks. Values are NaN as in `spearman`.
    """
    from scipy import stats

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, level)
    n = x.size
    result = stats.kendalltau(x, y)
    tau = float(np.clip(result.statistic, -1, 1))
    ranks = [stats.rankdata(values[:: -(-n // _MAX_FOR_JACKKNIFE)]).astype(np.float32) for values in (x, y)]
    m = ranks[0].size
    signs = [np.sign(rank[:, None] - rank) for rank in ranks]
    together, apart_x, apart_y = (
        np.einsum("ij,ij->i", first, second).astype(np.float64) / max(1, m - 1)
        for first, second in (signs, (signs[0], signs[0]), (signs[1], signs[1]))
    )
    mean_x, mean_y = float(apart_x.mean()), float(apart_y.mean())
    if not mean_x * mean_y:  # all values of the subset are equal
        return Estimate(tau, math.nan, math.nan, float(result.pvalue), level)
    influence = 2 * _centred(together) / math.sqrt(mean_x * mean_y)
    influence -= tau * (_centred(apart_x) / mean_x + _centred(apart_y) / mean_y)
    error = math.sqrt(float(influence @ influence) * (m - 1) / max(1, m - 2) ** 2 / n)
    return Estimate(tau, *_fisher(tau, error, n, level, of_rho=False), float(result.pvalue), level)


def mean_paired_difference(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> Estimate:
    """Return the mean of x - y with the t interval of pairs; the ends are NaN for one pair."""
    from scipy.special import stdtr, stdtrit

    change = x - y
    value = float(change.mean())
    if change.size < 2:
        return Estimate(value, math.nan, math.nan, math.nan, level)
    error = float(change.std(ddof=1)) / math.sqrt(change.size)
    half = error * float(stdtrit(change.size - 1, 1 - level / 2))
    p = 2 * float(stdtr(change.size - 1, -abs(value) / error)) if error else float(value == 0)
    return Estimate(value, value - half, value + half, p, level)


def _errors(results: Results) -> pd.DataFrame:
    """Return, by id, the error (failed trials at chance level) and whether the trial finished, failed, was left out."""
    table = results.table
    repeated = table["id"][table["id"].duplicated()]
    if not repeated.empty:
        raise InputError(f"{results.name}: the network {repeated.iloc[0]} is in more than one row")
    failed = (table["status"] == "failed").to_numpy(np.bool_)
    done = (table["status"] == "done").to_numpy(np.bool_)
    left_out = results.left_out()
    known = results.metric.oriented(table["final_error"].to_numpy(np.float64))
    error = np.where(failed, results.chance_error, known)
    return pd.DataFrame(
        {"error": error, "finished": done | failed, "failed": failed, "left_out": left_out}, index=table["id"]
    )


def _fisher(value: float, error: float, n: int, level: float, *, of_rho: bool) -> tuple[float, float]:
    """Return the ends of the interval of a rank correlation, from its standard error, on the scale of Fisher's z."""
    from scipy.special import stdtrit

    if n < 4:
        return math.nan, math.nan
    if abs(value) > 1 - 1e-12:
        # Fisher's z is infinite here. But n // 2 pairs are independent, and none of them is out of order.
        tau = 2 * (level / 2) ** (1 / (n // 2)) - 1
        least = (3 * tau - 1) / 2 if of_rho else tau  # Daniels (1950)
        return (max(-1.0, least), 1.0) if value > 0 else (-1.0, min(1.0, -least))
    half = float(stdtrit(n - 2, 1 - level / 2)) * error / (1 - value**2)
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def _mean_not_below(x: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each x, the mean over all networks of the values whose x is not below it; equal x count half."""
    order = np.argsort(x, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    below, not_above = (np.searchsorted(x[order], x, side=side) for side in ("left", "right"))
    return np.asarray((sums[-1] - (sums[below] + sums[not_above]) / 2) / x.size)


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values less their mean."""
    return np.asarray(values - values.mean())


def _wilcoxon_p(change: NDArray[np.float64]) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test; 1 if nothing changed."""
    from scipy import stats

    return float(stats.wilcoxon(change).pvalue) if change.any() else 1.0


def _best_overlap(ids: tuple[str, ...], x: NDArray[np.float64], y: NDArray[np.float64], part: float) -> BestOverlap:
    """Return how many of the best networks by ``x`` are among the best by ``y``; equal errors are ordered by id."""
    count = math.ceil(part * len(ids) - 1e-9)
    first, second = (set(np.lexsort((np.array(ids), errors))[:count].tolist()) for errors in (x, y))
    return BestOverlap(part, count, len(first & second))


def _interval(estimate: Estimate, sign: str = "") -> str:
    """Return an interval in brackets, or an empty text if it is NaN."""
    return "" if math.isnan(estimate.low) else f" ({estimate.low:{sign}.2f} to {estimate.high:{sign}.2f})"
