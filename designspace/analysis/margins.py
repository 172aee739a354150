"""Tests of whether one space is not worse than another by more than a margin.

A test that finds no difference does not show this. Sharing a parameter between stages, as from AnyNetXA to C in
"Designing Network Design Spaces", is justified by such a claim: the space is smaller, and its networks are as good. The
tests are two one-sided tests of the difference of the means (Schuirmann, Journal of Pharmacokinetics and
Biopharmaceutics 15, 1987).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from designspace.analysis.blocks import mean_difference_of_pairs
from designspace.analysis.comparison import Comparison
from designspace.analysis.effects import mean_difference
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions import shared_networks
from designspace.analysis.results import Results
from designspace.support.checks import number
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric


@dataclass(frozen=True, slots=True)
class WithinMargin:
    """Difference of the mean errors of two populations, compared with a margin.

    Errors are those of `Results.errors`, of which lower ones are better.
    """

    a: str
    b: str
    margin: float
    """Largest acceptable loss of mean error."""
    difference: float
    """Mean error of A less that of B."""
    low: float
    """Lower one-sided bound of the difference, with confidence 1 - ``level`` over all pairs."""
    high: float
    """Upper one-sided bound."""
    level: float
    pairs: int = 1
    """Number of pairs tested together (Bonferroni)."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    @property
    def a_not_worse(self) -> bool:
        """Whether A is shown not to be worse than B by more than the margin."""
        return self.high < self.margin

    @property
    def b_not_worse(self) -> bool:
        """Whether B is shown not to be worse than A by more than the margin."""
        return self.low > -self.margin

    def sentence(self) -> str:
        """Return the conclusion as text, with the numbers on which it rests."""
        metric = self.metric
        points = f"{self.margin:g} {'point' if self.margin == 1 and metric.points == 'points' else metric.points}"
        difference, low, high = metric.oriented_interval(self.difference, self.low, self.high)
        over = f", over {self.pairs} pairs" if self.pairs > 1 else ""
        numbers = (
            f"means {metric.signed(difference)} apart, one-sided {100 * (1 - self.level):g}% bounds "
            f"{metric.signed(low)} and {metric.signed(high)}{over}"
        )
        if self.a_not_worse and self.b_not_worse:
            return f"{self.a} and {self.b} are equal within {points} ({numbers})."
        if not (self.a_not_worse or self.b_not_worse):
            claim = f"{self.a} or {self.b} is not worse than the other by more than {points}"
            return f"It is not shown that {claim} ({numbers})."
        first, second = (self.a, self.b) if self.a_not_worse else (self.b, self.a)
        return f"{first} is not worse than {second} by more than {points} ({numbers})."


def within_margins(
    results: Sequence[Results],
    comparisons: Sequence[Comparison],
    margin: float,
) -> tuple[WithinMargin, ...]:
    """Test for all pairs whether one space is not worse than the other by more than a margin.

    Networks that both have count as pairs, as in `compare`. Pairs are skipped if trials are unfinished, or if the
    machine ended trials that differ from the others (see `left_out_at_random`).

    Args:
        results: the populations.
        comparisons: their comparisons.
        margin: largest acceptable loss of the mean, in percentage points or the unit of the metric.

    Raises:
        InputError: ``margin`` is not above 0.
    """
    if not number("margin", margin) > 0:
        raise InputError(f"margin must be above 0 percentage points, such as margin=0.5, not {margin!r}")
    populations = Populations.of(results)
    testable = [
        pair for pair in comparisons if pair.part == 1 and not pair.is_worst_case and not np.isnan(pair.mean_low)
    ]
    tested = []
    for pair in testable:
        a, b = populations[pair.a], populations[pair.b]
        errors_a, errors_b = a.errors(), b.errors()
        level = 2 * pair.level / len(testable)  # an interval of 1 - 2 alpha has two one-sided bounds of 1 - alpha
        shared = shared_networks(a, b)
        mean = (
            mean_difference_of_pairs(errors_a, errors_b, shared.pairs, level)
            if shared.are_many
            else mean_difference(np.sort(errors_a), np.sort(errors_b), level)
        )
        interval = mean.value, mean.low, mean.high
        tested.append(WithinMargin(a.name, b.name, margin, *interval, pair.level, len(testable), a.metric))
    return tuple(tested)
