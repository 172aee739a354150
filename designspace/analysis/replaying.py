"""Replays of finished sweeps under a rule that ends comparisons early: what it would have saved, and at what price.

The populations are taken in their own order, which is that of a real sweep, and in random orders, since any order of a
population is a random sample of its space. A replay trains nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions import by_network
from designspace.analysis.results import Results
from designspace.analysis.stopping import Course, PairVerdict, StoppingRule, beginning, courses
from designspace.support.checks import whole
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True)
class Replay:
    """What a rule would have saved of a finished sweep."""

    rule: StoppingRule
    full: tuple[Comparison, ...]
    """The comparisons of all networks."""
    course: Course
    """The sweep in the order of the populations."""
    total: int
    """Number of networks of all spaces."""
    saved: tuple[float, ...]
    """Saved fraction of the trainings for each random order."""
    agreement: tuple[float, ...]
    """Fraction of the pairs with the same conclusion as that of all networks, for each random order."""
    contradictions: int
    """Number of random orders in which some pair was decided the other way round."""

    @property
    def saved_in_order(self) -> float:
        """Saved fraction of the trainings in the order of the populations."""
        return 1 - self.course.total / self.total

    def same(self, each: PairVerdict) -> bool:
        """Return whether a pair has the same conclusion as with all networks."""
        return each.comparison.better == _better(self.full)[each.comparison.a, each.comparison.b]

    def sentences(self) -> list[str]:
        """Return what the rule would have saved, as text."""
        same = sum(self.same(each) for each in self.course.verdicts)
        pairs = len(self.full)
        lines = [
            f"{self.course.total} of {self.total} trainings would have sufficed ({self.saved_in_order:.0%} saved), "
            f"with the same conclusion for {same} of {pairs} pairs."
        ]
        if self.saved:
            low, median, high = np.quantile(self.saved, (0.05, 0.5, 0.95))
            lines.append(
                f"In {len(self.saved)} random orders: {median:.0%} saved ({low:.0%} to {high:.0%} in 90% of them), "
                f"with the same conclusion for {np.mean(self.agreement):.0%} of the pairs; the opposite conclusion in "
                f"{self.contradictions}."
            )
        return lines

    def table(self) -> pd.DataFrame:
        """Return one row per pair: the conclusion of all networks, that of the replay, and the networks it needed."""
        rows = []
        for pair, each in zip(self.full, self.course.verdicts, strict=True):
            rows.append(
                {
                    "a": pair.a,
                    "b": pair.b,
                    "better": pair.better or "",
                    "replayed_better": each.comparison.better or "",
                    "verdict": each.verdict,
                    "n_a": each.comparison.n_a,
                    "n_b": each.comparison.n_b,
                    "of_a": pair.n_a,
                    "of_b": pair.n_b,
                    "same": self.same(each),
                }
            )
        return pd.DataFrame(rows)


def replay(
    results: Sequence[Results], rule: StoppingRule, orders: int = 20, n: int | None = None, seed: int = 0
) -> Replay:
    """Replay a finished sweep of several spaces under a rule.

    Args:
        results: the populations, each from one run.
        rule: when to look, and when to end a comparison.
        orders: number of random orders.
        n: number of networks of each space, at most; by default all.
        seed: seed of the orders.

    Raises:
        InputError: there are fewer than two populations, or one is a list or has unfinished trials.
    """
    populations = Populations.of(_finished(each, n) for each in results)
    if len(populations) < 2:
        raise InputError("a replay needs the runs of at least two spaces, such as runs=[runs/a,runs/b]")
    whole("orders", orders, 0, 100_000)
    full = compare_all(populations.members, rule.level, seed=seed)
    better = _better(full)
    total = sum(len(each.table) for each in populations)
    rng = np.random.default_rng(seed)
    saved, agreement, contradictions = [], [], 0
    for _ in range(orders):
        course = run_course([_shuffled(each, rng) for each in populations], rule, seed)
        claims = [(better[each.comparison.a, each.comparison.b], each.comparison.better) for each in course.verdicts]
        saved.append(1 - course.total / total)
        agreement.append(float(np.mean([first == second for first, second in claims])))
        contradictions += any(first and second and first != second for first, second in claims)
    course = run_course(populations.members, rule, seed)
    return Replay(rule, full, course, total, tuple(saved), tuple(agreement), contradictions)


def run_course(populations: Sequence[Results], rule: StoppingRule, seed: int = 0) -> Course:
    """Return the sweep of finished populations under a rule, at its last look."""
    planned = {each.name: len(each.table) for each in populations}

    def results_at(trained: Mapping[str, int], going: Collection[str]) -> list[Results]:
        return [beginning(each, trained[each.name]) for each in populations]

    *_, last = courses(planned, rule, results_at, seed=seed)
    return last


def _better(pairs: Sequence[Comparison]) -> dict[tuple[str, str], str | None]:
    """Return the better space of each pair."""
    return {(pair.a, pair.b): pair.better for pair in pairs}


def _finished(results: Results, n: int | None) -> Results:
    """Return one row per network of a finished population.

    Raises:
        InputError: it is a list, or has unfinished trials.
    """
    if not results.is_drawn:
        raise InputError(f"{results.name} is a given list, whose order is not random, so it cannot be replayed")
    results = by_network(results)
    if results.counts.unfinished:
        raise InputError(f"{results.name} is not finished: {results.counts.sentence()}")
    ids = results.table["id"]
    return results if n is None else results.where(ids.isin(ids[:n]).to_numpy(), results.name)


def _shuffled(results: Results, rng: np.random.Generator) -> Results:
    """Return results in a random order."""
    table = results.table.iloc[rng.permutation(len(results.table))].reset_index(drop=True)
    return replace(results, table=table)
