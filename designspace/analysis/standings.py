"""Which trials of a table of results were stopped early, and which are a random sample whatever their errors are.

The columns come from `designspace.trials.fidelity`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.failures import has_text


def is_stopped(table: pd.DataFrame) -> NDArray[np.bool_]:  # (trials,)
    """Return which trials were stopped early and not trained to their ends since."""
    if "sampled" not in table.columns:
        return np.zeros(len(table), np.bool_)
    finished = has_text(table, "status", "done") | has_text(table, "status", "failed")
    return has_text(table, "sampled", "no") & has_text(table, "promising", "no") & ~finished


def is_sampled(table: pd.DataFrame) -> NDArray[np.bool_]:  # (trials,)
    """Return which trials are a random sample: all, unless some were stopped early.

    Trials of other runs in the same table, in which none was, are one, too.
    """
    return ~has_text(table, "sampled", "no") if is_stopped(table).any() else np.ones(len(table), np.bool_)
