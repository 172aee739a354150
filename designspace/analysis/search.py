"""Random search: how good is the best of k networks drawn from a space?

"On Network Design Spaces" (figure 7) and "Designing Network Design Spaces" (figure 9, right). Mean and deviation over
all the ways to draw are computed from order statistics, not from simulated searches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.results import ErrorColumn, Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class SearchCurve(Outlined):
    """The best error of k networks drawn at random, for several k."""

    name: str
    sizes: NDArray[np.int64]  # (k,)
    """Networks drawn, ascending."""
    mean: NDArray[np.float64]  # (k,)
    """Expected error of the best of them, per cent."""
    deviation: NDArray[np.float64]  # (k,)
    """Standard deviation of the error of the best from one search to the next, percentage points."""
    n: int
    """Networks in the population: what is drawn from."""
    replace: bool
    """Whether they are drawn with replacement."""

    def table(self) -> pd.DataFrame:
        """One row for each k."""
        numbers = {"k": self.sizes, "mean": self.mean, "deviation": self.deviation}
        return pd.DataFrame({"run": self.name, **numbers, "n": self.n, "replace": self.replace})


def search_curve(
    results: Results,
    sizes: Sequence[int] | None = None,
    *,
    replace: bool = False,
    column: ErrorColumn = "final_error",
) -> SearchCurve:
    """Expected best error, and its deviation, of searches of several sizes within a population.

    Without replacement the mean is an unbiased estimate of that of the space itself. Close to k = n it rests on the few
    best networks alone, and the deviation goes to 0 because all searches among n networks find the same one: not
    because one knows the space so well.

    Args:
        results: a population.
        sizes: networks to draw; 1, 2, 4 ... and n unless told otherwise.
        replace: draw with replacement, as from a space of which these errors are all that one knows.
        column: the error that counts.

    Raises:
        InputError: no finished trial, or a size below 1 (or, without replacement, above n).
    """
    errors = _finished(results, column)
    wanted = doubling(errors.size) if sizes is None else sizes
    mean, deviation = best_of_k(errors, wanted, replace=replace)
    return SearchCurve(results.name, np.array(wanted, np.int64), mean, deviation, errors.size, replace)


def best_of_k(
    errors: ArrayLike, sizes: Sequence[int], *, replace: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the least of k of the errors, for each k. Two arrays of shape (k,).

    Raises:
        InputError: there is no error, one is not finite, or a size is out of range.

    >>> mean, _ = best_of_k([1.0, 2.0, 3.0], [1, 2, 3])
    >>> mean.round(3).tolist()
    [2.0, 1.333, 1.0]
    """
    ascending = np.sort(np.asarray(errors, np.float64).ravel())
    if not ascending.size or not np.isfinite(ascending).all():
        raise InputError("a search needs at least one error, all of them finite")
    for size in sizes:
        if size < 1 or (size > ascending.size and not replace):
            limit = "" if replace else f" and at most {ascending.size}, the networks that there are"
            raise InputError(f"a search must draw at least 1 network{limit}, not {size}")
    weights = np.array([_weights(ascending.size, size, replace) for size in sizes]).reshape(len(sizes), ascending.size)
    mean = weights @ ascending
    deviation = np.sqrt((weights * (ascending - mean[:, None]) ** 2).sum(axis=1))
    return mean, deviation


def doubling(n: int) -> list[int]:
    """1, 2, 4 and so on below n, and n.

    >>> doubling(6)
    [1, 2, 4, 6]
    """
    return [*(2**power for power in range(math.ceil(math.log2(n)))), n]


def _finished(results: Results, column: ErrorColumn) -> NDArray[np.float64]:
    errors = results.errors(column)
    if not errors.size:
        raise InputError(f"{results.name} has no trial to search among: {results.counts.sentence()}")
    return errors


def _weights(n: int, k: int, replace: bool) -> NDArray[np.float64]:
    """Probability of rank 1, 2 ... n to be the best of k."""
    rank = np.arange(1, n + 1)
    if replace:
        weights: NDArray[np.float64] = ((n - rank + 1) / n) ** k - ((n - rank) / n) ** k
        return weights
    # C(n - r, k - 1) / C(n, k): the others come from the n - r that are worse. Each is a multiple of the one before.
    ratios = np.maximum(n - rank[:-1] - k + 1, 0) / (n - rank[:-1])
    return (k / n) * np.cumprod(np.concatenate([[1.0], ratios]))
