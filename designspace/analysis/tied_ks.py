"""Exact Kolmogorov-Smirnov p values of samples with equal errors.

Given the pooled errors, all splits of them into two samples are equally likely if the populations are equal. A split is
a lattice path: at each step through the ascending errors, the error belongs to the first sample or to the second.
Tables for continuous errors let a path exceed the distance after any step, so their p values are too large if errors
are equal. Here a path may exceed it only after the last of equal errors, where the EDFs can be compared (Nikiforov
1994, algorithm AS 288; Schröer and Trenkler 1995).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WINDOW = 8
"""Half the width of the window of paths beyond the observed distance, in units of sqrt(n m / (n + m)).

By Hoeffding's inequality, paths are outside it with probability below 1e-27 per step.
"""


@dataclass(frozen=True, slots=True)
class TiedP:
    """The two-sided p value and both one-sided ones."""

    two_sided: float
    a_above: float
    b_above: float


def has_ties(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Return whether two samples contain equal errors, within one of them or across both."""
    return np.unique(np.concatenate([a, b])).size < a.size + b.size


def tied_p_values(a: NDArray[np.float64], b: NDArray[np.float64]) -> TiedP:
    """Return the exact permutation p values of two samples of ascending errors, given their ties.

    It takes n + m steps over a window of paths: 2 ms for two samples of 50 errors, 10 to 20 ms for 500, and 0.15 to
    0.3 s for 5,000.
    """
    if a.size > b.size:
        swapped = tied_p_values(b, a)
        return TiedP(swapped.two_sided, swapped.b_above, swapped.a_above)
    distinct = np.unique(np.concatenate([a, b]))
    below_a, below_b = np.searchsorted(a, distinct, side="right"), np.searchsorted(b, distinct, side="right")
    deviations = below_a * b.size - below_b * a.size  # n m (F_A - F_B), whole numbers
    a_above, b_above = max(0, int(deviations.max())), max(0, int(-deviations.min()))
    # The bounds of F_A - F_B that a path must reach, above and below, for each of the three tests.
    upper = (max(a_above, b_above), a_above, None)
    lower = (max(a_above, b_above), None, b_above)
    p_values = _crossing_probabilities(a.size, b.size, frozenset((below_a + below_b).tolist()), upper, lower)
    return TiedP(*np.minimum(p_values, 1.0).tolist())


def _crossing_probabilities(
    n: int,
    m: int,
    ends: frozenset[int],
    upper: tuple[int | None, ...],
    lower: tuple[int | None, ...],
) -> NDArray[np.float64]:
    """Return the probability that a random path reaches a bound after the last of equal errors, for each test.

    After k steps, i of them in the first sample, n m (F_A - F_B) is i (n + m) - k n. A path that has reached a bound is
    removed, so small probabilities are sums of small terms and keep their precision.

    Args:
        n: number of errors of the first sample, the smaller one.
        m: number of errors of the second sample.
        ends: numbers of steps after which the EDFs are compared.
        upper: the least n m (F_A - F_B) that counts in each test; None if none does.
        lower: the same for n m (F_B - F_A).
    """
    total = n + m
    largest = max(bound for bound in (*upper, *lower) if bound is not None)
    half_width = _WINDOW * math.sqrt(n * m / total) + largest / total + 2
    paths = np.zeros((len(upper), n + 2))  # probability of i with no bound reached, for each test
    paths[:, 0] = 1
    reached = np.zeros(len(upper))
    in_first = np.arange(n + 1.0)
    low = high = 0
    for k in range(1, total + 1):
        window = paths[:, low : high + 1]
        to_second = window * ((m - (k - 1) + in_first[low : high + 1]) / (total - (k - 1)))
        to_first = window - to_second
        paths[:, low : high + 1] = to_second
        paths[:, low + 1 : high + 2] += to_first
        centre = k * n / total
        low = max(0, k - m, math.floor(centre - half_width))
        high = min(n, k, math.ceil(centre + half_width))
        if k not in ends:
            continue
        for test, (most, least) in enumerate(zip(upper, lower, strict=True)):
            if most is not None and (first := max(low, -(-(k * n + most) // total))) <= high:
                reached[test] += paths[test, first : high + 1].sum()
                paths[test, first : high + 1] = 0
            if least is not None and (last := min(high, (k * n - least) // total)) >= low:
                reached[test] += paths[test, low : last + 1].sum()
                paths[test, low : last + 1] = 0
    return reached
