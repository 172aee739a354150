"""Error by complexity, bin by bin ("On Network Design Spaces for Visual Recognition", arXiv 1905.13214, figure 15)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class BinnedErrors(Outlined):
    """Mean and spread of the errors of the networks in each range of a complexity; empty bins are NaN."""

    edges: NDArray[np.float64]  # (bins + 1,)
    counts: NDArray[np.int64]  # (bins,)
    mean: NDArray[np.float64]  # (bins,)
    """Per cent."""
    std: NDArray[np.float64]  # (bins,)
    """Standard deviation, percentage points; NaN where a bin has one network."""

    def table(self) -> pd.DataFrame:
        """Columns low, high (ends of the bin), n, mean_error, std_error."""
        return pd.DataFrame(
            {
                "low": self.edges[:-1],
                "high": self.edges[1:],
                "n": self.counts,
                "mean_error": self.mean,
                "std_error": self.std,
            }
        )


def binned_errors(complexity: ArrayLike, errors: ArrayLike, edges: ArrayLike) -> BinnedErrors:
    """Mean and standard deviation of errors between consecutive edges; the last edge belongs to the last bin.

    Raises:
        InputError: fewer than two edges, edges that do not rise, or columns of different lengths.
    """
    x, y, ends = (np.asarray(column, np.float64) for column in (complexity, errors, edges))
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"one error for each complexity is needed, not {y.shape} for {x.shape}")
    if ends.ndim != 1 or ends.size < 2 or not (np.diff(ends) > 0).all():
        raise InputError(f"edges must be at least two rising numbers, not {ends.tolist()}")
    place = np.searchsorted(ends, x, side="right") - 1
    place[x == ends[-1]] = ends.size - 2
    inside = (place >= 0) & (place < ends.size - 1)
    place, y = place[inside], y[inside]
    counts = np.bincount(place, minlength=ends.size - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(place, y, ends.size - 1) / counts
        squares = np.bincount(place, (y - mean[place]) ** 2, ends.size - 1)
        std = np.sqrt(squares / (counts - 1))
    std[counts < 2] = np.nan
    return BinnedErrors(ends, counts, mean, std)
