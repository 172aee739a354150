"""How often may one look at a sweep before it is done? A boundary that keeps the level over any number of looks.

The boundary is that of O'Brien and Fleming (1979) in the form for continuous looks: a Brownian motion on [0, 1] leaves
plus or minus c with probability 4 (1 - Phi(c)), for which c = 2.2414 gives 5%. At the part t of the information, a
claim needs a two-sided p below 2 Phi(-c / sqrt(t)) (Lan and DeMets, Biometrika 70, 1983).
"""

from __future__ import annotations

import math


def level_at(part: float, level: float) -> float:
    """Return the two-sided significance level of a look at a part of the information; ``level`` when all is there.

    >>> [round(level_at(part, 0.05), 4) for part in (0.25, 0.5, 0.9, 1)]
    [0.0, 0.0015, 0.0181, 0.05]
    """
    if part >= 1:
        return level
    from scipy.special import ndtr, ndtri

    bound = -float(ndtri(level / 4))
    return 2 * float(ndtr(-bound / math.sqrt(part))) if part > 0 else 0.0


def part_of_information(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Return the part of the information on a difference that is there.

    Args:
        a: networks that count, and networks asked for, of the first population.
        b: of the second one.
    """
    planned = 1 / a[1] + 1 / b[1]
    return planned / (1 / a[0] + 1 / b[0]) if a[0] and b[0] else 0.0
