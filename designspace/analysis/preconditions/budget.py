"""Check of whether two populations have the same compute budget: a larger one explains lower errors in any space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.quantities import common_costs, values
from designspace.analysis.results import Results
from designspace.networks.quantities import Quantity

NAME = "same budget"
MEDIANS_APART = 1.1
"""Budgets differ if their medians differ by more than this factor."""
P = 0.01
"""Significance level of the Kolmogorov-Smirnov test of a cost."""
QUANTILES_APART = 1.05
"""A significant difference counts if the 10%, 50% or 90% quantile differs by more than this factor."""


def same_budget(a: Results, b: Results) -> Precondition:
    """Check that flops, params, activations and measured costs of the networks that count have the same distributions.

    They differ if the medians differ by more than 10%, or if a Kolmogorov-Smirnov test is significant (p < 0.01) and a
    quantile differs by more than 5%. With errors of 30 - 4 ln c + N(0, 1.5) points at complexity c, populations whose
    complexities were 0.3 apart in ln c were called different spaces in 74% of comparisons of 100 networks each.
    Costs that are unknown, or that another machine measured, are not compared.
    """
    medians: dict[str, tuple[str, str]] = {}
    evidence = {}
    for cost in common_costs((a, b)):
        sides = [_known(results, cost) for results in (a, b)]
        if sides[0] is None or sides[1] is None or not _differ(sides[0], sides[1]):
            continue
        first, second = float(np.median(sides[0])), float(np.median(sides[1]))
        medians[cost.noun] = cost.text(first), cost.text(second)
        evidence[cost.name] = first / second if second else float("inf")
    if not medians:
        return Precondition(NAME, True)
    listed = "; ".join(f"median {name} {median_a} against {median_b}" for name, (median_a, median_b) in medians.items())
    first_name, (median_a, median_b) = next(iter(medians.items()))
    return Precondition(
        NAME,
        False,
        f"{a.name} and {b.name} have different budgets ({listed}), which may explain a difference in their "
        f"{a.metric.plural}.",
        (f"median {first_name} {median_a}", f"median {first_name} {median_b}"),
        evidence,
    )


def _known(results: Results, cost: Quantity) -> NDArray[np.float64] | None:
    """Return a cost of the networks that count, ascending, or None if it is unknown for some of them."""
    column = np.sort(values(results, cost)[results.counted()])
    return column if column.size and not np.isnan(column).any() else None


def _differ(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Return whether two ascending samples of a cost are from different budgets."""
    from designspace.analysis.difference import ks_test

    if _ratio(np.median(a), np.median(b)) > MEDIANS_APART:
        return True
    quantiles = [np.quantile(values, (0.1, 0.5, 0.9)) for values in (a, b)]
    is_large = any(_ratio(x, y) > QUANTILES_APART for x, y in zip(*quantiles, strict=True))
    return is_large and ks_test(a, b).p < P


def _ratio(x: np.float64, y: np.float64) -> float:
    """Return the ratio of the larger number to the smaller one."""
    low, high = sorted((float(x), float(y)))
    return high / low if low > 0 else 1.0 if high == low else float("inf")
