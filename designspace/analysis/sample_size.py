"""How estimates depend on the number of networks: point estimates mislead when distributions do not.

"On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), figures 2 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.edf import check_level
from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class SampleMinima(Outlined):
    """The least errors of many samples of several sizes, all drawn from one population."""

    sizes: tuple[int, ...]
    minima: NDArray[np.float64]  # (sizes, repeats)
    """Percent."""

    def probability_lower(self, larger: int, smaller: int) -> float:
        """Return how often samples of ``sizes[larger]`` have a lower minimum than those of ``sizes[smaller]``.

        Ties count half.
        """
        a, b = self.minima[larger], self.minima[smaller]
        return float((a < b).mean() + (a == b).mean() / 2)

    def table(self) -> pd.DataFrame:
        """Return the columns size and min_error, with one row per sample."""
        repeats = self.minima.shape[1]
        return pd.DataFrame({"size": np.repeat(self.sizes, repeats), "min_error": self.minima.ravel()})


def sample_minima(errors: ArrayLike, sizes: Sequence[int], repeats: int = 5000, *, seed: int = 0) -> SampleMinima:
    """Draw samples of each size with replacement, and return the least error of each.

    The minimum of k draws from n errors is the one of rank ceil(n (1 - (1 - u)^(1 / k))) for a uniform u, so only u is
    drawn.

    Raises:
        InputError: there are no errors, or a size is below 1.
    """
    ascending = _ascending(errors)
    _check_sizes(sizes)
    rng = np.random.default_rng(seed)
    n = ascending.size
    minima = np.empty((len(sizes), repeats))
    for index, size in enumerate(sizes):
        fraction = -np.expm1(np.log1p(-rng.random(repeats)) / size)
        minima[index] = ascending[np.minimum((n * fraction).astype(np.int64), n - 1)]
    return SampleMinima(tuple(sizes), minima)


@dataclass(frozen=True, eq=False, repr=False)
class DistanceBySize(Outlined):
    """Distance between the EDF of a sample and that of the whole population, by the size of the sample."""

    n: int
    """Number of networks of the whole population."""
    sizes: NDArray[np.int64]  # (sizes,)
    mean: NDArray[np.float64]  # (sizes,)
    """Kolmogorov-Smirnov distance D, averaged over the samples."""
    low: NDArray[np.float64]  # (sizes,)
    high: NDArray[np.float64]  # (sizes,)
    """A fraction 1 - ``level`` of the samples lies between ``low`` and ``high``."""
    level: float

    def table(self) -> pd.DataFrame:
        """Return the columns size, mean_ks, low_ks and high_ks."""
        return pd.DataFrame({"size": self.sizes, "mean_ks": self.mean, "low_ks": self.low, "high_ks": self.high})


def distance_by_size(
    errors: ArrayLike, sizes: Sequence[int] | None = None, repeats: int = 400, *, level: float = 0.05, seed: int = 0
) -> DistanceBySize:
    """Draw samples of each size without replacement, and compute D between each and the whole population.

    Args:
        errors: errors of the whole population, percent.
        sizes: sizes of the samples; by default powers of two from 4 to half of the population.
        repeats: number of samples of each size.
        level: one minus the fraction of the samples between ``low`` and ``high``.
        seed: seed of the draws.

    Raises:
        InputError: there are fewer than two errors, or a size is not from 1 to their number.
    """
    check_level(level)
    ascending = _ascending(errors)
    n = ascending.size
    if n < 2:
        raise InputError("the distance of a sample from its population needs at least two errors")
    chosen = [2**power for power in range(2, 25) if 2**power <= n // 2] or [max(1, n // 2)] if sizes is None else sizes
    _check_sizes(chosen, n)
    rng = np.random.default_rng(seed)
    whole_edf = np.searchsorted(ascending, ascending, side="right") / n
    distances = np.empty((len(chosen), repeats))
    for index, size in enumerate(chosen):
        for repeat in range(repeats):
            sample = np.sort(rng.choice(n, size, replace=False))
            # Both EDFs are steps at errors of the population, so D is reached at one of them.
            sample_edf = np.searchsorted(ascending[sample], ascending, side="right") / size
            distances[index, repeat] = np.abs(sample_edf - whole_edf).max()
    low, high = np.quantile(distances, [level / 2, 1 - level / 2], axis=1)
    return DistanceBySize(n, np.asarray(chosen, np.int64), distances.mean(axis=1), low, high, level)


def _ascending(errors: ArrayLike) -> NDArray[np.float64]:
    """Return the errors in ascending order.

    Raises:
        InputError: there are none, or one is not a finite number.
    """
    ascending = np.sort(np.asarray(errors, np.float64).ravel())
    if not ascending.size or not np.isfinite(ascending).all():
        raise InputError("samples need a population of at least one error, all finite")
    return ascending


def _check_sizes(sizes: Sequence[int], most: float = float("inf")) -> None:
    """Raise an InputError unless the sizes of samples are whole numbers from 1 to ``most``."""
    for size in sizes:
        if isinstance(size, bool) or int(size) != size or not 1 <= size <= most:
            raise InputError(f"a sample must have from 1 to {most:g} networks, not {size!r}")
