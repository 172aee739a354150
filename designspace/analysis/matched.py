"""Comparison of two populations at equal complexity, so that a larger budget is not taken for a better space.

The figure is that of "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), section 4.2: EDFs whose
networks are weighted as if both populations had the same complexities. The test compares ranks within strata of
networks of similar complexity (van Elteren, Bulletin of the Institute of International Statistics 37, 1960). It does
not use weighted EDFs, because they give so much weight to the few networks at the ends of the range that their tests
have little power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.comparison import Comparison
from designspace.analysis.complexity_weights import common_range, common_weights
from designspace.analysis.edf import EDF, check_level, edf
from designspace.analysis.p_values import holm, p_text
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.spaces.constraints import QUANTITIES
from designspace.support.errors import InputError, unknown
from designspace.support.text import counted, prefixed
from designspace.trials.metric import TOP1_ERROR, Metric

MATCHES = (*QUANTITIES, "train_s")
"""Columns by which populations can be matched: complexities, and seconds of training."""
BINS = 8
"""Number of complexity bins of the weighted EDFs."""
STRATUM_SIZE = 12
"""Number of networks of both populations in a stratum of the test.

With strata of 12, populations whose errors depend on complexity in the same way and whose complexities are 0.3 or 0.6
apart in ln c are called different in 5 to 6% (n = 50, 100) and 3 to 6% (n = 500) of comparisons (standard error 1.1).
"""


@dataclass(frozen=True, slots=True)
class Matched:
    """Result of comparing two populations at equal complexity; there is none while trials are unfinished."""

    a: str
    b: str
    match: str
    """The column by which they are matched, one of `MATCHES`."""
    n_a: int
    """Number of networks of A within the common range of the complexity."""
    n_b: int
    low: float
    """Lower end of the common range."""
    high: float
    effect: float
    """Probability that a random network of A has the lower error than one of B in the same stratum, ties shared."""
    p: float
    """Two-sided p value of ``effect`` = 1/2 (van Elteren's test)."""
    level: float
    pairs: int = 1
    p_holm: float = 1.0
    """``p`` after Holm's correction over the pairs that are matched together."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    @property
    def better(self) -> str | None:
        """Name of the space that is shown to be better at equal complexity, or None."""
        if not self.p_holm < self.level:
            return None
        return self.a if self.effect > 0.5 else self.b

    def sentence(self) -> str:
        """Return the conclusion as text, with the numbers on which it rests."""
        unit = " s" if self.match == "train_s" else ""
        condition = f"At equal {self.match} ({prefixed(self.low)} to {prefixed(self.high)}{unit})"
        corrected = f" Holm-corrected over {self.pairs} pairs" if self.pairs > 1 else ""
        test = f"ranks within strata, {p_text(self.p_holm)}{corrected}"
        sizes = f"n = {self.n_a} and {self.n_b}"
        if self.better:
            first, second = (self.a, self.b) if self.better == self.a else (self.b, self.a)
            probability = self.effect if self.better == self.a else 1 - self.effect
            return (
                f"{condition}, {first} is better than {second}: a random network from {first} has "
                f"a {self.metric.better_word} {self.metric.name} than "
                f"one from {second} of similar {self.match} with probability {probability:.2f} ({test}, {sizes})."
            )
        return f"{condition}, {self.a} and {self.b}: no difference shown at {100 * self.level:g}% ({test}, {sizes})."


def compare_matched(
    a: Results,
    b: Results,
    match: str = "flops",
    level: float = 0.05,
) -> Matched:
    """Compare two populations at equal complexity, by ranks of errors within strata of similar complexity.

    Args:
        a: the first population.
        b: the second population.
        match: the column to match by: flops, params, activations, or train_s.
        level: significance level of the conclusion.

    Raises:
        InputError: the column is unknown, complexities are missing or have no range in common, or no trial counts.
    """
    check_level(level)
    values = [_complexity(results, match) for results in (a, b)]
    low, high = common_range(values)
    pooled, is_a = np.concatenate(values), np.repeat([True, False], [len(complexities) for complexities in values])
    errors = np.concatenate([results.errors() for results in (a, b)])
    is_common = (pooled >= low) & (pooled <= high)
    pooled, is_a, errors = pooled[is_common], is_a[is_common], errors[is_common]
    effect, p = _within_strata(errors, is_a, _strata(pooled))
    n_a = int(is_a.sum())
    return Matched(a.name, b.name, match, n_a, is_a.size - n_a, low, high, effect, p, level, p_holm=p, metric=a.metric)


def match_all(
    results: Sequence[Results],
    comparisons: Sequence[Comparison],
    match: str | None = "auto",
) -> tuple[tuple[Matched, ...], tuple[str, ...]]:
    """Compare pairs at equal complexity, with Holm's correction over them.

    Args:
        results: the populations.
        comparisons: their comparisons.
        match: the column to match all pairs by. ``auto`` matches pairs whose budgets differ, or in which trials that
            the machine ended differ from the others, by the first complexity that differs (see
            `preconditions.same_budget` and `left_out_at_random`). None matches no pair.

    Raises:
        InputError: ``match`` is unknown.

    Returns:
        The matched comparisons, and a sentence for each pair that cannot be matched.
    """
    if match not in (None, "auto", *MATCHES):
        raise unknown("quantity to match by", match, ("auto", *MATCHES))
    populations = Populations.of(results)
    matched: list[Matched] = []
    refused: list[str] = []
    for pair in comparisons:
        differing = [
            name for check in pair.preconditions if not check.holds for name in check.evidence if name in MATCHES
        ]
        column = next(iter(differing), None) if match == "auto" else match
        if column is None or not pair.may_conclude or pair.part < 1:
            continue
        try:
            sides = populations[pair.a], populations[pair.b]
            matched.append(compare_matched(*sides, column, pair.level))
        except InputError as error:
            refused.append(f"{pair.a} and {pair.b} cannot be compared at equal {column}: {error}.")
    corrected = holm([pair.p for pair in matched])
    corrected_pairs = (replace(pair, pairs=len(matched), p_holm=p) for pair, p in zip(matched, corrected, strict=True))
    return tuple(corrected_pairs), tuple(refused)


def edfs_at_equal_complexity(results: Sequence[Results], match: str, bins: int = BINS) -> dict[str, EDF]:
    """Return the EDFs of populations by name, weighted as if all had the same complexities.

    Raises:
        InputError: as `compare_matched`.
    """
    weights = common_weights([_complexity(population, match) for population in results], bins)
    return {
        population.name: edf(population.errors(), population_weights, population.metric)
        for population, population_weights in zip(results, weights, strict=True)
    }


def _complexity(results: Results, match: str) -> NDArray[np.float64]:
    """Return a column of the networks that count; raise an InputError if a value is missing."""
    if match not in MATCHES:
        raise unknown("quantity to match by", match, MATCHES)
    values = results.table[match].to_numpy(np.float64)[results.counted()]
    if np.isnan(values).any():
        raise InputError(f"{match} of {counted(int(np.isnan(values).sum()), 'trial')} of {results.name} is not known")
    return values


def _strata(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the stratum of each network, between quantiles of complexity, each of about `STRATUM_SIZE` networks."""
    count = max(1, values.size // STRATUM_SIZE)
    edges = np.quantile(values, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _within_strata(
    errors: NDArray[np.float64], is_a: NDArray[np.bool_], strata: NDArray[np.int64]
) -> tuple[float, float]:
    """Return P(A < B) within strata, and its two-sided p value; (1/2, 1) if no stratum has networks of both.

    A stratum of n networks has weight 1 / (n + 1) (van Elteren). The variance of its rank sum is that over all
    permutations of its labels, ties included. The sum over strata is taken to be normal.
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
