"""Random search: the expected error of the best of k networks drawn from a space.

See "On Network Design Spaces" (figure 7) and "Designing Network Design Spaces" (figure 9, right). Mean and deviation
over all possible draws are computed from order statistics, not from simulated searches.
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
from designspace.trials.metric import TOP1_ERROR, Metric


@dataclass(frozen=True, eq=False, repr=False)
class SearchCurve(Outlined):
    """The best error of k networks drawn at random, for several k."""

    name: str
    sizes: NDArray[np.int64]  # (k,)
    """Numbers of networks drawn, ascending."""
    mean: NDArray[np.float64]  # (k,)
    """Expected error of the best network."""
    deviation: NDArray[np.float64]  # (k,)
    """Standard deviation of the error of the best network over searches."""
    n: int
    """Number of networks in the population."""
    replace: bool
    """Whether networks are drawn with replacement."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    def table(self) -> pd.DataFrame:
        """Return one row per k."""
        numbers = {"k": self.sizes, "mean": self.metric.oriented(self.mean), "deviation": self.deviation}
        return pd.DataFrame({"run": self.name, **numbers, "n": self.n, "replace": self.replace})


def search_curve(
    results: Results,
    sizes: Sequence[int] | None = None,
    *,
    replace: bool = False,
    column: ErrorColumn = "final_error",
) -> SearchCurve:
    """Return the expected best error, and its deviation, of searches of several sizes within a population.

    Without replacement, the mean is an unbiased estimate of that of the space itself. Close to k = n it depends only on
    the few best networks, and the deviation tends to 0 because all searches among n networks find the same one, not
    because the space is known well.

    Args:
        results: a population.
        sizes: numbers of networks to draw; by default 1, 2, 4 ... and n.
        replace: draw with replacement, as from a space of which only these errors are known.
        column: the error that counts.

    Raises:
        InputError: no trial has finished, or a size is below 1 (or, without replacement, above n).
    """
    errors = _errors(results, column)
    chosen = doubling_sizes(errors.size) if sizes is None else sizes
    mean, deviation = expected_best(errors, chosen, replace=replace)
    return SearchCurve(results.name, np.array(chosen, np.int64), mean, deviation, errors.size, replace, results.metric)


def expected_best(
    errors: ArrayLike, sizes: Sequence[int], *, replace: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the least of k of the errors, for each k. Two arrays of shape (k,).

    Raises:
        InputError: there is no error, an error is not finite, or a size is out of range.

    >>> mean, _ = expected_best([1.0, 2.0, 3.0], [1, 2, 3])
    >>> mean.round(3).tolist()
    [2.0, 1.333, 1.0]
    """
    ascending = np.sort(np.asarray(errors, np.float64).ravel())
    if not ascending.size or not np.isfinite(ascending).all():
        raise InputError("a search needs at least one error, and all errors must be finite")
    for size in sizes:
        if size < 1 or (size > ascending.size and not replace):
            limit = "" if replace else f" and at most {ascending.size}, the number of networks"
            raise InputError(f"a search must draw at least 1 network{limit}, not {size}")
    weights = np.array([_weights(ascending.size, size, replace) for size in sizes]).reshape(len(sizes), ascending.size)
    mean = weights @ ascending
    deviation = np.sqrt((weights * (ascending - mean[:, None]) ** 2).sum(axis=1))
    return mean, deviation


def doubling_sizes(n: int) -> list[int]:
    """Return 1, 2, 4 and so on below n, and n.

    >>> doubling_sizes(6)
    [1, 2, 4, 6]
    """
    return [*(2**power for power in range(math.ceil(math.log2(n)))), n]


def _errors(results: Results, column: ErrorColumn) -> NDArray[np.float64]:
    errors = results.errors(column)
    if not errors.size:
        raise InputError(f"{results.name} has no trial to search among: {results.counts.sentence()}")
    return errors


def _weights(n: int, k: int, replace: bool) -> NDArray[np.float64]:
    """Return the probability that rank 1, 2 ... n is the best of k."""
    rank = np.arange(1, n + 1)
    if replace:
        weights: NDArray[np.float64] = ((n - rank + 1) / n) ** k - ((n - rank) / n) ** k
        return weights
    # C(n - r, k - 1) / C(n, k): the others are from the n - r worse ones. Each is a multiple of the previous one.
    ratios = np.maximum(n - rank[:-1] - k + 1, 0) / (n - rank[:-1])
    return (k / n) * np.cumprod(np.concatenate([[1.0], ratios]))
