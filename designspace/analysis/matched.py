"""Comparison of two populations at equal cost, so that a larger budget is not taken for a better space.

Cost is any quantity: flops, activations, peak memory, measured latency, or a parameter. The test compares ranks within
strata of networks of similar cost (van Elteren, Bulletin of the Institute of International Statistics 37, 1960). It
does not use the weighted EDFs of the figures (`equal_cost`), because they give so much weight to the few networks at
the ends of the range that their tests have little power.

All pairs and all quantities that are compared together are one family of tests, and Holm's correction is over all of
them: a reader of "X is better than Y at equal activations" has seen the other sentences, too. The comparisons of raw
errors (`comparison`) are a family of their own, since they answer another question. Quantities of one network are
correlated, so that the correction is conservative.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.comparison import Comparison
from designspace.analysis.edf import check_level
from designspace.analysis.p_values import holm, p_text
from designspace.analysis.populations import Populations
from designspace.analysis.quantities import OF_TRAINING, NotMeasuredError, common_costs, quantity, values, with_columns
from designspace.analysis.results import Results
from designspace.networks.quantities import Quantity
from designspace.spaces.costs import speeds_differ
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.metric import TOP1_ERROR, Metric

Match = str | Quantity | Sequence[str | Quantity] | None
"""Quantities to match by: one or several, ``auto`` for those in which budgets differ, or None."""
STRATUM_SIZE = 12
"""Number of networks of both populations in a stratum of the test.

With strata of 12, populations whose errors depend on complexity in the same way and whose complexities are 0.3 or 0.6
apart in ln c are called different in 5 to 6% (n = 50, 100) and 3 to 6% (n = 500) of comparisons (standard error 1.1).
"""


@dataclass(frozen=True, slots=True)
class Matched:
    """Result of comparing two populations at equal cost; there is none while trials are unfinished."""

    a: str
    b: str
    quantity: Quantity
    """The quantity by which they are matched."""
    n_a: int
    """Number of networks of A within the common range of the quantity."""
    n_b: int
    low: float
    """Lower end of the common range."""
    high: float
    effect: float
    """Probability that a random network of A has the lower error than one of B in the same stratum, ties shared."""
    p: float
    """Two-sided p value of ``effect`` = 1/2 (van Elteren's test)."""
    level: float
    tests: int = 1
    """Number of pairs and quantities that are tested together."""
    p_holm: float = 1.0
    """``p`` after Holm's correction over these tests."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    @property
    def match(self) -> str:
        """Name of the quantity by which they are matched."""
        return self.quantity.name

    @property
    def better(self) -> str | None:
        """Name of the space that is shown to be better at equal cost, or None."""
        if not self.p_holm < self.level:
            return None
        return self.a if self.effect > 0.5 else self.b

    def sentence(self) -> str:
        """Return the conclusion as text, with the numbers on which it rests."""
        noun, setting = self.quantity.noun, f"{self.quantity.setting}; " if self.quantity.setting else ""
        condition = f"At equal {noun} ({setting}{self.quantity.range_text(self.low, self.high)})"
        corrected = f" Holm-corrected over {self.tests} tests at equal cost" if self.tests > 1 else ""
        test = f"ranks within strata, {p_text(self.p_holm)}{corrected}"
        sizes = f"n = {self.n_a} and {self.n_b}"
        if self.better:
            first, second = (self.a, self.b) if self.better == self.a else (self.b, self.a)
            probability = self.effect if self.better == self.a else 1 - self.effect
            return (
                f"{condition}, {first} is better than {second}: a random network from {first} has "
                f"a {self.metric.better_word} {self.metric.name} than "
                f"one from {second} of similar {noun} with probability {probability:.2f} ({test}, {sizes})."
            )
        return f"{condition}, {self.a} and {self.b}: no difference shown at {100 * self.level:g}% ({test}, {sizes})."


def compare_matched(
    a: Results,
    b: Results,
    match: str | Quantity = "flops",
    level: float = 0.05,
) -> Matched:
    """Compare two populations at equal cost, by ranks of errors within strata of networks of similar cost.

    Networks that both populations have are not paired. Their errors are alike, which makes the test conservative.

    Args:
        a: the first population.
        b: the second population.
        match: the quantity to match by, such as ``flops``, ``peak_memory``, ``latency`` or ``train_s``.
        level: significance level of the conclusion.

    Raises:
        InputError: the quantity is unknown, not known for all networks, was measured on different machines or is a
            score; the populations have no range of it in common; or no trial counts.
    """
    check_level(level)
    chosen = quantity(match, a, b)
    check_same_machine(chosen, (a, b))
    columns = [known_values(results, chosen) for results in (a, b)]
    low, high = _common_range(chosen, (a, b), columns)
    pooled, is_a = np.concatenate(columns), np.repeat([True, False], [len(column) for column in columns])
    errors = np.concatenate([results.errors() for results in (a, b)])
    is_common = (pooled >= low) & (pooled <= high)
    pooled, is_a, errors = pooled[is_common], is_a[is_common], errors[is_common]
    effect, p = _within_strata(errors, is_a, _strata(pooled))
    n_a = int(is_a.sum())
    return Matched(a.name, b.name, chosen, n_a, is_a.size - n_a, low, high, effect, p, level, p_holm=p, metric=a.metric)


def match_all(
    results: Sequence[Results],
    comparisons: Sequence[Comparison],
    match: Match = "auto",
) -> tuple[tuple[Matched, ...], tuple[str, ...]]:
    """Compare pairs at equal cost, with Holm's correction over all pairs and quantities.

    In 2,000 simulated analyses (standard error 0.5) of three equally good spaces of 50 networks, which were matched by
    three correlated costs, 4 to 6% made a wrong claim, with costs 0, 0.3 or 0.6 apart in ln c; single tests, which are
    approximate, did so in 5 to 7%. See `experiments/benchmark_equal_cost`.

    Args:
        results: the populations.
        comparisons: their comparisons.
        match: the quantities to match all pairs by. ``auto`` matches pairs whose budgets differ, or in which trials
            that the machine ended differ from the others, by the first cost that differs (see
            `preconditions.same_budget` and `left_out_at_random`). None matches no pair.

    Raises:
        InputError: a quantity is unknown.

    Returns:
        The matched comparisons, and a sentence for each that is not possible.
    """
    quantities = chosen_quantities(results, match)
    populations = Populations.of(results)
    matched: list[Matched] = []
    refused = _not_measured(results, quantities)
    for pair in comparisons:
        sides = populations[pair.a], populations[pair.b]
        columns = quantities if quantities is not None else _differing(pair, sides)
        if columns and (not pair.may_conclude or pair.part < 1):
            if quantities is not None:
                refused.append(f"{pair.a} and {pair.b} are compared at equal cost once all trials have finished.")
            continue
        for column in columns:
            name = column if isinstance(column, str) else column.noun
            try:
                matched.append(compare_matched(*sides, column, pair.level))
            except NotMeasuredError:
                continue  # said once for all pairs
            except InputError as error:
                refused.append(f"{pair.a} and {pair.b} cannot be compared at equal {name}: {error}.")
    corrected = holm([test.p for test in matched])
    tests = (replace(test, tests=len(matched), p_holm=p) for test, p in zip(matched, corrected, strict=True))
    return tuple(tests), tuple(refused)


def _not_measured(results: Sequence[Results], quantities: Sequence[str | Quantity] | None) -> list[str]:
    """Return a sentence for each quantity that was not measured for all results."""
    sentences = []
    for name in quantities or ():
        try:
            quantity(name, *results)
        except NotMeasuredError as error:
            sentences.append(f"Not all runs can be compared at equal {name}: {error}.")
    return sentences


def matched_table(matched: Sequence[Matched]) -> pd.DataFrame:
    """Return one row per test: pair, quantity, numbers of networks, range, effect, p values, and the better space."""
    names = ("a", "b", "match", "n_a", "n_b", "low", "high", "effect", "p", "p_holm", "tests", "level")
    rows = [{name: getattr(test, name) for name in names} | {"better": test.better or ""} for test in matched]
    return pd.DataFrame(rows, columns=[*names, "better"])


def chosen_quantities(results: Sequence[Results], match: Match) -> tuple[str | Quantity, ...] | None:
    """Return the quantities to match by, by their names if they were not measured for all results; None for ``auto``.

    Raises:
        InputError: a quantity is unknown or a score, or ``auto`` is one of several.
    """
    if match is None:
        return ()
    requested = [match] if isinstance(match, str | Quantity) else list(match)
    if "auto" in requested:
        if len(requested) > 1:
            raise InputError("match=auto chooses the quantities itself; give either auto or names of quantities")
        return None
    chosen: dict[str, str | Quantity] = {}
    for name in requested:
        try:
            known = quantity(name, *results)
        except NotMeasuredError:
            chosen[str(name)] = name
            continue
        if known.source == "scored":
            raise InputError(f"networks cannot be matched by {known.name}, which is what they are compared by")
        chosen[known.name] = known
    return tuple(chosen.values())


def with_matches(results: Results, match: Match) -> Results:
    """Return results with columns for the quantities to match by, so that each is counted once instead of per pair.

    Quantities that these results do not have get no column; `match_all` says why.
    """
    if match is None:
        return results
    for name in [match] if isinstance(match, str | Quantity) else match:
        with contextlib.suppress(InputError):
            results = with_columns(results, [name])
    return results


def known_values(results: Results, chosen: Quantity) -> NDArray[np.float64]:
    """Return a quantity of the networks that count, in the order of `Results.errors`.

    Raises:
        InputError: a value is missing, or these results do not have the quantity.
    """
    column = values(results, chosen)[results.counted()]
    num_unknown = int(np.isnan(column).sum())
    if num_unknown:
        what = "trial" if chosen.name in OF_TRAINING else "network"
        raise InputError(f"{chosen.name} of {counted(num_unknown, what)} of {results.name} is not known")
    return column


def machine_of(chosen: Quantity, results: Results) -> str:
    """Return the machines that measured a quantity, as text; empty if it was not measured."""
    if chosen.name in OF_TRAINING:
        return ", ".join(sorted(set(results.table["device"][results.counted()]) - {""}))
    return results.measured[chosen.name].machine if chosen.name in results.measured else chosen.machine


def check_same_machine(chosen: Quantity, populations: Sequence[Results]) -> None:
    """Raise an InputError if a quantity of populations was measured on different machines, or at different speeds."""
    machines = {results.name: machine_of(chosen, results) for results in populations}
    if len(set(machines.values())) > 1:
        listed = "; ".join(f"{name} on {machine or 'an unknown machine'}" for name, machine in machines.items())
        raise InputError(f"{chosen.noun} was measured on different machines ({listed})")
    speeds = {
        results.name: results.measured[chosen.name].reference_ms
        for results in populations
        if chosen.name in results.measured and not math.isnan(results.measured[chosen.name].reference_ms)
    }
    if speeds and speeds_differ(min(speeds.values()), max(speeds.values())):
        listed = "; ".join(f"{name}: {speed:.3g} ms" for name, speed in speeds.items())
        raise InputError(
            f"{chosen.noun} was measured when the machine had different speeds (its reference network took {listed}); "
            "measure all runs together, with measure runs=[...] again=all"
        )


def _differing(pair: Comparison, sides: tuple[Results, Results]) -> tuple[str, ...]:
    """Return the name of the first cost in which the budgets of a pair differ; empty if none does."""
    costs = {cost.name for cost in common_costs(sides)}
    names = (name for check in pair.preconditions if not check.holds for name in check.evidence)
    return tuple(name for name in names if name in costs)[:1]


def _common_range(
    chosen: Quantity, populations: Sequence[Results], columns: Sequence[NDArray[np.float64]]
) -> tuple[float, float]:
    """Return the range of a quantity that populations have in common.

    Raises:
        InputError: there is none, or a population has no network.
    """
    for results, column in zip(populations, columns, strict=True):
        if not column.size:
            raise InputError(f"no trial of {results.name} counts yet")
    start = max(range(len(columns)), key=lambda index: float(columns[index].min()))
    end = min(range(len(columns)), key=lambda index: float(columns[index].max()))
    low, high = float(columns[start].min()), float(columns[end].max())
    if low > high:
        raise InputError(
            f"they have no {chosen.noun} in common: {populations[end].name} ends at {chosen.text(high)}, "
            f"{populations[start].name} begins at {chosen.text(low)}"
        )
    return low, high


def _strata(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the stratum of each network, between quantiles of the quantity, each of about `STRATUM_SIZE` networks."""
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
