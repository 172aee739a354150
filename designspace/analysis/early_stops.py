"""EDFs and comparisons of populations of which some trials were stopped early.

The errors of stopped trials are censored: all that is known about them is that a random sample of similar trials was
trained to the end. The networks whose errors after some epochs were among the best are all trained to the end. Of the
others, only those in the random sample are, so each of these represents several (double sampling for stratification:
Neyman 1938; Cochran, "Sampling Techniques", 1977, section 12.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.edf import EDF, Bounds, edf
from designspace.analysis.effects import Estimate, difference_interval, not_above, probability_of_variances
from designspace.analysis.failures import has_text
from designspace.analysis.results import Results
from designspace.analysis.standings import continues, is_stopped

MIN_REPRESENTATIVES = 3
"""Minimum number of networks that represent stopped ones: fewer do not show how much those vary."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightedErrors:
    """Errors of the trials that were trained to the end, weighted by the number of trials that each represents."""

    errors: NDArray[np.float64]  # (n,)
    weights: NDArray[np.float64]  # (n,)
    """With sum ``total``."""
    is_representative: NDArray[np.bool_]  # (n,)
    """Whether they belong to the stratum in which trials were stopped."""
    total: int
    """Number of all trials, without those that the machine ended."""
    stopped: int
    """Number of trials that were stopped."""

    @staticmethod
    def of(results: Results) -> WeightedErrors | None:
        """Return the weighted errors of a population.

        Returns None if no trial was stopped, if trials that continue are unfinished, or if too few represent the
        stopped ones. Then only the random sample counts (see `Results.counted`).
        """
        stopped = int(is_stopped(results.table).sum())
        if not stopped or results.counts.unfinished:
            return None
        trained = results.where(continues(results.table), results.name)
        representative = has_text(trained.table, "promising", "no")[trained.counted()]
        if representative.sum() < MIN_REPRESENTATIVES:
            return None
        machine_ended = results.left_out()
        total = int((~machine_ended).sum())
        represented = int((has_text(results.table, "promising", "no") & ~machine_ended).sum())
        weight = represented / representative.sum()
        other_weight = (total - represented) / max(1, (~representative).sum())
        weights = np.where(representative, weight, other_weight)
        return WeightedErrors(trained.errors(), weights, representative, total, stopped)

    @staticmethod
    def unweighted(results: Results) -> WeightedErrors:
        """Return the errors of the trials of a population that count, each with weight 1."""
        errors = results.errors()
        return WeightedErrors(errors, np.ones(errors.size), np.zeros(errors.size, np.bool_), errors.size, 0)

    def mean(self, values: NDArray[np.float64]) -> float:
        """Return the weighted mean of one value per trial, which has shape (n,)."""
        return float(self.weights @ values) / self.total

    def variances(self, values: NDArray[np.float64]) -> tuple[list[float], list[float]]:
        """Return the variances of both stages of a weighted mean, and their degrees of freedom.

        The first stage is the draw of the networks from their space, the second that of the sample from the networks
        whose errors were not among the best.

        Args:
            values: one per trial. Shape (n,).
        """
        size = self.total**2 / float(self.weights @ self.weights)  # as many trials of equal weights say as much
        of_space = self.mean((values - self.mean(values)) ** 2) * size / (size - 1)
        variances, freedoms = [of_space / self.total], [size - 1]
        if self.stopped:
            values = values[self.is_representative]
            represented = float(self.weights[self.is_representative].sum())
            factor = (represented / self.total) ** 2 * (1 / values.size - 1 / represented)
            variances.append(factor * float(values.var(ddof=1)))
            freedoms.append(values.size - 1.0)
        return variances, freedoms

    def not_above(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fraction of the population below each error in ``at``; equal ones count half."""
        order = np.argsort(self.errors, kind="stable")
        return not_above(self.errors[order], at, self.weights[order]) / self.total


def compare_weighted(a: WeightedErrors, b: WeightedErrors, level: float) -> tuple[Estimate, Estimate]:
    """Return P(A < B) + P(A = B) / 2, and the difference of the means, of two populations.

    Without stopped trials, the first is `probability_interval` and the second `mean_difference`.
    """

    def variances(of_a: NDArray[np.float64], of_b: NDArray[np.float64]) -> tuple[list[float], list[float]]:
        first, second = a.variances(of_a), b.variances(of_b)
        return first[0] + second[0], first[1] + second[1]

    above, below = 1 - b.not_above(a.errors), a.not_above(b.errors)  # of the other population, ties shared
    pairs = min(a.errors.size, b.errors.size)
    probability = probability_of_variances(a.mean(above), *variances(above, below), pairs, level)
    difference = a.mean(a.errors) - b.mean(b.errors)
    return probability, difference_interval(difference, *variances(a.errors, b.errors), level)


def edf_of(results: Results) -> EDF:
    """Return the EDF of a population. If trials were stopped early, others represent them, and the EDF has bounds.

    The bounds contain the EDF of all trials, whatever the errors of the stopped ones would have been.
    """
    weighted = WeightedErrors.of(results)
    if weighted is None:
        return edf(results.errors(), metric=results.metric)
    curve = edf(weighted.errors, weighted.weights, results.metric)
    known = np.searchsorted(curve.errors, curve.errors, side="right") / weighted.total
    return replace(curve, bounds=Bounds(known, known + 1 - curve.n / weighted.total))
