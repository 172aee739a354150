"""Populations of which some trials were stopped early: what is known about their errors, and how two of them compare.

The errors of stopped trials are censored: all that is known of them is that a random sample of their like was trained
to the end. The networks whose errors after some epochs were among the best are all trained to the end. Of the others,
only those in the random sample are, so each of these stands for several (double sampling for stratification: Neyman
1938; Cochran, "Sampling Techniques", 1977, section 12.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.edf import EDF, Bounds, edf
from designspace.analysis.effects import Estimate, difference_interval, not_above, probability_of_variances
from designspace.analysis.results import Results

MIN_REPRESENTATIVES = 3
"""Minimum number of networks trained to the end that stand for others: fewer do not show how much those vary."""


@dataclass(frozen=True, slots=True, eq=False)
class Represented:
    """The errors of the trials that were trained to the end, and how many trials each of them stands for."""

    errors: NDArray[np.float64]  # (n,)
    weights: NDArray[np.float64]  # (n,)
    """With sum ``total``."""
    stands_for_others: NDArray[np.bool_]  # (n,)
    """Which of them are of the stratum in which trials were stopped."""
    total: int
    """Number of all trials, without those that the machine ended."""
    stopped: int
    """Number of trials that were stopped."""

    @staticmethod
    def of(results: Results) -> Represented | None:
        """Return what the trials of a population stand for.

        None if no trial was stopped, some that go on are unfinished, or too few stand for the stopped ones; then only
        the random sample counts (see `Results.counted`).
        """
        stopped = results.stopped()
        if not stopped.any() or results.counts.unfinished:
            return None
        goes_on = ~np.asarray((results.table[["sampled", "promising"]] == "no").all(axis=1))
        trained = results.where(goes_on, results.name)
        counted = trained.counted()
        others = np.asarray(trained.table["promising"] == "no")[counted]
        if others.sum() < MIN_REPRESENTATIVES:
            return None
        total = int((~results.left_out()).sum())
        of_others = int(np.asarray(results.table["promising"] == "no")[~results.left_out()].sum())
        weights = np.where(others, of_others / others.sum(), (total - of_others) / max(1, (~others).sum()))
        return Represented(trained.errors(), weights, others, total, int(stopped.sum()))

    @staticmethod
    def whole(results: Results) -> Represented:
        """Return the trials of a population that count, each of which stands for itself."""
        errors = results.errors()
        return Represented(errors, np.ones(errors.size), np.zeros(errors.size, np.bool_), errors.size, 0)

    def variances(self, values: NDArray[np.float64]) -> tuple[list[float], list[float]]:
        """Return the variances of the two stages of a weighted mean, and their degrees of freedom.

        The first stage is the draw of the networks from their space, the second that of the sample from the networks
        whose errors were not among the best.

        Args:
            values: one of each trial. Shape (n,).
        """
        mean = float(self.weights @ values) / self.total
        size = self.total**2 / float(self.weights @ self.weights)  # as many trials of equal weights say as much
        of_space = float(self.weights @ (values - mean) ** 2) / self.total * size / (size - 1)
        variances, freedoms = [of_space / self.total], [size - 1]
        if self.stopped:
            others = values[self.stands_for_others]
            of_all = float(self.weights[self.stands_for_others].sum())
            part = (of_all / self.total) ** 2 * (1 / others.size - 1 / of_all)
            variances.append(part * float(others.var(ddof=1)))
            freedoms.append(others.size - 1.0)
        return variances, freedoms


def compare_represented(a: Represented, b: Represented, level: float) -> tuple[Estimate, Estimate]:
    """Return P(A < B) + P(A = B) / 2, and the difference of the means, of two populations.

    Without stopped trials, the first is `probability_interval` and the second `mean_difference`.
    """
    above = 1 - _not_above(b, a.errors)  # fraction of B above each error of A, ties shared
    below = _not_above(a, b.errors)
    value = float(a.weights @ above) / a.total
    parts = [a.variances(above), b.variances(below)]
    variances, freedoms = ([each for part in parts for each in part[k]] for k in (0, 1))
    pairs = min(a.errors.size, b.errors.size)
    probability = probability_of_variances(value, variances, freedoms, pairs, level)
    means = [float(side.weights @ side.errors) / side.total for side in (a, b)]
    parts = [side.variances(side.errors) for side in (a, b)]
    variances, freedoms = ([each for part in parts for each in part[k]] for k in (0, 1))
    return probability, difference_interval(means[0] - means[1], variances, freedoms, level)


def edf_of(results: Results) -> EDF:
    """Return the EDF of a population, in which trials stand for those that were stopped early, and its bounds then.

    The bounds are those of the EDF of all trials whatever the errors of the stopped ones would have been.
    """
    represented = Represented.of(results)
    if represented is None:
        return edf(results.errors(), metric=results.metric)
    curve = edf(represented.errors, represented.weights, results.metric)
    known = np.searchsorted(np.sort(represented.errors), curve.errors, side="right") / represented.total
    return replace(curve, bounds=Bounds(known, known + represented.stopped / represented.total))


def _not_above(side: Represented, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of a population below each error in ``at``; equal ones count half."""
    order = np.argsort(side.errors, kind="stable")
    return not_above(side.errors[order], at, side.weights[order]) / side.total
