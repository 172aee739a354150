"""Do two populations have the same compute budget? A larger one explains lower errors, whatever the spaces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results
from designspace.spaces.constraints import QUANTITIES
from designspace.support.text import quantity

NAME = "same budget"
MEDIANS_APART = 1.1
"""Medians that differ by more than this factor are different budgets."""
P = 0.01
"""Significance level of the Kolmogorov-Smirnov test of a complexity."""
QUANTILES_APART = 1.05
"""A difference that the test finds counts if the 10%, 50% or 90% quantile differs by more than this factor."""


def same_budget(a: Results, b: Results) -> Precondition:
    """Check that flops, params and activations of the networks that count have the same distribution.

    They differ if their medians do by more than 10%, or if a Kolmogorov-Smirnov test says so (p < 0.01) and a quantile
    differs by more than 5%. With errors of 30 - 4 ln c + N(0, 1.5) points at complexity c, populations whose
    complexities were 0.3 apart in ln c were called different spaces in 74% of comparisons of 100 networks each.
    Complexities that are not known are not compared.
    """
    sides: list[tuple[str, str]] = []
    evidence = {}
    for name in QUANTITIES:
        ours, theirs = (_known(results, name) for results in (a, b))
        if ours is None or theirs is None or not _differ(ours, theirs):
            continue
        medians = float(np.median(ours)), float(np.median(theirs))
        sides.append((f"median {name} {quantity(medians[0])}", f"median {name} {quantity(medians[1])}"))
        evidence[name] = medians[0] / medians[1] if medians[1] else float("inf")
    if not sides:
        return Precondition(NAME, True)
    listed = "; ".join(f"{first} against {second.removeprefix('median ').split(' ', 1)[1]}" for first, second in sides)
    sentence = (
        f"{a.name} and {b.name} have different budgets ({listed}), which may explain a difference of their errors."
    )
    return Precondition(NAME, False, sentence, (_said(sides, 0), _said(sides, 1)), evidence)


def _known(results: Results, name: str) -> NDArray[np.float64] | None:
    """Return a complexity of the networks that count, ascending; None where some is not known."""
    values = np.sort(results.table[name].to_numpy(np.float64)[results.counted()])
    return values if values.size and not np.isnan(values).any() else None


def _differ(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether two ascending samples of a complexity are of different budgets."""
    from designspace.analysis.difference import ks_test

    if _ratio(np.median(a), np.median(b)) > MEDIANS_APART:
        return True
    quantiles = [np.quantile(values, (0.1, 0.5, 0.9)) for values in (a, b)]
    is_large = any(_ratio(x, y) > QUANTILES_APART for x, y in zip(*quantiles, strict=True))
    return is_large and ks_test(a, b).p < P


def _ratio(x: np.float64, y: np.float64) -> float:
    """Return the larger number over the smaller one."""
    low, high = sorted((float(x), float(y)))
    return high / low if low > 0 else 1.0 if high == low else float("inf")


def _said(sides: list[tuple[str, str]], which: int) -> str:
    """Return what stands beside one name: the first complexity that differs."""
    return sides[0][which]
