"""Learning curves of the best, the middle and the worst network, and how soon the final ranking shows."""

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
from designspace.trials.trial import EpochRecord


@dataclass(frozen=True, eq=False, repr=False)
class LearningCurve(Outlined):
    """The errors of one network, epoch by epoch."""

    trial: str
    kind: str
    """``best``, ``median`` or ``worst``."""
    final_error: float
    """Per cent."""
    epochs: NDArray[np.int64]
    """From 1. All arrays have shape (epochs,)."""
    train_errors: NDArray[np.float64]
    """Per cent, measured while the network was learning."""
    test_errors: NDArray[np.float64]
    """Per cent, after each epoch."""

    @property
    def least(self) -> tuple[int, float]:
        """The epoch of least test error, the first of them, and that error."""
        place = int(np.argmin(self.test_errors))
        return int(self.epochs[place]), float(self.test_errors[place])


@dataclass(frozen=True, eq=False, repr=False)
class LearningCurves(Outlined):
    """Learning curves of some networks of a population."""

    name: str
    curves: tuple[LearningCurve, ...]
    n: int
    """Done networks whose epochs are known: those that were chosen from."""

    def table(self) -> pd.DataFrame:
        """One row for each epoch of each network."""
        tables = [
            pd.DataFrame(
                {
                    "run": self.name,
                    "trial": one.trial,
                    "kind": one.kind,
                    "epoch": one.epochs,
                    "train_error": one.train_errors,
                    "test_error": one.test_errors,
                }
            )
            for one in self.curves
        ]
        return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True, eq=False, repr=False)
class EpochRanks(Outlined):
    """How well the errors after each epoch rank the networks, compared with their final errors."""

    name: str
    epochs: NDArray[np.int64]
    """All arrays have shape (epochs,)."""
    correlation: NDArray[np.float64]
    """Spearman's rank correlation of the error after that epoch with the final error; NaN where one is constant."""
    low: NDArray[np.float64]
    """Lower end of the interval of the correlation, of confidence 1 - ``level``; NaN for fewer than 4 networks."""
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    """Networks that count at that epoch."""
    level: float

    def table(self) -> pd.DataFrame:
        """One row for each epoch."""
        ends = {"low": self.low, "high": self.high, "n": self.n, "level": self.level}
        return pd.DataFrame({"run": self.name, "epoch": self.epochs, "correlation": self.correlation} | ends)


def learning_curves(results: Results, count: int = 1) -> LearningCurves:
    """The curves of the ``count`` best, middle and worst of the done networks whose epochs are known.

    With few networks each is taken once: the best first, then the worst, then the middle. Failed trials have no end
    to compare, so they are not among the worst.

    Raises:
        InputError: ``count`` is below 1, or no done trial has known epochs.
    """
    if count < 1:
        raise InputError(f"count must be at least 1 network, not {count}")
    ranked = _with_epochs(results)
    trials, n = list(ranked), len(ranked)
    middle = max(0, (n - count) // 2)
    kinds: dict[str, str] = {}
    for kind, some in (
        ("best", trials[:count]),
        ("worst", trials[::-1][:count]),
        ("median", trials[middle : middle + count]),
    ):
        for trial in some:
            kinds.setdefault(trial, kind)
    order = [trial for wanted in ("best", "median", "worst") for trial in trials if kinds.get(trial) == wanted]
    curves = tuple(_curve(trial, kinds[trial], *ranked[trial]) for trial in order)
    return LearningCurves(results.name, curves, n)


def epoch_ranks(results: Results, level: float = 0.05) -> EpochRanks:
    """Spearman's correlation of the error after each epoch with the final error, over the done networks.

    It says how much shorter a sweep could have been. At the last epoch, where both errors are one, it says nothing.

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
    found = [spearman(early, final, level) for early, final in pairs]
    correlation, low, high = np.array([(one.value, one.low, one.high) for one in found]).T
    counts = np.array([len(at[epoch]) for epoch in epochs])
    return EpochRanks(results.name, np.array(epochs), correlation, low, high, counts, level)


def _with_epochs(results: Results) -> dict[str, tuple[float, tuple[EpochRecord, ...]]]:
    """Final error and epochs of each done trial whose epochs are known, the best first."""
    best = results.best(len(results.table))
    known: Mapping[str, tuple[EpochRecord, ...]] = results.histories
    pairs = zip(best["trial"], best["final_error"].tolist(), strict=True)
    found = {trial: (error, known[trial]) for trial, error in pairs if known.get(trial)}
    if not found:
        raise InputError(f"{results.name}: of no done trial are the epochs known ({results.counts.sentence()})")
    return found


def _curve(trial: str, kind: str, final_error: float, history: tuple[EpochRecord, ...]) -> LearningCurve:
    columns = ([record.train_error for record in history], [record.test_error for record in history])
    train, test = (np.array(column, np.float64) for column in columns)
    return LearningCurve(trial, kind, final_error, np.array([record.epoch for record in history]), train, test)
