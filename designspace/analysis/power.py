"""How many more networks would decide whether two spaces differ?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.difference import ks_test
from designspace.analysis.edf import check_level, edf
from designspace.analysis.resampling import deviations, quantile_grid
from designspace.support.errors import InputError

MOST = 20
"""So many times the present networks are the most that are thought of."""
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class NetworksNeeded:
    """What would decide a comparison, if the spaces were as far apart as their EDFs look."""

    verdict: Literal["decided", "more", "too many", "alike"]
    """``decided``: they differ as it is. ``more``: ``more`` networks of each would show that they differ.
    ``too many``: `MOST` times as many would not. ``alike``: the EDFs are no further apart than those of two populations
    of one space are half of the time, so there is nothing to go by."""
    more: int | None
    """Networks of each space beyond those there are; None where no number can be given."""
    power: float
    """Probability that populations of the present sizes would show the difference, if it were as large as it looks."""
    n_a: int
    n_b: int

    def sentence(self) -> str:
        """What to do, as the second half of a sentence.

        >>> NetworksNeeded("more", 120, 0.3, 40, 40).sentence()
        'about 120 more networks of each would decide it, if they are as far apart as they look'
        """
        if self.verdict == "more":
            return f"about {self.more} more networks of each would decide it, if they are as far apart as they look"
        if self.verdict == "too many":
            return f"more than {MOST} times as many would be needed, if they are as far apart as they look"
        if self.verdict == "alike":
            return "the curves are no further apart than two populations of one space would be"
        return "these networks decide it"


def networks_needed(
    a: ArrayLike, b: ArrayLike, level: float = 0.05, pairs: int = 1, *, power: float = 0.8, seed: int = 0
) -> NetworksNeeded:
    """How many more networks of each space the KS test needs to show a difference with some probability.

    Populations of growing sizes are drawn from the two EDFs as they stand, and tested at ``level / pairs``, the first
    step of Holm's correction. The EDFs of larger populations are drawn as in `EDF.bootstrap_band`, so that the cost
    does not grow with them.

    **The answer is rather too small**: EDFs of few networks look further apart than their spaces are, the more so
    where there is little between them. Of pairs of populations of 50 networks from *one* space, a third are told
    that some 30 to 110 more would decide, which cannot be; the others are ``alike``. Hence the words "if they are as
    far apart as they look". Plan with more than it says, and do not add networks until a test says yes.

    Args:
        a: errors of A, per cent.
        b: errors of B.
        level: significance level of the conclusion.
        pairs: of spaces that are compared together.
        power: wanted probability of showing the difference.
        seed: of the draws.

    Raises:
        InputError: ``a`` or ``b`` is empty, or ``level``, ``pairs`` or ``power`` is impossible.
    """
    from scipy.special import kolmogi

    check_level(level)
    if not 0 < power < 1 or pairs < 1:
        raise InputError(f"power must be between 0 and 1 and pairs at least 1, not {power!r} and {pairs!r}")
    curves = edf(a), edf(b)
    n_a, n_b = (curve.n for curve in curves)
    p = ks_test(curves[0].errors, curves[1].errors).p
    grid = quantile_grid(curves)
    gap = curves[0](grid) - curves[1](grid)
    streams = [np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(2)]
    noise = [
        deviations([curve], grid, _RESAMPLES, rng) * np.float32(np.sqrt(curve.n))
        for curve, rng in zip(curves, streams, strict=True)
    ]

    def shown(more: int) -> float:
        """Part of the resamples, with so many more networks of each, that show a difference."""
        sizes = n_a + more, n_b + more
        if not could_show(*sizes, level, pairs):
            return 0.0
        root = math.sqrt(sizes[0] * sizes[1] / (sizes[0] + sizes[1]))
        critical = float(kolmogi(level / pairs)) / (root + 0.12 + 0.11 / root)  # Stephens (1970)
        return _part_beyond(gap, noise, sizes, critical)

    now = shown(0)
    if p < level / pairs:
        return NetworksNeeded("decided", 0, now, n_a, n_b)
    if p >= 0.5:
        return NetworksNeeded("alike", None, now, n_a, n_b)
    too_few, enough = 0, (MOST - 1) * max(n_a, n_b)
    if shown(enough) < power:
        return NetworksNeeded("too many", None, now, n_a, n_b)
    while enough - too_few > 1 + too_few // 50:  # within 2%: more would be false precision
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if shown(middle) >= power else (middle, enough)
    return NetworksNeeded("more", _rounded(enough), now, n_a, n_b)


def could_show(n_a: int, n_b: int, level: float, pairs: int = 1) -> bool:
    """Whether so many networks could show any difference: the least p value is that of two EDFs that do not overlap.

    It is 2 / C(n_a + n_b, n_a), times the pairs in Holm's first step.

    >>> could_show(3, 3, 0.05), could_show(4, 4, 0.05)
    (False, True)
    """
    choices = math.lgamma(n_a + n_b + 1) - math.lgamma(n_a + 1) - math.lgamma(n_b + 1)
    return math.log(2 * pairs / level) < choices - 1e-9


def _part_beyond(
    gap: NDArray[np.float64], noise: list[NDArray[np.float32]], sizes: tuple[int, int], critical: float
) -> float:
    """Part of the resampled pairs of EDFs, of these sizes, that are further apart than the critical distance."""
    first, second = (one * np.float32(size**-0.5) for one, size in zip(noise, sizes, strict=True))
    return float((np.abs(gap.astype(np.float32) + first - second).max(axis=1) > critical).mean())


def _rounded(number: int) -> int:
    """A whole number with two digits that count, rounded up.

    >>> _rounded(7), _rounded(121)
    (7, 130)
    """
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step
