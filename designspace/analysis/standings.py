"""Masks of the trials of a table of results that were stopped early, and of those that are a random sample.

The columns come from `designspace.trials.fidelity`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.failures import has_text


def continues(table: pd.DataFrame) -> NDArray[np.bool_]:  # (trials,)
    """Return which trials were to be trained to their ends: all, unless some were stopped early."""
    if "sampled" not in table.columns:
        return np.ones(len(table), np.bool_)
    return ~(has_text(table, "sampled", "no") & has_text(table, "promising", "no"))


def is_stopped(table: pd.DataFrame) -> NDArray[np.bool_]:  # (trials,)
    """Return which trials were stopped early and have not been trained to their ends since."""
    stopped = ~continues(table)
    if stopped.any():
        stopped &= ~(has_text(table, "status", "done") | has_text(table, "status", "failed"))
    return stopped


def is_sampled(table: pd.DataFrame) -> NDArray[np.bool_]:  # (trials,)
    """Return which trials are a random sample: all, unless some were stopped early.

    Trials of other runs in the same table, of which none was stopped, count as sampled.
    """
    return ~has_text(table, "sampled", "no") if is_stopped(table).any() else np.ones(len(table), np.bool_)
