"""Would the conclusions be others if failed trials counted in another way?"""

from __future__ import annotations

from collections.abc import Sequence

from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.results import Results
from designspace.support.text import counted


def other_failures(results: Sequence[Results], comparisons: Sequence[Comparison], *, seed: int = 0) -> tuple[str, ...]:
    """Say which conclusions change if the trials that the machine ended count as networks that guess.

    One sentence for each conclusion that changes, or one that says that none does; nothing where no such trial is left
    out, or nothing is compared.

    Args:
        results: the populations.
        comparisons: their comparisons.
        seed: as for `compare_all`.
    """
    left_out = sum(int(one.left_out().sum()) for one in results if one.failures == "by_cause")
    if not left_out or not comparisons:
        return ()
    guessing = [one.with_failures("chance") if one.failures == "by_cause" else one for one in results]
    found = {(one.a, one.b): one for one in comparisons}
    others = compare_all(guessing, comparisons[0].level, seed=seed)
    changed = [
        f"With the trials that the machine ended counted at chance level: {one.sentence()}"
        for one in others
        if (one.a, one.b) in found and _conclusion(one) != _conclusion(found[one.a, one.b])
    ]
    if changed:
        return tuple(changed)
    were = f"{counted(left_out, 'trial')} that the machine ended"
    return (f"No conclusion changes if {were} {'counts' if left_out == 1 else 'count'} at chance level.",)


def _conclusion(comparison: Comparison) -> tuple[bool, str | None]:
    return comparison.differs, comparison.better
