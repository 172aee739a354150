"""Tests of two populations with networks in common: each common network is a pair, and the others are single networks.

Under the hypothesis that the spaces are equal, the two errors of a pair may be swapped, and the labels of the others
permuted. The statistic is P(A < B) + P(A = B) / 2 over its standard error, where a pair counts as one unit (Obuchowski,
Biometrics 53, 1997: DeLong's variance for clustered data).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.effects import Estimate

PERMUTATIONS = 1999
_MAX_LABELS = 4_000_000
"""Number of labels that are permuted at once, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class BlockTest:
    """Estimates and p values from two populations with networks in common."""

    effect: Estimate
    """P(A < B) + P(A = B) / 2, its interval and its p value by permutation."""
    mean: Estimate
    """Mean of A less mean of B."""
    ks_p: float
    """P value of the Kolmogorov-Smirnov distance, by permutation."""


def block_test(
    a: NDArray[np.float64], b: NDArray[np.float64], pairs: NDArray[np.int64], level: float = 0.05, *, seed: int = 0
) -> BlockTest:
    """Test two populations of errors, some of which belong to the same networks.

    Args:
        a: errors of the first population, shape (n_a,).
        b: errors of the second population, shape (n_b,).
        pairs: indices of the same network in ``a`` and in ``b``, shape (pairs, 2), without repetitions.
        level: one minus the confidence of the intervals.
        seed: seed of the permutations.
    """
    order = np.argsort(np.concatenate([a, b]), kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    first, second = rank[pairs[:, 0]], rank[a.size + pairs[:, 1]]
    pooled = _Pooled(np.concatenate([a, b])[order], first, second, a.size)
    is_a = (order < a.size)[None]
    value, error, distance = (float(values[0]) for values in pooled.statistics(is_a))
    at_least = np.zeros(2, np.int64)
    rng = np.random.default_rng(seed)
    remaining = PERMUTATIONS
    while remaining:
        count = min(remaining, max(1, _MAX_LABELS // order.size))
        values, errors, distances = pooled.statistics(pooled.permuted(is_a[0], count, rng))
        is_as_far = _z_score(values, errors) >= _z_score(value, error) - 1e-9
        at_least += is_as_far.sum(), (distances >= distance - 1e-12).sum()
        remaining -= count
    p, ks_p = ((1 + at_least) / (1 + PERMUTATIONS)).tolist()
    units = order.size - len(pairs)
    return BlockTest(_effect(value, error, units, p, level), mean_difference_of_pairs(a, b, pairs, level), ks_p)


@dataclass(frozen=True, slots=True, eq=False)
class _Pooled:
    """All errors, ascending, and which of them belong to the same network."""

    values: NDArray[np.float64]  # (n,)
    first: NDArray[np.int64]  # (pairs,)
    second: NDArray[np.int64]  # (pairs,)
    n_a: int

    def permuted(
        self, is_a: NDArray[np.bool_], count: int, rng: np.random.Generator
    ) -> NDArray[np.bool_]:  # (count, n)
        """Return labels with pairs swapped at random and all others permuted."""
        labels = np.repeat(is_a[None], count, axis=0)
        singles = np.setdiff1d(np.arange(is_a.size), np.concatenate([self.first, self.second]))
        labels[:, singles] = rng.permuted(labels[:, singles], axis=1)
        swap = rng.random((count, self.first.size)) < 0.5
        labels[:, self.first] ^= swap
        labels[:, self.second] ^= swap
        return labels

    def statistics(self, is_a: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
        """Return P(A < B), its standard error and the Kolmogorov-Smirnov distance for each row of labels."""
        n_a, n_b = self.n_a, self.values.size - self.n_a
        last = np.searchsorted(self.values, self.values, side="right") - 1
        start = np.searchsorted(self.values, self.values, side="left")
        counts = np.cumsum(is_a, axis=1, dtype=np.int32)
        a_up_to, b_up_to = counts[:, last], last + 1 - counts[:, last]
        a_before = np.where(start > 0, counts[:, start - 1], 0)
        b_before = start - a_before
        placement = np.where(is_a, 1 - (b_before + b_up_to) / (2 * n_b), (a_before + a_up_to) / (2 * n_a))
        value = np.where(is_a, placement, 0).sum(axis=1) / n_a
        part = (placement - value[:, None]) / np.where(is_a, n_a, n_b)
        of_pairs = part[:, self.first] + part[:, self.second]
        units = self.values.size - self.first.size
        of_single = (part**2).sum(axis=1) - (part[:, self.first] ** 2 + part[:, self.second] ** 2).sum(axis=1)
        variance = (of_single + (of_pairs**2).sum(axis=1)) * units / max(1, units - 1)
        distance = np.abs(a_up_to / n_a - b_up_to / n_b).max(axis=1)
        return value, np.sqrt(np.maximum(variance, 0)), distance


def _z_score(value: NDArray[np.float64] | float, error: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return how many standard errors a probability is from 1/2; infinity if the standard error is 0."""
    gap = np.abs(np.asarray(value) - 0.5)
    return np.asarray(np.divide(gap, error, out=np.where(gap > 1e-12, np.inf, 0.0), where=np.asarray(error) > 1e-12))


def _effect(value: float, error: float, units: int, p: float, level: float) -> Estimate:
    """Return the probability with its interval on the logit scale."""
    from scipy.special import expit, logit, stdtrit

    if units < 2 or not 0 < value < 1:
        return Estimate(value, 0.0, 1.0, p, level)
    half = float(stdtrit(units - 1, 1 - level / 2)) * error / (value * (1 - value))
    low, high = (float(expit(logit(value) + sign * half)) for sign in (-1, 1))
    return Estimate(value, low, high, p, level)


def mean_difference_of_pairs(
    a: NDArray[np.float64], b: NDArray[np.float64], pairs: NDArray[np.int64], level: float = 0.05
) -> Estimate:
    """Estimate the mean of A less the mean of B, with a variance in which each pair is one unit.

    Args:
        a: errors of the first population, shape (n_a,).
        b: errors of the second population, shape (n_b,).
        pairs: indices of the same network in ``a`` and in ``b``, shape (pairs, 2).
        level: one minus the confidence of the interval.
    """
    from scipy.special import stdtr, stdtrit

    value = float(a.mean() - b.mean())
    parts_a, parts_b = (a - a.mean()) / a.size, -(b - b.mean()) / b.size
    paired = parts_a[pairs[:, 0]] + parts_b[pairs[:, 1]]
    singles = np.concatenate([np.delete(parts_a, pairs[:, 0]), np.delete(parts_b, pairs[:, 1])])
    units = paired.size + singles.size
    if units < 2:
        return Estimate(value, math.nan, math.nan, math.nan, level)
    error = math.sqrt((float((paired**2).sum()) + float((singles**2).sum())) * units / (units - 1))
    half = error * float(stdtrit(units - 1, 1 - level / 2))
    p = 2 * float(stdtr(units - 1, -abs(value) / error)) if error else float(value == 0)
    return Estimate(value, value - half, value + half, p, level)
