"""Whether conclusions change if failed trials count in another way."""

from __future__ import annotations

from collections.abc import Sequence

from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.results import Results
from designspace.support.text import counted


def other_failures(results: Sequence[Results], comparisons: Sequence[Comparison], *, seed: int = 0) -> tuple[str, ...]:
    """Return which conclusions change if the trials that the machine ended count at chance level.

    There is one sentence per conclusion that changes, or one that says that none does. There are no sentences if no
    such trial is left out, or nothing is compared.

    Args:
        results: the populations.
        comparisons: their comparisons.
        seed: seed for `compare_all`.
    """
    left_out = sum(int(population.left_out().sum()) for population in results if population.failures == "by_cause")
    if not left_out or not comparisons:
        return ()
    at_chance = [
        population.with_failures("chance") if population.failures == "by_cause" else population
        for population in results
    ]
    by_pair = {(pair.a, pair.b): pair for pair in comparisons}
    recounted = compare_all(at_chance, comparisons[0].level, seed=seed)
    changed = [
        f"If trials that the machine ended count at chance level: {pair.sentence()}"
        for pair in recounted
        if (pair.a, pair.b) in by_pair and _conclusion(pair) != _conclusion(by_pair[pair.a, pair.b])
    ]
    if changed:
        return tuple(changed)
    trials = f"{counted(left_out, 'trial')} that the machine ended"
    return (f"No conclusion changes if {trials} {'counts' if left_out == 1 else 'count'} at chance level.",)


def _conclusion(comparison: Comparison) -> tuple[bool, str | None]:
    """Return whether the spaces differ, and which one is better."""
    return comparison.differs, comparison.better
