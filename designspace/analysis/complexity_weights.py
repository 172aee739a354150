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
    """In the order of the networks, sum 1: 1 / (networks in the bin) / (bins used), or 0 if it does not count."""
    bins: NDArray[np.int64]  # (n,)
    """The bin of each network from 0; -1 outside the range."""
    edges: NDArray[np.float64]  # (bins + 1,)
    """Ends of the bins, in the unit of the complexity. A bin holds its lower end, the last one its upper end too."""
    counts: NDArray[np.int64]  # (bins,)
    """Networks in each bin."""
    used: NDArray[np.bool_]  # (bins,)
    """Whether the bin counts: it is not empty, here nor in any population that it is compared with."""

    @property
    def outside(self) -> int:
        """Networks outside the range, which have weight 0."""
        return int((self.bins < 0).sum())

    @property
    def empty(self) -> tuple[int, ...]:
        """The bins without a network."""
        return tuple(np.flatnonzero(self.counts == 0).tolist())

    @property
    def dropped(self) -> tuple[int, ...]:
        """The bins that have networks here, but none in another population: those networks have weight 0."""
        return tuple(np.flatnonzero((self.counts > 0) & ~self.used).tolist())

    def sentence(self) -> str:
        """What was left out, in words.

        >>> complexity_weights([1, 1, 2, 9], bins=2, range=(0, 4)).sentence()
        '2 of 2 bins of complexity used; 1 of 4 networks outside the range'
        """
        parts = [f"{int(self.used.sum())} of {self.used.size} bins of complexity used"]
        if self.empty:
            parts.append(f"{len(self.empty)} empty")
        if self.dropped:
            lost = int(self.counts[list(self.dropped)].sum())
            parts.append(
                f"{len(self.dropped)} dropped ({counted(lost, 'network')}), as another population has none there"
            )
        if self.outside:
            parts.append(f"{self.outside} of {counted(self.weights.size, 'network')} outside the range")
        return "; ".join(parts)

    def table(self) -> pd.DataFrame:
        """One row for each bin: its ends, its networks, and whether it is used."""
        return pd.DataFrame(
            {"low": self.edges[:-1], "high": self.edges[1:], "networks": self.counts, "used": self.used}
        )


def complexity_weights(complexity: ArrayLike, bins: int, range: tuple[float, float] | None = None) -> ComplexityWeights:
    """Weights of the complexity-normalised EDF: each non-empty bin counts alike, and each network in a bin alike.

    "On Network Design Spaces", section 4.2: a network weighs 1 / (networks in its bin) / (non-empty bins), as if the
    population had been drawn with uniform complexity. Bins are equally wide.

    Args:
        complexity: of each network: flops, params or activations.
        bins: their number.
        range: ends of the first and last bin; least and largest complexity where None.

    Raises:
        InputError: there is no network, a number is not finite, or none lies within the range.
    """
    return common_weights([complexity], bins, range)[0]


def common_weights(
    complexities: Sequence[ArrayLike], bins: int, range: tuple[float, float] | None = None
) -> tuple[ComplexityWeights, ...]:
    """The weights of several populations that are to be compared: with the same bins, of which all have networks.

    A bin that is empty in one of them is used in none, for there it has nothing to be compared with; ``dropped`` says
    which. The range is their `common_range` where None.

    Raises:
        InputError: as in `complexity_weights`; or no bin has networks of all populations.
    """
    columns = _columns(complexities)
    bins = whole("bins", bins, 1)
    low, high = common_range(columns) if range is None else range
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"the range of complexity must be two finite numbers, the lower one first, not {range!r}")
    edges = np.linspace(low, high, bins + 1) if low < high else np.linspace(low - 0.5, high + 0.5, bins + 1)
    places = []
    for column in columns:
        place = np.clip(np.searchsorted(edges, column, side="right") - 1, -1, bins - 1)
        places.append(np.where((column < edges[0]) | (column > edges[-1]), -1, place).astype(np.int64))
    counts = [np.bincount(place[place >= 0], minlength=bins) for place in places]
    used = np.logical_and.reduce([count > 0 for count in counts])
    if not used.any():
        alone = f"no network lies within the range of complexity {low:g} to {high:g}"
        raise InputError(
            alone if len(columns) == 1 else f"no bin of complexity has networks of all populations; {bins=}"
        )
    found = []
    for place, count in zip(places, counts, strict=True):
        share = np.where(used, 1 / np.maximum(count, 1) / used.sum(), 0.0)
        weights = np.where(place >= 0, share[place], 0.0)
        for array in (weights, place, edges, count, used):
            array.setflags(write=False)
        found.append(ComplexityWeights(weights, place, edges, count, used))
    return tuple(found)


def common_range(complexities: Sequence[ArrayLike]) -> tuple[float, float]:
    """The range of complexity that all populations reach: from the largest minimum to the least maximum.

    Raises:
        InputError: there is no network, a number is not finite, or the populations do not overlap.

    >>> common_range([[1, 5], [2, 9]])
    (2.0, 5.0)
    """
    columns = _columns(complexities)
    low, high = max(float(column.min()) for column in columns), min(float(column.max()) for column in columns)
    if low > high:
        raise InputError(
            f"the populations have no complexity in common: one begins at {low:g}, another ends at {high:g}"
        )
    return low, high


def _columns(complexities: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """Complexities of populations as checked columns."""
    columns = [np.asarray(column, np.float64).ravel() for column in complexities]
    if not columns or not all(column.size for column in columns):
        raise InputError("weights by complexity need at least one network in each population")
    if not all(np.isfinite(column).all() for column in columns):
        raise InputError("weights by complexity need the finite complexity of each network")
    return columns
