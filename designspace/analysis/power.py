"""Estimates of how many more networks would decide whether two spaces differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.difference import ks_test
from designspace.analysis.edf import EDF, check_level, edf
from designspace.analysis.resampling import deviations, quantile_grid
from designspace.support.errors import InputError
from designspace.support.text import counted

MAX_MULTIPLE = 20
"""Largest multiple of the present number of networks that is considered."""
MIN_NETWORKS = 30
"""Minimum number of networks of each space for an estimate.

If estimates were made from 16 networks, the estimated number decided only 11 to 67% of the pairs, although their spaces
differed by 0.25 to 0.8 standard deviations.
"""
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class NetworksNeeded:
    """Number of networks that would decide a comparison, as a range, since the distance of the spaces is uncertain.

    If the sizes differ, ``more`` and ``most`` refer to the space with fewer networks: it catches up first, and the
    other grows with it only beyond its own size.
    """

    verdict: Literal["decided", "more", "too many", "alike", "too few"]
    """Outcome of the estimate.

    ``decided``: the spaces are already shown to differ. ``more``: ``more`` to ``most`` networks would show that they
    differ. ``too many``: `MAX_MULTIPLE` times the present networks might not show it. ``alike``: the shrunken distance
    of the EDFs is 0, so nothing can be estimated. ``too few``: a space has fewer than `MIN_NETWORKS` networks.
    """
    more: int | None
    """Additional networks if the spaces are as far apart as they appear; None if no number can be given.

    For ``too few``, the number that a space lacks to reach `MIN_NETWORKS`.
    """
    power: float
    """Probability that populations of the present sizes show the difference, if it is as large as it appears."""
    n_a: int
    n_b: int
    most: int | None = None
    """Additional networks if the spaces are closer than they appear; None if ``more`` is None."""

    def sentence(self) -> str:
        """Return what to do, as the second half of a sentence.

        >>> NetworksNeeded("more", 120, 0.3, 40, 40, 250).sentence()
        'about 120 to 250 more networks of each would decide it, if they are about as far apart as they appear'
        """
        if self.verdict == "more":
            return f"{self._range()} would decide it, if they are about as far apart as they appear"
        if self.verdict == "too many":
            more = f"more than {MAX_MULTIPLE} times as many"
            return f"{more} may be needed, even if they are about as far apart as they appear"
        if self.verdict == "alike":
            return "two populations of the same space often differ as much, so no number of networks can be estimated"
        if self.verdict == "too few":
            return (
                f"how many more networks would decide it cannot be estimated from fewer than {MIN_NETWORKS} of each; "
                f"{counted(self.more or 0, 'more network')} of {self._smaller()} would allow an estimate"
            )
        return "these networks decide it"

    def _smaller(self) -> str:
        """Return the space to which the numbers refer, as text."""
        return "each" if self.n_a == self.n_b else f"the space with {min(self.n_a, self.n_b)}"

    def _range(self) -> str:
        """Return the range of additional networks of one space or both, as text."""
        more, most = self.more or 0, self.most or self.more or 0
        networks = f"{more} to {most} more networks" if most > more else counted(more, "more network")
        others = min(self.n_a, self.n_b) + most - max(self.n_a, self.n_b)
        also = f", and up to {others} of the other," if self.n_a != self.n_b and others > 0 else ""
        return f"about {networks} of {self._smaller()}{also}"


def networks_needed(
    a: ArrayLike, b: ArrayLike, level: float = 0.05, pairs: int = 1, *, power: float = 0.8, seed: int = 0
) -> NetworksNeeded:
    """Estimate how many more networks the KS test needs to show a difference with a given probability.

    Populations of growing sizes are drawn from the two EDFs and tested at ``level / pairs``, the first step of Holm's
    correction. The EDFs of larger populations are drawn as in `EDF.bootstrap_band`, so that the cost does not grow with
    their size.

    EDFs of few networks appear further apart than their spaces are. So the result is a range: its lower end is valid if
    the distance of the spaces is the observed one, its upper end if it is smaller by the factor of `shrunken_part`.

    Accuracy by simulation (all figures are in ``experiments/benchmark_more_networks``): of the pairs that get a range
    and come from spaces that differ by 0.25 to 0.8 standard deviations, 60% are decided with its lower end and 83% with
    its upper end (80 to 89% depending on the shape of the errors; 76, 92 and 98% for increasing distances).

    The range is advice for one further step. Adding networks and testing until a test succeeds would find differences
    between equal spaces far more often than ``level``.

    Args:
        a: errors of A, percent.
        b: errors of B, percent.
        level: significance level of the conclusion.
        pairs: number of pairs of spaces that are compared together.
        power: desired probability of showing the difference.
        seed: seed of the draws.

    Raises:
        InputError: ``a`` or ``b`` is empty, or ``level``, ``pairs`` or ``power`` is out of range.
    """
    check_level(level)
    if not 0 < power < 1 or pairs < 1:
        raise InputError(f"power must be between 0 and 1 and pairs at least 1, not {power!r} and {pairs!r}")
    curves = edf(a), edf(b)
    n_a, n_b = (curve.n for curve in curves)
    p = ks_test(curves[0].errors, curves[1].errors).p
    gap = _Gap.of(curves, level, pairs, seed)
    present_power = gap.power()
    if p < level / pairs:
        return NetworksNeeded("decided", 0, present_power, n_a, n_b, 0)
    if min(n_a, n_b) < MIN_NETWORKS:
        return NetworksNeeded("too few", MIN_NETWORKS - min(n_a, n_b), present_power, n_a, n_b)
    fraction = shrunken_part(p)
    if not fraction:
        return NetworksNeeded("alike", None, present_power, n_a, n_b)
    limit = MAX_MULTIPLE * max(n_a, n_b) - min(n_a, n_b)
    most = _least(lambda more: gap.power(more, fraction) >= power, limit)
    more = _least(lambda more: gap.power(more) >= power, limit)
    if more is None or most is None:
        return NetworksNeeded("too many", None, present_power, n_a, n_b)
    return NetworksNeeded("more", _rounded(more), present_power, n_a, n_b, _rounded(max(more, most)))


def shrunken_part(p: float) -> float:
    """Return the fraction of an observed distance that is assumed for the upper end of the range, from its p value.

    With z the normal quantile of the two-sided p value, s = max(0, 1 - 1 / z^2) is the fraction of an effect that
    remains after subtracting its expected noise: E z^2 = (effect / standard error)^2 + 1. It is 0 for p >= 0.32.

    The upper end assumes the middle between the observed and the shrunken distance, (1 + s) / 2 of the observed one. By
    simulation, s itself requires two to three times as many networks, which decide 95% of the pairs.

    >>> [round(shrunken_part(p), 2) for p in (0.05, 0.2, 0.4)]
    [0.87, 0.7, 0.0]
    """
    from scipy.special import ndtri

    z = -float(ndtri(p / 2))
    return (1 + (1 - 1 / z**2)) / 2 if z > 1 else 0.0


def could_show(n_a: int, n_b: int, level: float, pairs: int = 1) -> bool:
    """Return whether populations of these sizes could show any difference.

    The least p value is that of two EDFs that do not overlap: 2 / C(n_a + n_b, n_a), times the number of pairs in
    Holm's first step.

    >>> could_show(3, 3, 0.05), could_show(4, 4, 0.05)
    (False, True)
    """
    choices = math.lgamma(n_a + n_b + 1) - math.lgamma(n_a + 1) - math.lgamma(n_b + 1)
    return math.log(2 * pairs / level) < choices - 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class _Gap:
    """The distance of two EDFs at each point of a grid, with resamples of its noise."""

    values: NDArray[np.float64]
    """Shape (points,)."""
    noise: list[NDArray[np.float32]]
    """Resampled deviations of each EDF, as of a single network. Shape (resamples, points)."""
    sizes: tuple[int, int]
    """Numbers of networks."""
    level: float
    pairs: int

    @staticmethod
    def of(curves: tuple[EDF, EDF], level: float, pairs: int, seed: int) -> _Gap:
        """Return the gap of two EDFs, to be tested at ``level / pairs``."""
        grid = quantile_grid(curves)
        streams = [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2)]
        noise = [
            deviations([curve], grid, _RESAMPLES, rng) * np.float32(np.sqrt(curve.n))
            for curve, rng in zip(curves, streams, strict=True)
        ]
        first, second = curves
        return _Gap(first(grid) - second(grid), noise, (first.n, second.n), level, pairs)

    def power(self, more: int = 0, fraction: float = 1.0) -> float:
        """Return the fraction of resamples in which the KS test shows the gap.

        Args:
            more: additional networks of the smaller space; the other grows with it only beyond its own size.
            fraction: the part of the gap that is assumed.
        """
        from scipy.special import kolmogi

        size = min(self.sizes) + more
        n_a, n_b = (max(n, size) for n in self.sizes)
        if not could_show(n_a, n_b, self.level, self.pairs):
            return 0.0
        root = math.sqrt(n_a * n_b / (n_a + n_b))
        critical = float(kolmogi(self.level / self.pairs)) / (root + 0.12 + 0.11 / root)  # Stephens (1970)
        first, second = (noise * np.float32(n**-0.5) for noise, n in zip(self.noise, (n_a, n_b), strict=True))
        gap = (self.values * fraction).astype(np.float32)
        return float((np.abs(gap + first - second).max(axis=1) > critical).mean())


def _least(enough: Callable[[int], bool], limit: int) -> int | None:
    """Return the least number that is enough, or None above a limit.

    It is found within 2%, since more digits would be false precision.
    """
    if not enough(limit):
        return None
    low, high = 0, limit
    while high - low > 1 + low // 50:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _rounded(number: int) -> int:
    """Return a whole number rounded up to two significant digits.

    >>> _rounded(7), _rounded(121)
    (7, 130)
    """
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step
