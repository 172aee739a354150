"""Comparison of the order of spaces by screening with their order by the errors of trained networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from designspace.analysis.comparison import compare_all
from designspace.analysis.p_values import p_text
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.analysis.screening import Screening
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.support.text import counted

FEW_ENTRIES = 5
"""Number of spaces below which no value of Kendall's tau is significant at 5%."""


@dataclass(frozen=True, slots=True)
class PairOrder:
    """The order of two spaces by screening and by errors."""

    a: str
    b: str
    screening: str | None
    """The one that screening shows to come first; None if the order is not shown."""
    errors: str | None
    """The one that is shown to have the better errors; None if that is not shown."""

    @property
    def verdict(self) -> str:
        """``agree`` or ``disagree`` if both orders are shown, else ``not shown``."""
        if self.screening is None or self.errors is None:
            return "not shown"
        return "agree" if self.screening == self.errors else "disagree"


@dataclass(frozen=True, repr=False)
class Agreement(Outlined):
    """How the order of spaces by screening agrees with that by the errors of trained networks."""

    pairs: tuple[PairOrder, ...]
    names: tuple[str, ...]
    """The spaces, in the order of screening."""
    tau: float
    """Kendall's tau between the mean quantity and the mean errors of the spaces; 1 for the same order."""
    tau_p: float
    """Two-sided p value of tau, exact for few spaces."""
    metric: str
    """Name of the metric of the trained networks."""

    def count(self, verdict: str) -> int:
        """Return the number of pairs with a verdict."""
        return sum(pair.verdict == verdict for pair in self.pairs)

    def sentences(self) -> tuple[str, ...]:
        """Return the pairs of which both orders are shown, and what all of them say together."""
        shown = self.count("agree") + self.count("disagree")
        lines = [_sentence(pair, self.metric) for pair in self.pairs if pair.verdict != "not shown"]
        both = f"Both orders are shown for {shown} of {counted(len(self.pairs), 'pair')}"
        outcome = f": they agree in {self.count('agree')} and disagree in {self.count('disagree')}." if shown else "."
        tau = f"Kendall's tau between the orders of the means of {len(self.names)} spaces is {self.tau:.2f}"
        if len(self.names) < FEW_ENTRIES:
            caution = f" ({p_text(self.tau_p)}); with fewer than {FEW_ENTRIES} spaces no value of it shows anything."
        else:
            caution = f" ({p_text(self.tau_p)})."
        scope = "This holds for these spaces, limits and trainings only."
        return (*lines, both + outcome, tau + caution, scope)

    def table(self) -> pd.DataFrame:
        """Return one row per pair."""
        return pd.DataFrame(
            [(pair.a, pair.b, pair.screening or "", pair.errors or "", pair.verdict) for pair in self.pairs],
            columns=["a", "b", "screening", "errors", "verdict"],
        )


def agreement(screening: Screening, trained: Sequence[Results], *, seed: int = 0) -> Agreement:
    """Compare the order of screened spaces with that of trained populations, each named like its entry.

    Args:
        screening: the screened spaces; entries that were not trained are left out.
        trained: the results of the same spaces at the same resolutions, under the same limits.
        seed: seed of the comparison of errors.

    Raises:
        InputError: fewer than two populations have both an entry with networks that fit and a trial that counts, or
            the results are not comparable.
    """
    populations = Populations.of(trained).with_errors
    with_errors = {population.name: population for population in populations}
    entries = [entry for entry in screening.entries if entry.n and entry.name in with_errors]
    if len(entries) < 2:
        listed = ", ".join(entry.name for entry in entries) or "none"
        raise InputError(
            "trained must give at least two spaces that were screened, have networks that fit, and have finished "
            f"trials; there are: {listed}"
        )
    names = tuple(entry.name for entry in entries)
    results = [with_errors[name] for name in names]
    better = {frozenset((p.a, p.b)): p.better for p in compare_all(results, screening.level, seed=seed)}
    pairs = tuple(
        PairOrder(a, b, screening.first_of(a, b), better[frozenset((a, b))])
        for a, b in itertools.combinations(names, 2)
    )
    errors = [float(run.errors().mean()) for run in results]
    tau, p = _kendall([-entry.mean for entry in entries], errors)
    return Agreement(pairs, names, tau, p, results[0].metric.name)


def _kendall(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return Kendall's tau and its p value; NaN if all values of one sequence are equal."""
    from scipy.stats import kendalltau

    if len(set(first)) == 1 or len(set(second)) == 1:
        return np.nan, np.nan
    result = kendalltau(first, second)
    return float(result.statistic), float(result.pvalue)


def _sentence(pair: PairOrder, metric: str) -> str:
    """Return both orders of a pair for which both are shown."""
    other = pair.b if pair.errors == pair.a else pair.a
    if pair.verdict == "agree":
        return f"{pair.errors} before {other}: screening and {metric} agree."
    return f"{pair.errors} has a better {metric} than {other}, but screening shows the opposite order."
