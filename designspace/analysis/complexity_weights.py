"""Weights that make populations of different complexities comparable.

"On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.support.checks import whole
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.support.text import counted


@dataclass(frozen=True, eq=False, repr=False)
class ComplexityWeights(Outlined):
    """Weights that make a population's complexity uniform over bins ("On Network Design Spaces", section 4.2)."""

    weights: NDArray[np.float64]  # (n,)
    """In the order of the networks, with sum 1: 1 / (networks in the bin) / (bins used), or 0 if not counted."""
    bins: NDArray[np.int64]  # (n,)
    """Index of the bin of each network; -1 outside the range."""
    edges: NDArray[np.float64]  # (bins + 1,)
    """Ends of the bins, in the unit of the complexity. Lower ends are inclusive, and so is the last upper end."""
    counts: NDArray[np.int64]  # (bins,)
    """Number of networks in each bin."""
    used: NDArray[np.bool_]  # (bins,)
    """Whether the bin is used: it is empty in none of the populations that are compared."""

    @property
    def outside(self) -> int:
        """Number of networks outside the range, which have weight 0."""
        return int((self.bins < 0).sum())

    @property
    def empty(self) -> tuple[int, ...]:
        """Indices of the bins without a network."""
        return tuple(np.flatnonzero(self.counts == 0).tolist())

    @property
    def dropped(self) -> tuple[int, ...]:
        """Indices of bins with networks here but none in another population; these networks have weight 0."""
        return tuple(np.flatnonzero((self.counts > 0) & ~self.used).tolist())

    def sentence(self) -> str:
        """Return what was left out, as text.

        >>> complexity_weights([1, 1, 2, 9], bins=2, range=(0, 4)).sentence()
        '2 of 2 bins of complexity used; 1 of 4 networks outside the range'
        """
        parts = [f"{int(self.used.sum())} of {self.used.size} bins of complexity used"]
        if self.empty:
            parts.append(f"{len(self.empty)} empty")
        if self.dropped:
            lost = int(self.counts[list(self.dropped)].sum())
            parts.append(
                f"{len(self.dropped)} dropped ({counted(lost, 'network')}), since another population has none there"
            )
        if self.outside:
            parts.append(f"{self.outside} of {counted(self.weights.size, 'network')} outside the range")
        return "; ".join(parts)

    def table(self) -> pd.DataFrame:
        """Return one row per bin: its ends, its number of networks, and whether it is used."""
        return pd.DataFrame(
            {"low": self.edges[:-1], "high": self.edges[1:], "networks": self.counts, "used": self.used}
        )


def complexity_weights(complexity: ArrayLike, bins: int, range: tuple[float, float] | None = None) -> ComplexityWeights:
    """Return the weights of the complexity-normalised EDF, with equal weight per non-empty bin.

    As in "On Network Design Spaces", section 4.2, a network has weight 1 / (networks in its bin) / (non-empty bins), as
    if the population had been drawn with uniform complexity. Bins are equally wide.

    Args:
        complexity: complexity of each network: flops, params or activations.
        bins: number of bins.
        range: lower end of the first bin and upper end of the last one; None for the least and largest complexity.

    Raises:
        InputError: there is no network, a number is not finite, or no network is within the range.
    """
    return common_weights([complexity], bins, range)[0]


def common_weights(
    complexities: Sequence[ArrayLike], bins: int, range: tuple[float, float] | None = None
) -> tuple[ComplexityWeights, ...]:
    """Return the weights of several populations to be compared, using only bins in which all have networks.

    A bin that is empty in one population is used in none, because there is nothing to compare it with; ``dropped``
    lists these bins. If the range is None, it is the `common_range`.

    Raises:
        InputError: as in `complexity_weights`; or no bin has networks of all populations.
    """
    columns = _columns(complexities)
    bins = whole("bins", bins, 1)
    low, high = common_range(columns) if range is None else range
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"the range of complexity must be two finite numbers, the lower one first, not {range!r}")
    edges = np.linspace(low, high, bins + 1) if low < high else np.linspace(low - 0.5, high + 0.5, bins + 1)
    indices = []
    for column in columns:
        index = np.clip(np.searchsorted(edges, column, side="right") - 1, -1, bins - 1)
        indices.append(np.where((column < edges[0]) | (column > edges[-1]), -1, index).astype(np.int64))
    counts = [np.bincount(index[index >= 0], minlength=bins) for index in indices]
    used = np.logical_and.reduce([count > 0 for count in counts])
    if not used.any():
        outside = f"no network is within the range of complexity {low:g} to {high:g}"
        raise InputError(
            outside if len(columns) == 1 else f"no bin of complexity has networks of all populations; {bins=}"
        )
    all_weights = []
    for index, count in zip(indices, counts, strict=True):
        share = np.where(used, 1 / np.maximum(count, 1) / used.sum(), 0.0)
        weights = np.where(index >= 0, share[index], 0.0)
        for array in (weights, index, edges, count, used):
            array.setflags(write=False)
        all_weights.append(ComplexityWeights(weights, index, edges, count, used))
    return tuple(all_weights)


def common_range(complexities: Sequence[ArrayLike]) -> tuple[float, float]:
    """Return the range of complexity that all populations cover: from the largest minimum to the least maximum.

    Raises:
        InputError: there is no network, a number is not finite, or the populations do not overlap.

    >>> common_range([[1, 5], [2, 9]])
    (2.0, 5.0)
    """
    columns = _columns(complexities)
    low, high = max(float(column.min()) for column in columns), min(float(column.max()) for column in columns)
    if low > high:
        raise InputError(
            f"the populations have no complexity in common: one starts at {low:g}, another ends at {high:g}"
        )
    return low, high


def _columns(complexities: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """Return the complexities of populations as arrays, checked."""
    columns = [np.asarray(column, np.float64).ravel() for column in complexities]
    if not columns or not all(column.size for column in columns):
        raise InputError("weights by complexity need at least one network in each population")
    if not all(np.isfinite(column).all() for column in columns):
        raise InputError("weights by complexity need the finite complexity of each network")
    return columns
