"""Compare two populations at equal complexity, so that a larger budget is not taken for a better space.

The picture is that of "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), section 4.2: EDFs whose
networks are weighed as if both populations had the same complexities. The test compares ranks within strata of networks
of like complexity (van Elteren, Bulletin of the Institute of International Statistics 37, 1960). Weighed EDFs give so
much weight to the few networks at the ends of the range that tests of them hardly show anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.comparison import Comparison, holm, p_text
from designspace.analysis.complexity_weights import common_range, common_weights
from designspace.analysis.edf import EDF, check_level, edf
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.spaces.constraints import QUANTITIES
from designspace.support.errors import InputError, unknown
from designspace.support.text import counted
from designspace.support.text import quantity as in_words

MATCHES = (*QUANTITIES, "train_s")
"""Columns by which populations can be matched: complexities, and seconds of training."""
BINS = 8
"""Bins of complexity of the weighed EDFs."""
STRATUM = 12
"""Networks of both populations in a stratum of the test. With strata of 12, populations of one law of error given
complexity, 0.3 or 0.6 apart in ln c, are called different in 5 to 6% (n = 50, 100) and 3 to 6% (n = 500; se 1.1)."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What the errors of two populations say at equal complexity. Nothing is said while trials are unfinished."""

    a: str
    b: str
    match: str
    """The column by which they are matched: one of `MATCHES`."""
    n_a: int
    """Networks of A within the common range of the complexity."""
    n_b: int
    low: float
    """Lower end of the common range."""
    high: float
    effect: float
    """Probability that a random network of A has the lower error than one of B in the same stratum, ties shared."""
    p: float
    """Two-sided p value of ``effect`` = 1/2, of van Elteren."""
    level: float
    pairs: int = 1
    p_holm: float = 1.0
    """``p`` after Holm's correction over the pairs that are matched together."""

    @property
    def better(self) -> str | None:
        """The space that is shown to be better at equal complexity, if one is."""
        if not self.p_holm < self.level:
            return None
        return self.a if self.effect > 0.5 else self.b

    def sentence(self) -> str:
        """The conclusion in words, with the numbers it rests on."""
        unit = " s" if self.match == "train_s" else ""
        where = f"At equal {self.match} ({in_words(self.low)} to {in_words(self.high)}{unit})"
        corrected = f" Holm-corrected over {self.pairs} pairs" if self.pairs > 1 else ""
        test = f"ranks within strata, {p_text(self.p_holm)}{corrected}"
        sizes = f"n = {self.n_a} and {self.n_b}"
        if self.better:
            first, second = (self.a, self.b) if self.better == self.a else (self.b, self.a)
            probability = self.effect if self.better == self.a else 1 - self.effect
            return (
                f"{where}, {first} is better than {second}: a random network of it has the lower error than one of "
                f"like {self.match} with probability {probability:.2f} ({test}, {sizes})."
            )
        return f"{where}, {self.a} and {self.b}: no difference shown at {100 * self.level:g}% ({test}, {sizes})."


def compare_matched(
    a: Results,
    b: Results,
    match: str = "flops",
    level: float = 0.05,
) -> Matched:
    """Compare two populations at equal complexity: ranks of errors within strata of like complexity.

    Args:
        a: the first population.
        b: the second one.
        match: the column to match by: flops, params, activations, or train_s.
        level: significance level of the conclusion.

    Raises:
        InputError: an unknown column, complexities that are not known or have no range in common, or no trial counts.
    """
    check_level(level)
    values = [_complexity(one, match) for one in (a, b)]
    low, high = common_range(values)
    pooled, is_a = np.concatenate(values), np.repeat([True, False], [len(of) for of in values])
    errors = np.concatenate([one.errors() for one in (a, b)])
    is_common = (pooled >= low) & (pooled <= high)
    pooled, is_a, errors = pooled[is_common], is_a[is_common], errors[is_common]
    effect, p = _within_strata(errors, is_a, _strata(pooled))
    n_a = int(is_a.sum())
    return Matched(a.name, b.name, match, n_a, is_a.size - n_a, low, high, effect, p, level, p_holm=p)


def match_all(
    results: Sequence[Results],
    comparisons: Sequence[Comparison],
    match: str | None = "auto",
) -> tuple[tuple[Matched, ...], tuple[str, ...]]:
    """Compare pairs at equal complexity, with Holm's correction over them.

    Args:
        results: the populations.
        comparisons: their comparisons.
        match: the column to match all pairs by; ``auto`` matches pairs whose budgets differ, or where the machine ended
            networks of some complexities sooner than others, by the first complexity that does (see
            `preconditions.same_budget` and `left_out_at_random`); None matches none.

    Raises:
        InputError: an unknown ``match``.

    Returns:
        The matched comparisons, and a sentence for each pair that cannot be matched.
    """
    if match not in (None, "auto", *MATCHES):
        raise unknown("quantity to match by", match, ("auto", *MATCHES))
    named = Populations.of(results)
    found: list[Matched] = []
    refused: list[str] = []
    for pair in comparisons:
        differ = [name for check in pair.preconditions if not check.holds for name in check.evidence if name in MATCHES]
        column = next(iter(differ), None) if match == "auto" else match
        if column is None or not pair.may_conclude or pair.part < 1:
            continue
        try:
            sides = named[pair.a], named[pair.b]
            found.append(compare_matched(*sides, column, pair.level))
        except InputError as error:
            refused.append(f"{pair.a} and {pair.b} cannot be compared at equal {column}: {error}.")
    corrected = holm([pair.p for pair in found])
    matched = (replace(pair, pairs=len(found), p_holm=p) for pair, p in zip(found, corrected, strict=True))
    return tuple(matched), tuple(refused)


def normalised(results: Sequence[Results], match: str, bins: int = BINS) -> dict[str, EDF]:
    """Return the EDFs of populations, weighed as if all had the same complexities, by their names.

    Raises:
        InputError: as `compare_matched`.
    """
    weights = common_weights([_complexity(one, match) for one in results], bins)
    return {one.name: edf(one.errors(), of) for one, of in zip(results, weights, strict=True)}


def _complexity(results: Results, match: str) -> NDArray[np.float64]:
    """Return a column of the networks that count, all of which must be known."""
    if match not in MATCHES:
        raise unknown("quantity to match by", match, MATCHES)
    values = results.table[match].to_numpy(np.float64)[results.counted()]
    if np.isnan(values).any():
        raise InputError(f"{match} of {counted(int(np.isnan(values).sum()), 'trial')} of {results.name} is not known")
    return values


def _strata(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the stratum of each network: quantiles of the complexity, about `STRATUM` networks in each."""
    count = max(1, values.size // STRATUM)
    edges = np.quantile(values, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _within_strata(
    errors: NDArray[np.float64], is_a: NDArray[np.bool_], strata: NDArray[np.int64]
) -> tuple[float, float]:
    """Return P(A < B) within strata, and its two-sided p value; (1/2, 1) where no stratum has networks of both.

    A stratum of n networks weighs 1 / (n + 1) (van Elteren). The variance of its sum of ranks is that over all orders
    of its labels, ties included; the sum over strata is taken as normal.
    """
    from scipy.special import ndtr

    table = pd.DataFrame({"stratum": strata, "is_b": ~is_a, "error": errors})
    grouped = table.groupby("stratum")
    table["rank"] = grouped["error"].rank()
    table["rank_b"] = table["rank"].where(table["is_b"], 0.0)
    n, n_b = grouped.size(), grouped["is_b"].sum()
    product = (n - n_b) * n_b
    above = (grouped["rank_b"].sum() - n_b * (n + 1) / 2) / (n + 1)
    variance = product / n * grouped["rank"].var().fillna(0.0) / (n + 1) ** 2
    weight, error = float((product / (n + 1)).sum()), float(np.sqrt(variance.sum()))
    if not weight:
        return 0.5, 1.0
    effect = 0.5 + float(above.sum()) / weight
    return effect, 2 * float(ndtr(-abs(float(above.sum())) / error)) if error else 1.0
