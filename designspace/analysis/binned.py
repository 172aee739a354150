"""Errors in bins of complexity ("On Network Design Spaces for Visual Recognition", arXiv 1905.13214, figure 15)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class BinnedErrors(Outlined):
    """Mean and standard deviation of errors in bins of a complexity; empty bins are NaN."""

    edges: NDArray[np.float64]  # (bins + 1,)
    counts: NDArray[np.int64]  # (bins,)
    mean: NDArray[np.float64]  # (bins,)
    """Percent."""
    std: NDArray[np.float64]  # (bins,)
    """Standard deviation, percentage points; NaN if a bin has one network."""

    def table(self) -> pd.DataFrame:
        """Return the columns low and high (ends of the bin), n, mean_error and std_error."""
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
    """Return mean and standard deviation of errors between consecutive edges; the last edge belongs to the last bin.

    Raises:
        InputError: there are fewer than two edges, edges do not increase, or the columns have different lengths.
    """
    x, y, ends = (np.asarray(column, np.float64) for column in (complexity, errors, edges))
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"one error per complexity is needed, not {y.shape} for {x.shape}")
    if ends.ndim != 1 or ends.size < 2 or not (np.diff(ends) > 0).all():
        raise InputError(f"edges must be at least two increasing numbers, not {ends.tolist()}")
    index = np.searchsorted(ends, x, side="right") - 1
    index[x == ends[-1]] = ends.size - 2
    inside = (index >= 0) & (index < ends.size - 1)
    index, y = index[inside], y[inside]
    counts = np.bincount(index, minlength=ends.size - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(index, y, ends.size - 1) / counts
        squares = np.bincount(index, (y - mean[index]) ** 2, ends.size - 1)
        std = np.sqrt(squares / (counts - 1))
    std[counts < 2] = np.nan
    return BinnedErrors(ends, counts, mean, std)
