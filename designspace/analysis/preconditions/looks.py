"""A boundary for looks at an unfinished sweep that keeps the significance level over any number of looks.

The boundary is that of O'Brien and Fleming (1979) in the form for continuous looks: a Brownian motion on [0, 1] leaves
plus or minus c with probability 4 (1 - Phi(c)), which is 5% for c = 2.2414. At a fraction t of the information, a claim
needs a two-sided p below 2 Phi(-c / sqrt(t)) (Lan and DeMets, Biometrika 70, 1983).
"""

from __future__ import annotations

import math


def level_at(part: float, level: float) -> float:
    """Return the two-sided significance level of a look at a fraction of the information; ``level`` for all of it.

    >>> [round(level_at(part, 0.05), 4) for part in (0.25, 0.5, 0.9, 1)]
    [0.0, 0.0015, 0.0181, 0.05]
    """
    if part >= 1:
        return level
    from scipy.special import ndtr, ndtri

    bound = -float(ndtri(level / 4))
    return 2 * float(ndtr(-bound / math.sqrt(part))) if part > 0 else 0.0


def part_of_information(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Return the fraction of the planned information on a difference that is available.

    Args:
        a: number of networks that count and planned number of networks, of the first population.
        b: the same for the second population.
    """
    planned = 1 / a[1] + 1 / b[1]
    return planned / (1 / a[0] + 1 / b[0]) if a[0] and b[0] else 0.0
