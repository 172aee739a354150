"""Learning curves of the best, median and worst networks, and the rank correlation of early and final errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.edf import check_level
from designspace.analysis.paired import spearman
from designspace.analysis.results import Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.trial import EpochRecord


@dataclass(frozen=True, eq=False, repr=False)
class LearningCurve(Outlined):
    """The errors of one network, epoch by epoch."""

    trial: str
    kind: str
    """``best``, ``median`` or ``worst``."""
    final_error: float
    epochs: NDArray[np.int64]
    """From 1. All arrays have shape (epochs,)."""
    train_errors: NDArray[np.float64]
    """In percent, measured while the network was trained; NaN if another metric is used."""
    test_errors: NDArray[np.float64]
    """Values of the metric after each epoch."""
    metric: Metric = TOP1_ERROR

    @property
    def least(self) -> tuple[int, float]:
        """The first epoch with the best test error, and that error."""
        index = int(np.argmin(self.metric.oriented(self.test_errors)))
        return int(self.epochs[index]), float(self.test_errors[index])


@dataclass(frozen=True, eq=False, repr=False)
class LearningCurves(Outlined):
    """Learning curves of some networks of a population."""

    name: str
    curves: tuple[LearningCurve, ...]
    n: int
    """Number of done networks with known epochs, from which the curves were chosen."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    def table(self) -> pd.DataFrame:
        """Return a table with one row per network and epoch."""
        tables = [
            pd.DataFrame(
                {
                    "run": self.name,
                    "trial": curve.trial,
                    "kind": curve.kind,
                    "epoch": curve.epochs,
                    "train_error": curve.train_errors,
                    "test_error": curve.test_errors,
                }
            )
            for curve in self.curves
        ]
        return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True, eq=False, repr=False)
class EpochRanks(Outlined):
    """Rank correlation of the errors after each epoch with the final errors."""

    name: str
    epochs: NDArray[np.int64]
    """All arrays have shape (epochs,)."""
    correlation: NDArray[np.float64]
    """Spearman's rank correlation of the error after that epoch with the final error; NaN if one is constant."""
    low: NDArray[np.float64]
    """Lower end of the interval of the correlation, of confidence 1 - ``level``; NaN for fewer than 4 networks."""
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    """Number of networks that count at that epoch."""
    level: float
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    def table(self) -> pd.DataFrame:
        """Return a table with one row per epoch."""
        ends = {"low": self.low, "high": self.high, "n": self.n, "level": self.level}
        return pd.DataFrame({"run": self.name, "epoch": self.epochs, "correlation": self.correlation} | ends)


def learning_curves(results: Results, count: int = 1) -> LearningCurves:
    """Return the curves of the ``count`` best, median and worst of the done networks whose epochs are known.

    If there are few networks, each is used once: as best, else as worst, else as median. Failed trials have no final
    error, so they are not among the worst.

    Raises:
        InputError: ``count`` is below 1, or no done trial has known epochs.
    """
    if count < 1:
        raise InputError(f"count must be at least 1 network, not {count}")
    ranked = _with_epochs(results)
    trials, n = list(ranked), len(ranked)
    middle = max(0, (n - count) // 2)
    kinds: dict[str, str] = {}
    for kind, chosen in (
        ("best", trials[:count]),
        ("worst", trials[::-1][:count]),
        ("median", trials[middle : middle + count]),
    ):
        for trial in chosen:
            kinds.setdefault(trial, kind)
    order = [trial for kind in ("best", "median", "worst") for trial in trials if kinds.get(trial) == kind]
    curves = tuple(_curve(trial, kinds[trial], *ranked[trial], results.metric) for trial in order)
    return LearningCurves(results.name, curves, n, results.metric)


def epoch_ranks(results: Results, level: float = 0.05) -> EpochRanks:
    """Return Spearman's correlation of the error after each epoch with the final error, over the done networks.

    It shows how much shorter a sweep could have been. At the last epoch it is 1 by construction.

    Raises:
        InputError: no done trial has known epochs, or ``level`` is not between 0 and 1.
    """
    check_level(level)
    ranked = _with_epochs(results)
    at: dict[int, list[tuple[float, float]]] = {}
    for final, history in ranked.values():
        for record in history:
            at.setdefault(record.epoch, []).append((record.test_error, final))
    epochs = sorted(at)
    pairs = [np.array(at[epoch]).T for epoch in epochs]
    estimates = [spearman(early, final, level) for early, final in pairs]
    correlation, low, high = np.array([(estimate.value, estimate.low, estimate.high) for estimate in estimates]).T
    counts = np.array([len(at[epoch]) for epoch in epochs])
    return EpochRanks(results.name, np.array(epochs), correlation, low, high, counts, level, results.metric)


def _with_epochs(results: Results) -> dict[str, tuple[float, tuple[EpochRecord, ...]]]:
    """Return the final error and epochs of each done trial whose epochs are known, the best first."""
    best = results.best(len(results.table))
    known: Mapping[str, tuple[EpochRecord, ...]] = results.histories
    pairs = zip(best["trial"].tolist(), best["final_error"].tolist(), strict=True)
    ranked = {trial: (error, known[trial]) for trial, error in pairs if known.get(trial)}
    if not ranked:
        raise InputError(f"{results.name}: no done trial has known epochs ({results.counts.sentence()})")
    return ranked


def _curve(
    trial: str, kind: str, final_error: float, history: tuple[EpochRecord, ...], metric: Metric
) -> LearningCurve:
    columns = ([record.train_error for record in history], [record.test_error for record in history])
    train, test = (np.array(column, np.float64) for column in columns)
    epochs = np.array([record.epoch for record in history])
    return LearningCurve(trial, kind, final_error, epochs, train, test, metric)
