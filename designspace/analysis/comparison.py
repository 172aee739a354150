"""Is one design space better than another? Tests and effect sizes, and what may be said from them.

The Kolmogorov-Smirnov test follows "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214, section 4.1).
It answers whether two spaces differ. Only where it says so is it asked which of them is better, by the probability
that a random network of one has the lower error: so there is one claim for each pair, and not the luckier of two tests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.difference import KS, Dominance, ks_test
from designspace.analysis.edf import check_level
from designspace.analysis.effects import mean_difference, median_difference, probability_lower
from designspace.analysis.power import NetworksNeeded, could_show, networks_needed
from designspace.analysis.results import Failures, Results
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
    """Exact up to 10,000 networks; on the safe side where errors are equal."""
    a_above_p: float
    """One-sided KS test: small where A has more networks up to some error than B."""
    b_above_p: float
    """One-sided KS test: small where B has more networks up to some error than A."""
    effect: float
    """P(A < B) + P(A = B) / 2: probability that a random network of A has the lower error, ties shared."""
    effect_low: float
    effect_high: float
    effect_p: float
    """Two-sided p value of ``effect`` = 1/2, for populations of any shape (Brunner and Munzel)."""
    mean_difference: float
    """Mean error of A less that of B, percentage points."""
    mean_low: float
    """Lower end of Welch's interval of the difference."""
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
    """What would decide it; None where the spaces differ as it is."""

    @property
    def differs(self) -> bool:
        """Whether the two spaces are shown to have different distributions of errors."""
        return self.ks_p_holm < self.level

    @property
    def better(self) -> str | None:
        """The space that is shown to be better, if one is."""
        if not self.differs or not self.effect_p_holm < self.level:
            return None
        return self.a if self.effect > 0.5 else self.b

    @property
    def dominance(self) -> Dominance:
        """Which space dominates, as far as these networks show (see `Difference.dominance`); corrected for all pairs.

        It is ``undecided`` wherever the spaces are not shown to differ.
        """
        sides = KS(self.ks, self.ks_p, self.a_above_p, self.b_above_p)
        return sides.dominance(self.level / self.pairs) if self.differs else "undecided"

    @property
    def cliffs_delta(self) -> float:
        """P(A < B) - P(A > B), from -1 to 1: above 0 where A has the lower errors."""
        return 2 * self.effect - 1

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
        sizes = f"n = {one.n_a} and {one.n_b}"
        percent = f"{100 * self.level:g}%"
        if self.better:
            probability = f"{one.effect:.2f}" if one.effect < 0.995 else "above 0.99"  # 1.00 would say that it is sure
            crossing = f" The curves cross, though: {one.b} is ahead somewhere." if self.dominance == "cross" else ""
            return (
                f"{one.a} is better than {one.b}: a random network of it has the lower error "
                f"with probability {probability} ({test}, {sizes}).{crossing}"
            )
        if self.differs:
            crossing = ": the curves cross, each is ahead somewhere" if self.dominance == "cross" else ""
            return (
                f"{one.a} and {one.b} differ ({test}, {sizes}), but neither is shown to be better at {percent}"
                f"{crossing}; a random network of {one.a} has the lower error with probability {one.effect:.2f} "
                f"({one.effect_low:.2f} to {one.effect_high:.2f})."
            )
        few = "" if self.could_show else "; so few networks could not have shown one"
        outlook = f": {self.needed.sentence()}" if self.needed else ""
        return (
            f"{one.a} and {one.b}: no difference shown at {percent} ({test}{few}). Not decided with {sizes}{outlook}."
        )

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
        )


def compare(a: Results, b: Results, level: float = 0.05, *, failures: Failures = "chance", seed: int = 0) -> Comparison:
    """Compare the errors of two populations; failed trials count at chance level unless ``failures`` says otherwise.

    Only the networks needed depend on ``seed``, and only where a pair is not decided.

    Raises:
        InputError: one of them has no finished trial, both have one name, or ``level`` is not between 0 and 1.
    """
    check_level(level)
    errors = {}
    for results in (a, b):
        errors[results.name] = np.sort(results.errors(failures))
        if not errors[results.name].size:
            raise InputError(f"{results.name} has no trial to compare: {results.counts.sentence()}")
    if a.name == b.name:
        raise InputError(f"two runs have the name {a.name!r}; give them different ones")
    return _compare_pairs(errors, level, seed)[0]


def compare_all(
    results: Sequence[Results], level: float = 0.05, *, failures: Failures = "chance", seed: int = 0
) -> tuple[Comparison, ...]:
    """Compare all pairs of populations that have a trial to compare, with Holm's correction over the pairs.

    Both tests are corrected, each over all pairs. Fewer than two such populations give no comparison.

    Raises:
        InputError: two of them have one name, or ``level`` is not between 0 and 1.
    """
    check_level(level)
    errors: dict[str, NDArray[np.float64]] = {}
    for one in results:
        values = one.errors(failures)
        if values.size and one.name in errors:
            raise InputError(f"two runs have the name {one.name!r}; give them different ones")
        if values.size:
            errors[one.name] = np.sort(values)
    return _compare_pairs(errors, level, seed)


def numbers(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each pair, with every number of its comparison and what it concludes."""
    rows = []
    for one in comparisons:
        row = asdict(one)
        needed = row.pop("needed") or {"verdict": "decided", "more": 0, "power": math.nan}
        concluded = {"differs": one.differs, "better": one.better or "", "dominance": one.dominance}
        rows.append({**row, **concluded, **{f"needed_{key}": needed[key] for key in ("verdict", "more", "power")}})
    return pd.DataFrame(rows)


def _compare_pairs(errors: dict[str, NDArray[np.float64]], level: float, seed: int) -> tuple[Comparison, ...]:
    """All pairs of populations of ascending errors, with Holm's correction, and what the undecided ones need."""
    pairs = [_compare(a, b, errors, level) for a, b in itertools.combinations(errors, 2)]
    ks = holm([pair.ks_p for pair in pairs])
    effects = holm([pair.effect_p for pair in pairs])
    found = []
    for pair, ks_p, effect_p in zip(pairs, ks, effects, strict=True):
        one = replace(pair, pairs=len(pairs), ks_p_holm=ks_p, effect_p_holm=effect_p)
        if not one.differs:
            needed = networks_needed(errors[one.a], errors[one.b], level, len(pairs), seed=seed)
            one = replace(one, needed=needed)
        found.append(one)
    return tuple(found)


def _compare(a: str, b: str, errors: dict[str, NDArray[np.float64]], level: float) -> Comparison:
    """The numbers of one pair, not corrected."""
    first, second = errors[a], errors[b]
    ks = ks_test(first, second)
    effect = probability_lower(first, second, level)
    mean, median = mean_difference(first, second, level), median_difference(first, second, level)
    return Comparison(
        a=a,
        b=b,
        n_a=first.size,
        n_b=second.size,
        ks=ks.distance,
        ks_p=ks.p,
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
