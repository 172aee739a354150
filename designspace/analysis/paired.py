"""The same networks under two recipes: does one predict the other? Do 10 epochs rank networks as 50 do?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.compare import p_text
from designspace.analysis.edf import check_level
from designspace.analysis.effects import Estimate
from designspace.analysis.results import Failures, Results
from designspace.support.errors import InputError, unknown

PARTS = (0.1, 0.25)
"""Parts of the networks that count as the best ones."""


@dataclass(frozen=True, slots=True)
class BestKept:
    """How many of the best networks under A are among the best under B."""

    part: float
    """Of the networks, that counts as the best: 0.1 is the best 10%."""
    networks: int
    """That part in networks, rounded up; the best by (error, id)."""
    kept: int
    """So many of A's are B's too."""

    @property
    def share(self) -> float:
        """Of A's best networks, the part that is among B's; chance would give ``part``."""
        return self.kept / self.networks


@dataclass(frozen=True, eq=False)
class Paired:
    """Networks that two runs, A and B, have in common, with their errors under both. Intervals: 1 - ``level`` each."""

    a: str
    b: str
    ids: tuple[str, ...]
    """The networks compared, in the order of A."""
    errors_a: NDArray[np.float64]  # (n,)
    """Per cent, under A."""
    errors_b: NDArray[np.float64]  # (n,)
    failed_a: NDArray[np.bool_]  # (n,)
    """Whether the network failed under A, so that its error is that of chance."""
    failed_b: NDArray[np.bool_]  # (n,)
    spearman: Estimate
    """Rank correlation rho, with the interval of Bonett and Wright (2000); NaN where all errors of a run are equal."""
    kendall: Estimate
    """Rank correlation tau-b, with the interval of Fieller, Hartley and Pearson (1957)."""
    mean_difference: Estimate
    """Mean of error under A less error under B, percentage points, with the t interval of pairs."""
    wilcoxon_p: float
    """Signed-rank test of no change."""
    best: tuple[BestKept, ...]
    only_a: int
    """Networks that are only in A."""
    only_b: int
    unfinished: int
    """Networks in both that have not ended in one of them; they count nowhere."""
    left_out: int
    """Networks that failed in one of them and were left out for it (``failures="exclude"``)."""
    level: float
    chance_error: float
    """Per cent."""

    @property
    def n(self) -> int:
        """The networks compared."""
        return len(self.ids)

    @property
    def predicts(self) -> bool:
        """Whether the order under A is shown to go along with that under B."""
        return self.spearman.low > 0

    def sentence(self) -> str:
        """The conclusion in words, with the numbers it rests on and what was left out."""
        if math.isnan(self.spearman.value):
            order = f"{self.a} and {self.b}: no order to compare among {self.n} networks with equal errors"
        else:
            rho, tau = (f"{one.value:.2f}{_interval(one)}" for one in (self.spearman, self.kendall))
            verb = "predicts" if self.predicts else "is not shown to predict"
            order = (
                f"The order of networks under {self.a} {verb} that under {self.b}: "
                f"Spearman {rho}, Kendall {tau}, n = {self.n}"
            )
        top = "; ".join(
            f"of the best {100 * one.part:g}% under {self.a}, {one.kept} of {one.networks} are among the best "
            f"{100 * one.part:g}% under {self.b} (chance: {one.part * one.networks:.1f})"
            for one in self.best
        )
        change = (
            f"Mean error under {self.a} less that under {self.b}: {self.mean_difference.value:+.2f} points"
            f"{_interval(self.mean_difference, '+')}, Wilcoxon {p_text(self.wilcoxon_p)}"
        )
        return ". ".join([order, top[0].upper() + top[1:], change, *self._missing()]) + "."

    def table(self) -> pd.DataFrame:
        """One row for each network compared."""
        return pd.DataFrame(
            {
                "id": list(self.ids),
                "error_a": self.errors_a,
                "error_b": self.errors_b,
                "failed_a": self.failed_a,
                "failed_b": self.failed_b,
            }
        )

    def _missing(self) -> list[str]:
        """What the reader must know of networks that failed or are missing."""
        found = []
        failed = [int(one.sum()) for one in (self.failed_a, self.failed_b)]
        if any(failed):
            counted = f"counted at chance level, {self.chance_error:g}%"
            found.append(f"{failed[0]} failed under {self.a} and {failed[1]} under {self.b}, {counted}")
        if self.left_out:
            found.append(f"{self.left_out} that failed under one of them are left out")
        if self.only_a or self.only_b:
            found.append(f"{self.only_a} networks are only in {self.a}, {self.only_b} only in {self.b}")
        if self.unfinished:
            found.append(f"{self.unfinished} have not ended in both")
        return found


def compare_paired(a: Results, b: Results, level: float = 0.05, *, failures: Failures = "chance") -> Paired:
    """Compare the same networks under two recipes, joined by their ids.

    The intervals of rank correlations assume that the two errors, on some scales, are distributed jointly normal; many
    failures at chance level in both runs make them somewhat too narrow.

    Args:
        a: results under one recipe.
        b: results under the other.
        level: the intervals hold with probability 1 - level each.
        failures: ``chance`` counts a failed network at chance level under the recipe where it failed; ``exclude``
            leaves out what failed under either.

    Raises:
        InputError: both have one name, different numbers of classes, a network twice, or no finished one in common.
    """
    check_level(level)
    if failures not in get_args(Failures):
        raise unknown("treatment of failures", failures, get_args(Failures))
    if a.name == b.name:
        raise InputError(f"two runs have the name {a.name!r}; give them different ones")
    if a.chance_error != b.chance_error:
        raise InputError(
            f"{a.name} and {b.name} have different numbers of classes "
            f"(chance level: {a.chance_error:g}% and {b.chance_error:g}%): their errors do not compare"
        )
    both = _errors(a).join(_errors(b), how="inner", lsuffix="_a", rsuffix="_b")
    ended = both[both["ended_a"] & both["ended_b"]]
    failed = ended["failed_a"] | ended["failed_b"]
    counted = ended[~failed] if failures == "exclude" else ended
    if counted.empty:
        raise InputError(
            f"{a.name} and {b.name} have no network in common that counts in both; ids are what joins them"
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
        best=tuple(_kept(ids, x, y, part) for part in PARTS),
        only_a=len(a.table) - len(both),
        only_b=len(b.table) - len(both),
        unfinished=len(both) - len(ended),
        left_out=len(ended) - len(counted),
        level=level,
        chance_error=a.chance_error,
    )


def spearman(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> Estimate:
    """Spearman's rank correlation with an interval.

    Fisher's z with the standard error sqrt((1 + rho^2 / 2) / (n - 3)) of Bonett and Wright (2000). It is NaN where all
    values of one are equal; its ends are NaN for fewer than four values.
    """
    from scipy import stats

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, level)
    found = stats.spearmanr(x, y)
    value = float(np.clip(found.statistic, -1, 1))
    error = math.sqrt((1 + value**2 / 2) / (x.size - 3)) if x.size > 3 else math.nan
    return Estimate(value, *_fisher(value, error, level), float(found.pvalue), level)


def kendall(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> Estimate:
    """Kendall's rank correlation tau-b with an interval.

    Fisher's z with the standard error sqrt(0.437 / (n - 4)) of Fieller, Hartley and Pearson (1957). It is NaN where all
    values of one are equal; its ends are NaN for fewer than five values.
    """
    from scipy import stats

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, level)
    found = stats.kendalltau(x, y)
    value = float(np.clip(found.statistic, -1, 1))
    error = math.sqrt(0.437 / (x.size - 4)) if x.size > 4 else math.nan
    return Estimate(value, *_fisher(value, error, level), float(found.pvalue), level)


def mean_paired_difference(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> Estimate:
    """Mean of x - y with the t interval of pairs; its ends are NaN for one pair."""
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
    """By id: the error, a failed one at chance level, and whether the trial ended or failed."""
    table = results.table
    repeated = table["id"][table["id"].duplicated()]
    if not repeated.empty:
        raise InputError(f"{results.name}: the network {repeated.iloc[0]} stands in more than one row")
    failed = (table["status"] == "failed").to_numpy(np.bool_)
    done = (table["status"] == "done").to_numpy(np.bool_)
    error = np.where(failed, results.chance_error, table["final_error"].to_numpy(np.float64))
    return pd.DataFrame({"error": error, "ended": done | failed, "failed": failed}, index=table["id"])


def _fisher(value: float, error: float, level: float) -> tuple[float, float]:
    """Ends of the interval of a correlation, from its standard error on Fisher's scale."""
    from scipy.special import ndtri

    if abs(value) == 1:  # infinitely far on that scale
        return (math.nan, math.nan) if math.isnan(error) else (value, value)
    half = -float(ndtri(level / 2)) * error
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def _wilcoxon_p(change: NDArray[np.float64]) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test; 1 where nothing changed."""
    from scipy import stats

    return float(stats.wilcoxon(change).pvalue) if change.any() else 1.0


def _kept(ids: tuple[str, ...], x: NDArray[np.float64], y: NDArray[np.float64], part: float) -> BestKept:
    """How many of the best part by ``x`` are among the best part by ``y``; equal errors in the order of ids."""
    count = math.ceil(part * len(ids) - 1e-9)
    first, second = (set(np.lexsort((ids, errors))[:count].tolist()) for errors in (x, y))
    return BestKept(part, count, len(first & second))


def _interval(one: Estimate, sign: str = "") -> str:
    """An interval in brackets; nothing where there is none."""
    return "" if math.isnan(one.low) else f" ({one.low:{sign}.2f} to {one.high:{sign}.2f})"
