"""Tests and effect sizes that decide whether one design space is better than another, and the conclusion as text.

The Kolmogorov-Smirnov test follows "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214, section 4.1).
It decides whether two spaces differ. Only if they do, a second test decides which of them is better, by the probability
that a random network of one has the lower error. So each pair yields one claim, and not the luckier of two tests.
Networks that both populations have are compared as pairs instead (see `blocks`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from designspace.analysis.blocks import block_test
from designspace.analysis.difference import KS, Dominance, ks_test
from designspace.analysis.early_stops import WeightedErrors, compare_weighted
from designspace.analysis.edf import check_level
from designspace.analysis.effects import mean_difference, median_difference, probability_lower
from designspace.analysis.p_values import holm, p_text
from designspace.analysis.populations import Populations
from designspace.analysis.power import NetworksNeeded, could_show, networks_needed
from designspace.analysis.preconditions import (
    Precondition,
    by_network,
    drawn_at_random,
    independent,
    left_out_at_random,
    may_conclude,
    possible_results,
    random_subset,
    same_budget,
    same_training,
    shared_networks,
)
from designspace.analysis.preconditions.looks import level_at, part_of_information
from designspace.analysis.results import Results
from designspace.analysis.standings import is_sampled
from designspace.support.display import html_table
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing the errors of two populations, A and B.

    Each interval has confidence 1 - ``level``; it is NaN if a population has one network. The p values of several pairs
    are corrected for multiple comparisons, but the intervals are not.
    """

    a: str
    b: str
    n_a: int
    n_b: int
    ks: float
    """Kolmogorov-Smirnov statistic D, the largest distance between the two EDFs."""
    ks_p: float
    """Exact up to 10,000 networks; conservative above if errors are equal. By permutation if networks are shared."""
    a_above_p: float
    """One-sided KS test: small if A has more networks up to some error than B."""
    b_above_p: float
    """One-sided KS test: small if B has more networks up to some error than A."""
    effect: float
    """P(A < B) + P(A = B) / 2, the probability that a random network of A has the lower error, ties shared."""
    effect_low: float
    effect_high: float
    effect_p: float
    """Two-sided p value of ``effect`` = 1/2, for populations of any shape (Brunner and Munzel).

    It is computed by permutation if networks are shared."""
    mean_difference: float
    """Mean error of A less that of B (see ``metric``)."""
    mean_low: float
    """Lower end of Welch's interval, or of that of `mean_difference_of_pairs` if networks are shared."""
    mean_high: float
    median_difference: float
    """Median error of A less that of B (see ``metric``)."""
    median_low: float
    """Lower end of the interval of Price and Bonett."""
    median_high: float
    level: float = 0.05
    """Significance level of the conclusion."""
    pairs: int = 1
    """Number of pairs compared together, for which the corrected p values account."""
    ks_p_holm: float = math.nan
    """``ks_p`` after Holm's correction; decides whether the spaces differ."""
    effect_p_holm: float = math.nan
    """``effect_p`` after Holm's correction; decides, if the spaces differ, whether one is better."""
    needed: NetworksNeeded | None = None
    """Networks that would decide it; None if the spaces differ already, trials are unfinished, or one is a list."""
    preconditions: tuple[Precondition, ...] = ()
    """Conditions on which the claim rests, each with whether it holds."""
    shared: int = 0
    """Number of networks that both populations have, if there are enough to be tested as pairs; else 0."""
    stopped: int = 0
    """Number of trials of both that were stopped early, if others represent them (see `early_stops`); else 0."""
    part: float = 1.0
    """Fraction of the planned information that is available: below 1 while trials are unfinished."""
    is_worst_case: bool = False
    """Whether p values are the largest over all possible errors of trials that the machine ended.

    See `possible_results`."""
    may_conclude: bool = True
    """Whether the finished trials are a random sample of their populations, as far as can be tested."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better (see `Results.errors`)."""

    @property
    def own_means(self) -> tuple[float, float, float]:
        """Difference of the means of the metric itself, with the ends of its interval."""
        return self.metric.oriented_interval(self.mean_difference, self.mean_low, self.mean_high)

    @property
    def own_medians(self) -> tuple[float, float, float]:
        """Difference of the medians of the metric itself, with the ends of its interval."""
        return self.metric.oriented_interval(self.median_difference, self.median_low, self.median_high)

    @property
    def threshold(self) -> float:
        """Bound for a corrected p value: the level, or less while trials are unfinished (see `looks`)."""
        return level_at(self.part, self.level) if self.may_conclude else 0.0

    @property
    def differs(self) -> bool:
        """Whether the two spaces are shown to have different distributions of errors.

        If networks are shared, the test of pairs decides; if trials were stopped early, that of the probability of the
        lower error; otherwise the Kolmogorov-Smirnov test.
        """
        return (self.effect_p_holm if self.shared or self.stopped else self.ks_p_holm) < self.threshold

    @property
    def better(self) -> str | None:
        """Name of the space that is shown to be better, or None."""
        if not self.differs or not self.effect_p_holm < self.threshold:
            return None
        return self.a if self.effect > 0.5 else self.b

    @property
    def dominance(self) -> Dominance:
        """Which space dominates, as far as these networks show (see `Difference.dominance`), corrected for all pairs.

        It is ``undecided`` unless the spaces are shown to differ.
        """
        sides = KS(self.ks, self.ks_p, self.a_above_p, self.b_above_p)
        return sides.dominance(self.threshold / self.pairs) if self.differs else "undecided"

    @property
    def could_show(self) -> bool:
        """Whether this number of networks could show any difference (see `power.could_show`)."""
        return could_show(self.n_a, self.n_b, self.level, self.pairs)

    def __repr__(self) -> str:
        return f"Comparison({self.sentence()})"

    def _repr_html_(self) -> str:
        sides = f"{self.a}, n = {self.n_a}; {self.b}, n = {self.n_b}"
        metric, (mean, low, high) = self.metric, self.own_means
        rows = [
            ("compared", sides),
            (
                f"probability of a {metric.better_word} {metric.name}",
                f"{self.effect:.2f} ({self.effect_low:.2f} to {self.effect_high:.2f})",
            ),
            ("difference of the means", f"{metric.signed(mean)} ({metric.signed(low)} to {metric.signed(high)})"),
            ("Kolmogorov-Smirnov", f"D = {self.ks:.2f}, {p_text(self.ks_p_holm)}"),
        ]
        return html_table(self.sentence(), rows)

    def sentence(self) -> str:
        """Return the conclusion as text, with the numbers on which it rests."""
        pair = self.swapped() if self.better == self.b else self
        corrected = f" Holm-corrected over {self.pairs} pairs" if self.pairs > 1 else ""
        test = f"KS D = {self.ks:.2f}, {p_text(self.ks_p_holm)}{corrected}"
        if self.shared:
            test = f"{self.shared} networks in pairs, {p_text(self.effect_p_holm)}{corrected}"
        if self.stopped:
            test = f"{p_text(self.effect_p_holm)}{corrected}, {self.stopped} stopped trials represented by others"
        test += f" for any {self.metric.plural} of the trials left out" if self.is_worst_case else ""
        sizes = f"n = {pair.n_a} and {pair.n_b}"
        percent = f"{100 * self.level:g}%"
        so_far = "So far, " if self.part < 1 else ""
        title_a, title_b = pair.titles
        metric = self.metric
        if self.better:
            probability = f"{pair.effect:.2f}" if pair.effect < 0.995 else "above 0.99"  # 1.00 would claim certainty
            crosses = f" However, the curves cross: at some {metric.plural}, {pair.b} is ahead."
            crossing = crosses if self.dominance == "cross" else ""
            return (
                f"{so_far}{title_a} is better than {title_b}: a random network from {pair.a} has a "
                f"{metric.better_word} {metric.name} than one from {pair.b} with probability {probability} ({test}, "
                f"{sizes}).{crossing}"
            )
        if self.differs:
            crossing = (
                f": the curves cross, so each is ahead at some {metric.plural}" if self.dominance == "cross" else ""
            )
            return (
                f"{so_far}{title_a} and {title_b} differ ({test}, {sizes}), but neither is shown to be better at "
                f"{percent}{crossing}; a random network from {pair.a} has the {metric.better_word} {metric.name} with "
                f"probability {pair.effect:.2f} ({pair.effect_low:.2f} to {pair.effect_high:.2f})."
            )
        if not self.may_conclude:
            return f"{pair.a} and {pair.b}: no conclusion yet; the finished networks are not a random sample of each."
        too_few = "" if self.could_show else "; too few networks to show any difference"
        outlook = f": {self.needed.sentence()}" if self.needed else ""
        shown = f"no difference shown {'so far' if so_far else f'at {percent}'}"
        mean, low, high = pair.own_means
        interval = f"{metric.difference(mean)} ({metric.signed(low)} to {metric.signed(high)})"
        means = "" if math.isnan(pair.mean_low) else f" The means differ by {interval}."
        return f"{title_a} and {title_b}: {shown} ({test}{too_few}). Not decided with {sizes}{outlook}.{means}"

    @property
    def titles(self) -> tuple[str, str]:
        """Names of A and B, each followed by its other differences in brackets, such as another recipe."""
        sides = [check.sides for check in self.preconditions if any(check.sides)]
        differences = ["; ".join(filter(None, side)) for side in zip(*sides, strict=True)] if sides else ["", ""]
        title_a, title_b = (
            f"{name} ({difference})" if difference else name
            for name, difference in zip((self.a, self.b), differences, strict=True)
        )
        return title_a, title_b

    def swapped(self) -> Comparison:
        """Return the same comparison with A and B swapped."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            n_a=self.n_b,
            n_b=self.n_a,
            a_above_p=self.b_above_p,
            b_above_p=self.a_above_p,
            effect=1 - self.effect,
            effect_low=1 - self.effect_high,
            effect_high=1 - self.effect_low,
            mean_difference=-self.mean_difference,
            mean_low=-self.mean_high,
            mean_high=-self.mean_low,
            median_difference=-self.median_difference,
            median_low=-self.median_high,
            median_high=-self.median_low,
            needed=self.needed and replace(self.needed, n_a=self.needed.n_b, n_b=self.needed.n_a),
            preconditions=tuple(check.swapped() for check in self.preconditions),
        )


def compare(a: Results, b: Results, level: float = 0.05, *, seed: int = 0) -> Comparison:
    """Compare the errors of two populations.

    Only the number of networks needed and the test of populations with common networks depend on ``seed``.

    Raises:
        InputError: one of them has no finished trial, both have the same name, or ``level`` is not between 0 and 1.
    """
    for results in (a, b):
        if not results.counted().any():
            raise InputError(f"{results.name} has no trial to compare: {results.counts.sentence()}")
    return compare_all([a, b], level, seed=seed)[0]


def compare_all(results: Sequence[Results], level: float = 0.05, *, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare all pairs of populations that have a trial to compare, with Holm's correction over the pairs.

    Both tests are corrected, each over all pairs. Fewer than two such populations give no comparison. The conditions of
    a claim are checked first (see `preconditions`). Of an unfinished sweep only a random sample counts, and its claims
    need smaller p values; networks that two populations share are compared as pairs.

    Raises:
        InputError: two of them have the same name or different numbers of classes, or ``level`` is not between 0 and 1.
    """
    check_level(level)
    populations = Populations.of(random_subset(by_network(population)) for population in results).with_errors
    are_random = {population.name: may_conclude(population) for population in populations}
    pairs = [
        replace(_compare_worst_case(a, b, level, seed), may_conclude=are_random[a.name] and are_random[b.name])
        for a, b in itertools.combinations(populations, 2)
    ]
    corrected_ks = holm([pair.ks_p for pair in pairs])
    corrected_effects = holm([pair.effect_p for pair in pairs])
    comparisons = []
    for pair, ks_p, effect_p in zip(pairs, corrected_ks, corrected_effects, strict=True):
        comparison = replace(pair, pairs=len(pairs), ks_p_holm=ks_p, effect_p_holm=effect_p)
        both = [populations[name] for name in (comparison.a, comparison.b)]
        is_simple = comparison.part == 1 and not (comparison.shared or comparison.stopped or comparison.is_worst_case)
        if not comparison.differs and is_simple and all(population.is_drawn for population in both):
            a, b = (np.sort(population.errors()) for population in both)
            comparison = replace(comparison, needed=networks_needed(a, b, level, len(pairs), seed=seed))
        comparisons.append(comparison)
    return tuple(comparisons)


def comparison_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return one row per pair: all numbers of its comparison, its unmet conditions and its conclusion."""
    rows = []
    for comparison in comparisons:
        row = {field.name: getattr(comparison, field.name) for field in fields(comparison)}
        needed, checks = row.pop("needed"), row.pop("preconditions")
        row.pop("metric")
        for name, values in (("mean", comparison.own_means), ("median", comparison.own_medians)):
            row |= dict(zip((f"{name}_difference", f"{name}_low", f"{name}_high"), values, strict=True))
        needed_numbers = {"verdict": "decided", "more": 0, "most": 0, "power": math.nan}
        if needed:
            needed_numbers = {key: getattr(needed, key) for key in needed_numbers}
        unmet = "; ".join(check.name for check in checks if not check.holds)
        conclusion = {
            "differs": comparison.differs,
            "better": comparison.better or "",
            "dominance": comparison.dominance,
            "not_met": unmet,
        }
        rows.append({**row, **conclusion, **{f"needed_{key}": value for key, value in needed_numbers.items()}})
    return pd.DataFrame(rows)


def _compare_worst_case(a: Results, b: Results, level: float, seed: int) -> Comparison:
    """Return the numbers of one pair, with the largest p values over all possible errors of the trials left out."""
    pair = _compare(a, b, level, seed)
    least = float(min(a.errors().min(), b.errors().min()))
    possible = [possible_results(results, least) for results in (a, b)]
    combinations = list(itertools.product(*possible))[1:]  # the first is that of the pair itself
    if not combinations:
        return pair
    others = [_compare(variant_a, variant_b, level, seed) for variant_a, variant_b in combinations]
    variants = [pair, *others]
    # The true EDF lies between those with these trials at either end. It is above another if its lower bound is.
    above = {name: max(getattr(variant, name) for variant in variants) for name in ("a_above_p", "b_above_p")}
    is_one_sided = len({np.sign(variant.effect - 0.5) for variant in variants}) == 1
    effect_p = max(variant.effect_p for variant in variants) if is_one_sided else 1.0
    return replace(pair, **above, ks_p=min(1.0, 2 * min(above.values())), effect_p=effect_p, is_worst_case=True)


def _compare(a: Results, b: Results, level: float, seed: int) -> Comparison:
    """Return the uncorrected numbers of one pair, without the trials left out, and its conditions."""
    errors_a, errors_b = a.errors(), b.errors()
    first, second = np.sort(errors_a), np.sort(errors_b)
    ks = ks_test(first, second)
    shared = shared_networks(a, b)
    effect, mean = probability_lower(first, second, level), mean_difference(first, second, level)
    ks_p = ks.p
    if shared.are_many:
        blocks = block_test(errors_a, errors_b, shared.pairs, level, seed=seed)
        effect, mean, ks_p = blocks.effect, blocks.mean, blocks.ks_p
    sizes = first.size, second.size
    stopped = 0 if shared.are_many else sum(each.stopped for each in map(WeightedErrors.of, (a, b)) if each)
    if stopped:
        weighted_a, weighted_b = (WeightedErrors.of(each) or WeightedErrors.unweighted(each) for each in (a, b))
        sizes = weighted_a.errors.size, weighted_b.errors.size
        effect, mean = compare_weighted(weighted_a, weighted_b, level)
    median = median_difference(first, second, level)
    counts = a.counts, b.counts
    is_done = not any(count.unfinished for count in counts)
    planned = [int((is_sampled(results.table) & ~results.left_out()).sum()) for results in (a, b)]
    part = part_of_information((first.size, planned[0]), (second.size, planned[1]))
    return Comparison(
        a=a.name,
        b=b.name,
        n_a=sizes[0],
        n_b=sizes[1],
        ks=ks.distance,
        ks_p=ks_p,
        a_above_p=ks.a_above_p,
        b_above_p=ks.b_above_p,
        effect=effect.value,
        effect_low=effect.low,
        effect_high=effect.high,
        effect_p=effect.p,
        mean_difference=mean.value,
        mean_low=mean.low,
        mean_high=mean.high,
        median_difference=median.value,
        median_low=median.low,
        median_high=median.high,
        level=level,
        preconditions=(
            drawn_at_random(a, b),
            independent(a, b, shared),
            same_budget(a, b),
            same_training(a, b),
            left_out_at_random(a),
            left_out_at_random(b),
        ),
        shared=len(shared.pairs) if shared.are_many else 0,
        stopped=stopped,
        part=1.0 if is_done else part,
        metric=a.metric,
    )
