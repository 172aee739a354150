"""Replays of finished sweeps under a rule that stops early: what it would have saved, and at what price.

A rule ends comparisons before all networks are trained (`stopping`), or trials before all epochs
(`designspace.trials.fidelity`). A replay trains nothing. The populations are taken in their own order, which is that of
a real sweep, and in random orders, since any order of a population is a random sample of its space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pandas as pd

from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.failures import has_text
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions import by_network
from designspace.analysis.results import ErrorColumn, Results
from designspace.analysis.standings import continues
from designspace.analysis.stopping import Course, PairVerdict, StoppingRule, beginning, courses
from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.trials.fidelity import Fidelity, Standings


@dataclass(frozen=True, slots=True)
class Replay:
    """What a rule would have saved of a finished sweep."""

    full: tuple[Comparison, ...]
    """The comparisons of all networks."""
    verdicts: tuple[PairVerdict, ...]
    """The comparisons of the sweep in the order of the populations."""
    unit: str
    """What is saved: ``trainings`` or ``epochs``."""
    spent: int
    """Number of these in the order of the populations."""
    total: int
    """Number of these without the rule."""
    saved: tuple[float, ...]
    """Saved fraction for each random order."""
    agreement: tuple[float, ...]
    """Fraction of the pairs with the same conclusion as that of all networks, for each random order."""
    contradictions: int
    """Number of random orders in which some pair was decided the other way round."""

    @property
    def saved_in_order(self) -> float:
        """Saved fraction in the order of the populations."""
        return 1 - self.spent / self.total

    def same(self, each: PairVerdict) -> bool:
        """Return whether a pair has the same conclusion as with all networks."""
        return each.comparison.better == _better(self.full)[each.comparison.a, each.comparison.b]

    def sentences(self) -> list[str]:
        """Return what the rule would have saved, as text."""
        same = sum(self.same(each) for each in self.verdicts)
        pairs = len(self.full)
        lines = [
            f"{self.spent} of {self.total} {self.unit} would have been needed ({self.saved_in_order:.0%} saved), "
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
        for pair, each in zip(self.full, self.verdicts, strict=True):
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


_Sweep = Callable[[Sequence[Results], int], tuple[tuple[PairVerdict, ...], int]]
"""Receives finished populations and a seed; returns the verdicts of a sweep of them under a rule, and its cost."""


def replay(
    results: Sequence[Results], rule: StoppingRule, orders: int = 20, n: int | None = None, seed: int = 0
) -> Replay:
    """Replay a finished sweep of several spaces under a rule that ends comparisons.

    Args:
        results: the populations, each from one run.
        rule: when to look, and when to end a comparison.
        orders: number of random orders.
        n: number of networks of each space, at most; by default all.
        seed: seed of the orders.

    Raises:
        InputError: there are fewer than two populations, or one is a list or has unfinished trials.
    """
    populations = _populations(results, n)
    total = sum(len(each.table) for each in populations)

    def sweep(ordered: Sequence[Results], _: int) -> tuple[tuple[PairVerdict, ...], int]:
        course = run_course(ordered, rule, seed)
        return course.verdicts, course.total

    return _replay(populations, sweep, "trainings", total, orders, rule.level, seed)


def replay_fidelity(
    results: Sequence[Results],
    rule: Fidelity,
    orders: int = 20,
    n: int | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> Replay:
    """Replay a finished sweep of several spaces as if trials had been stopped early.

    Args:
        results: the populations, each from one run, with their epochs.
        rule: when to stop trials.
        orders: number of random orders, each with another random sample that is trained to the end.
        n: number of networks of each space, at most; by default all.
        level: significance level.
        seed: seed of the orders.

    Raises:
        InputError: there are fewer than two populations, one is a list or has unfinished trials, or their epochs are
            not known or too few.
    """
    populations = _populations(results, n)
    epochs = {each.name: int(np.nanmax(each.table["epochs"])) for each in populations}
    for name, last in epochs.items():
        if rule.epochs >= last:
            raise InputError(f"{name} was trained for {last} epochs, so stop.epochs={rule.epochs} would save nothing")

    def sweep(ordered: Sequence[Results], sample_seed: int) -> tuple[tuple[PairVerdict, ...], int]:
        stopped = [stopped_early(each, rule, sample_seed) for each in ordered]
        pairs = compare_all(stopped, level, seed=seed)
        verdicts = tuple(
            PairVerdict(pair, "better" if pair.better else "differ" if pair.differs else "open") for pair in pairs
        )
        saved = sum(each.counts.stopped * (epochs[each.name] - rule.epochs) for each in stopped)
        return verdicts, total - saved

    total = sum(len(each.table) * epochs[each.name] for each in populations)
    return _replay(populations, sweep, "epochs", total, orders, level, seed)


def _replay(
    populations: Populations, sweep: _Sweep, unit: str, total: int, orders: int, level: float, seed: int
) -> Replay:
    """Return what a sweep would have saved, in the order of the populations and in random ones."""
    whole("orders", orders, 0, 100_000)
    full = compare_all(populations.members, level, seed=seed)
    better = _better(full)
    rng = np.random.default_rng(seed)
    saved, agreement, contradictions = [], [], 0
    for order in range(1, orders + 1):
        verdicts, spent = sweep([_shuffled(each, rng) for each in populations], seed + order)
        claims = [(better[each.comparison.a, each.comparison.b], each.comparison.better) for each in verdicts]
        saved.append(1 - spent / total)
        agreement.append(float(np.mean([first == second for first, second in claims])))
        contradictions += any(first and second and first != second for first, second in claims)
    verdicts, spent = sweep(populations.members, seed)
    return Replay(full, verdicts, unit, spent, total, tuple(saved), tuple(agreement), contradictions)


def run_course(populations: Sequence[Results], rule: StoppingRule, seed: int = 0) -> Course:
    """Return the sweep of finished populations under a rule, at its last look."""
    planned = {each.name: len(each.table) for each in populations}

    def results_at(trained: Mapping[str, int], going: Collection[str]) -> list[Results]:
        return [beginning(each, trained[each.name]) for each in populations]

    *_, last = courses(planned, rule, results_at, seed=seed)
    return last


def stopped_early(results: Results, rule: Fidelity, seed: int) -> Results:
    """Return a finished population as if some of its trials had been stopped early.

    Args:
        results: one row per network, with the epochs of each.
        rule: when to stop trials.
        seed: seed of the random sample that is trained to the end.

    Raises:
        InputError: the epochs of a network are not known.
    """
    errors = {}
    for trial, status in zip(results.table["trial"], results.table["status"], strict=True):
        history = results.histories.get(trial, ())
        if len(history) < rule.epochs and status == "done":
            raise InputError(f"{results.name}: the error of {trial} after epoch {rule.epochs} is not known")
        errors[trial] = rule.error(history, results.metric, results.chance_error)
    standings = Standings(rule, rule.decide(errors, seed))
    sampled, promising = zip(*map(standings.columns, results.table["trial"]), strict=True)
    table = results.table.assign(sampled=sampled, promising=promising)
    stopped = ~continues(table) & has_text(table, "status", "done")
    table.loc[stopped, "status"] = "stopped"
    table.loc[stopped, [name for name in get_args(ErrorColumn) if name in table.columns]] = math.nan
    return replace(results, table=table)


def _better(pairs: Sequence[Comparison]) -> dict[tuple[str, str], str | None]:
    """Return the better space of each pair."""
    return {(pair.a, pair.b): pair.better for pair in pairs}


def _populations(results: Sequence[Results], n: int | None) -> Populations:
    """Return finished populations with one row per network, at most the first ``n`` of each.

    Raises:
        InputError: there are fewer than two, or one is a list or has unfinished trials.
    """
    populations = Populations.of(_finished(each, n) for each in results)
    if len(populations) < 2:
        raise InputError("a replay needs the runs of at least two spaces, such as runs=[runs/a,runs/b]")
    return populations


def _finished(results: Results, n: int | None) -> Results:
    """Return one row per network of a finished population.

    Raises:
        InputError: it is a list, or has unfinished trials.
    """
    if not results.is_drawn:
        raise InputError(f"{results.name} is a given list, whose order is not random, so it cannot be replayed")
    results = by_network(results)
    if results.counts.unfinished or results.counts.stopped:
        raise InputError(f"{results.name} is not finished: {results.counts.sentence()}")
    ids = results.table["id"]
    return results if n is None else results.where(ids.isin(ids[:n]).to_numpy(), results.name)


def _shuffled(results: Results, rng: np.random.Generator) -> Results:
    """Return results in a random order."""
    table = results.table.iloc[rng.permutation(len(results.table))].reset_index(drop=True)
    return replace(results, table=table)
