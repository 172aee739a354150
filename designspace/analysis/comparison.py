"""Is one design space better than another? Tests and effect sizes, and what may be said from them.

The Kolmogorov-Smirnov test follows "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214, section 4.1).
It answers whether two spaces differ. Only where it says so is it asked which of them is better, by the probability
that a random network of one has the lower error: so there is one claim for each pair, and not the luckier of two tests.
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
from designspace.analysis.edf import check_level
from designspace.analysis.effects import mean_difference, median_difference, probability_lower
from designspace.analysis.populations import Populations
from designspace.analysis.power import NetworksNeeded, could_show, networks_needed
from designspace.analysis.preconditions import (
    Precondition,
    by_network,
    independent,
    left_out_at_random,
    may_conclude,
    possible_results,
    random_part,
    same_budget,
    same_training,
    shared_networks,
)
from designspace.analysis.preconditions.looks import level_at, part_of_information
from designspace.analysis.results import Results
from designspace.support.display import html_table
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the errors of two populations, A and B, say about their spaces.

    Intervals have the confidence 1 - ``level``, each for itself; they are NaN where a population is one network. The p
    values of several pairs are corrected, intervals are not.
    """

    a: str
    b: str
    n_a: int
    n_b: int
    ks: float
    """Kolmogorov-Smirnov statistic D: the largest distance between the two EDFs."""
    ks_p: float
    """Exact up to 10,000 networks; on the safe side where errors are equal. By permutation if networks are shared."""
    a_above_p: float
    """One-sided KS test: small where A has more networks up to some error than B."""
    b_above_p: float
    """One-sided KS test: small where B has more networks up to some error than A."""
    effect: float
    """P(A < B) + P(A = B) / 2: probability that a random network of A has the lower error, ties shared."""
    effect_low: float
    effect_high: float
    effect_p: float
    """Two-sided p value of ``effect`` = 1/2, for populations of any shape (Brunner and Munzel).

    By permutation if networks are shared."""
    mean_difference: float
    """Mean error of A less that of B, percentage points."""
    mean_low: float
    """Lower end of Welch's interval of the difference; of that of `mean_difference_of_pairs` if networks are shared."""
    mean_high: float
    median_difference: float
    """Median error of A less that of B, percentage points."""
    median_low: float
    """Lower end of the interval of Price and Bonett."""
    median_high: float
    level: float = 0.05
    """Significance level of the conclusion."""
    pairs: int = 1
    """Pairs compared together; the corrected p values allow for so many."""
    ks_p_holm: float = math.nan
    """``ks_p`` after Holm's correction; decides whether the spaces differ."""
    effect_p_holm: float = math.nan
    """``effect_p`` after Holm's correction; decides, where they differ, whether one is better."""
    needed: NetworksNeeded | None = None
    """What would decide it; None where the spaces differ as it is, or trials are unfinished."""
    preconditions: tuple[Precondition, ...] = ()
    """What the claim rests on, and whether it holds."""
    shared: int = 0
    """Networks that both populations have, where they are enough to be tested as pairs; else 0."""
    part: float = 1.0
    """The part of the information that is there: below 1 while trials are unfinished."""
    is_worst_case: bool = False
    """Whether the p values are the largest for any errors of trials that the machine ended (see `possible_results`)."""
    may_conclude: bool = True
    """Whether the finished trials are a random part of their populations, as far as can be seen."""

    @property
    def threshold(self) -> float:
        """What a corrected p value must be below: the level, and less while trials are unfinished (see `looks`)."""
        return level_at(self.part, self.level) if self.may_conclude else 0.0

    @property
    def differs(self) -> bool:
        """Whether the two spaces are shown to have different distributions of errors.

        Where networks are shared, the test of pairs decides; else the Kolmogorov-Smirnov test.
        """
        return (self.effect_p_holm if self.shared else self.ks_p_holm) < self.threshold

    @property
    def better(self) -> str | None:
        """The space that is shown to be better, if one is."""
        if not self.differs or not self.effect_p_holm < self.threshold:
            return None
        return self.a if self.effect > 0.5 else self.b

    @property
    def dominance(self) -> Dominance:
        """Which space dominates, as far as these networks show (see `Difference.dominance`); corrected for all pairs.

        It is ``undecided`` wherever the spaces are not shown to differ.
        """
        sides = KS(self.ks, self.ks_p, self.a_above_p, self.b_above_p)
        return sides.dominance(self.threshold / self.pairs) if self.differs else "undecided"

    @property
    def could_show(self) -> bool:
        """Whether so many networks could show any difference: the least p is that of two EDFs that do not overlap."""
        return could_show(self.n_a, self.n_b, self.level, self.pairs)

    def __repr__(self) -> str:
        return f"Comparison({self.sentence()})"

    def _repr_html_(self) -> str:
        sides = f"{self.a}, n = {self.n_a}; {self.b}, n = {self.n_b}"
        rows = [
            ("compared", sides),
            ("probability of a lower error", f"{self.effect:.2f} ({self.effect_low:.2f} to {self.effect_high:.2f})"),
            ("difference of the means", f"{self.mean_difference:+.2f} ({self.mean_low:+.2f} to {self.mean_high:+.2f})"),
            ("Kolmogorov-Smirnov", f"D = {self.ks:.2f}, {p_text(self.ks_p_holm)}"),
        ]
        return html_table(self.sentence(), rows)

    def sentence(self) -> str:
        """The conclusion in words, with the numbers it rests on."""
        one = self.turned() if self.better == self.b else self
        holm = f" Holm-corrected over {self.pairs} pairs" if self.pairs > 1 else ""
        test = f"KS D = {self.ks:.2f}, {p_text(self.ks_p_holm)}{holm}"
        if self.shared:
            test = f"{self.shared} networks in pairs, {p_text(self.effect_p_holm)}{holm}"
        test += " whatever the trials left out" if self.is_worst_case else ""
        sizes = f"n = {one.n_a} and {one.n_b}"
        percent = f"{100 * self.level:g}%"
        so_far = "So far, " if self.part < 1 else ""
        ours, theirs = one.titles
        if self.better:
            probability = f"{one.effect:.2f}" if one.effect < 0.995 else "above 0.99"  # 1.00 would say that it is sure
            crossing = f" The curves cross, though: {one.b} is ahead somewhere." if self.dominance == "cross" else ""
            return (
                f"{so_far}{ours} is better than {theirs}: a random network of it has the lower error "
                f"with probability {probability} ({test}, {sizes}).{crossing}"
            )
        if self.differs:
            crossing = ": the curves cross, each is ahead somewhere" if self.dominance == "cross" else ""
            return (
                f"{so_far}{ours} and {theirs} differ ({test}, {sizes}), but neither is shown to be better at {percent}"
                f"{crossing}; a random network of {one.a} has the lower error with probability {one.effect:.2f} "
                f"({one.effect_low:.2f} to {one.effect_high:.2f})."
            )
        if not self.may_conclude:
            return (
                f"{one.a} and {one.b}: nothing to conclude so far; the finished networks are not a random part of them."
            )
        few = "" if self.could_show else "; so few networks could not have shown one"
        outlook = f": {self.needed.sentence()}" if self.needed else ""
        shown = f"no difference shown {'so far' if so_far else f'at {percent}'}"
        interval = f"{one.mean_difference:+.2f} points ({one.mean_low:+.2f} to {one.mean_high:+.2f})"
        means = "" if math.isnan(one.mean_low) else f" The means differ by {interval}."
        return f"{ours} and {theirs}: {shown} ({test}{few}). Not decided with {sizes}{outlook}.{means}"

    @property
    def titles(self) -> tuple[str, str]:
        """The names of A and B, each with what else differs between the two than the space, in brackets."""
        sides = [check.sides for check in self.preconditions if any(check.sides)]
        told = ["; ".join(pair) for pair in zip(*sides, strict=True)] if sides else ["", ""]
        ours, theirs = (
            f"{name} ({words})" if words else name for name, words in zip((self.a, self.b), told, strict=True)
        )
        return ours, theirs

    def turned(self) -> Comparison:
        """The same comparison with A and B in the other order."""
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
            preconditions=tuple(check.turned() for check in self.preconditions),
        )


def compare(a: Results, b: Results, level: float = 0.05, *, seed: int = 0) -> Comparison:
    """Compare the errors of two populations.

    Only the networks needed, and the test of populations with common networks, depend on ``seed``.

    Raises:
        InputError: one of them has no finished trial, both have one name, or ``level`` is not between 0 and 1.
    """
    for results in (a, b):
        if not results.counted().any():
            raise InputError(f"{results.name} has no trial to compare: {results.counts.sentence()}")
    return compare_all([a, b], level, seed=seed)[0]


def compare_all(results: Sequence[Results], level: float = 0.05, *, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare all pairs of populations that have a trial to compare, with Holm's correction over the pairs.

    Both tests are corrected, each over all pairs. Fewer than two such populations give no comparison. What a claim
    rests on is checked first (see `preconditions`): of a half-done sweep only a random part counts, and its claims need
    smaller p values; networks that two populations share are compared with each other.

    Raises:
        InputError: two of them have one name, or other numbers of classes; or ``level`` is not between 0 and 1.
    """
    check_level(level)
    counting = Populations.of(random_part(by_network(one)) for one in results).with_errors
    are_random = {population.name: may_conclude(population) for population in counting}
    pairs = [
        replace(_compare_at_worst(a, b, level, seed), may_conclude=are_random[a.name] and are_random[b.name])
        for a, b in itertools.combinations(counting, 2)
    ]
    ks = holm([pair.ks_p for pair in pairs])
    effects = holm([pair.effect_p for pair in pairs])
    found = []
    for pair, ks_p, effect_p in zip(pairs, ks, effects, strict=True):
        one = replace(pair, pairs=len(pairs), ks_p_holm=ks_p, effect_p_holm=effect_p)
        if not one.differs and one.part == 1 and not one.shared and not one.is_worst_case:
            a, b = (np.sort(counting[name].errors()) for name in (one.a, one.b))
            one = replace(one, needed=networks_needed(a, b, level, len(pairs), seed=seed))
        found.append(one)
    return tuple(found)


def numbers(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each pair, with every number of its comparison, its conditions, and what it concludes."""
    rows = []
    for one in comparisons:
        row = {field.name: getattr(one, field.name) for field in fields(one)}
        needed, checks = row.pop("needed"), row.pop("preconditions")
        more = {"verdict": "decided", "more": 0, "most": 0, "power": math.nan}
        if needed:
            more = {key: getattr(needed, key) for key in more}
        broken = "; ".join(check.name for check in checks if not check.holds)
        concluded = {"differs": one.differs, "better": one.better or "", "dominance": one.dominance, "not_met": broken}
        rows.append({**row, **concluded, **{f"needed_{key}": value for key, value in more.items()}})
    return pd.DataFrame(rows)


def _compare_at_worst(a: Results, b: Results, level: float, seed: int) -> Comparison:
    """Return the numbers of one pair; p values are the largest for any errors that trials left out may have had."""
    pair = _compare(a, b, level, seed)
    least = float(min(a.errors().min(), b.errors().min()))
    possible = [possible_results(results, least) for results in (a, b)]
    sides = list(itertools.product(*possible))[1:]  # the first is that of the pair itself
    if not sides:
        return pair
    others = [_compare(ours, theirs, level, seed) for ours, theirs in sides]
    ways = [pair, *others]
    # An EDF lies between those with the trials at either end, and one is above another if its lower bound is.
    above = {name: max(getattr(one, name) for one in ways) for name in ("a_above_p", "b_above_p")}
    is_one_sided = len({np.sign(one.effect - 0.5) for one in ways}) == 1
    effect_p = max(one.effect_p for one in ways) if is_one_sided else 1.0
    return replace(pair, **above, ks_p=min(1.0, 2 * min(above.values())), effect_p=effect_p, is_worst_case=True)


def _compare(a: Results, b: Results, level: float, seed: int) -> Comparison:
    """Return the numbers of one pair without the trials that are left out, not corrected, and its conditions."""
    ours, theirs = a.errors(), b.errors()
    first, second = np.sort(ours), np.sort(theirs)
    ks = ks_test(first, second)
    shared = shared_networks(a, b)
    effect, mean = probability_lower(first, second, level), mean_difference(first, second, level)
    ks_p = ks.p
    if shared.are_many:
        blocks = block_test(ours, theirs, shared.pairs, level, seed=seed)
        effect, mean, ks_p = blocks.effect, blocks.mean, blocks.ks_p
    median = median_difference(first, second, level)
    counts = a.counts, b.counts
    is_done = not any(each.unfinished for each in counts)
    asked = [one.counts.total - int(one.left_out().sum()) for one in (a, b)]
    part = part_of_information((first.size, asked[0]), (second.size, asked[1]))
    return Comparison(
        a=a.name,
        b=b.name,
        n_a=first.size,
        n_b=second.size,
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
            independent(a, b, shared),
            same_budget(a, b),
            same_training(a, b),
            left_out_at_random(a),
            left_out_at_random(b),
        ),
        shared=len(shared.pairs) if shared.are_many else 0,
        part=1.0 if is_done else part,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values by Holm's step-down method (1979), in the order given: valid for any dependence.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def p_text(p: float) -> str:
    """A p value as one writes it.

    >>> p_text(0.0123), p_text(0.00001), p_text(0.3)
    ('p = 0.012', 'p < 0.001', 'p = 0.30')
    """
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
