"""Do some networks of a population have other complexities than the rest of it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.spaces.constraints import QUANTITIES
from designspace.support.text import quantity

P = 0.05
"""Significance level of the rank test of each complexity."""


@dataclass(frozen=True, slots=True)
class Unlike:
    """In which complexities some networks differ from others; empty if they do not."""

    medians: tuple[str, ...]
    """The medians of each, as ``median flops 1.2 M against 2.4 M``."""
    p_values: Mapping[str, float]
    """Of Mann and Whitney's test, by complexity."""


def unlike(table: pd.DataFrame, some: NDArray[np.bool_], others: NDArray[np.bool_]) -> Unlike:
    """Find the complexities in which some networks of a table differ from others (Mann and Whitney's test).

    Complexities that are not known are not compared.

    Args:
        table: networks with their flops, params and activations.
        some: which rows are some of them.
        others: which rows are the others.
    """
    from scipy import stats

    medians: list[str] = []
    p_values = {}
    for name in QUANTITIES:
        values = table[name].to_numpy(np.float64)
        ours, theirs = values[some & ~np.isnan(values)], values[others & ~np.isnan(values)]
        if not ours.size or not theirs.size:
            continue
        p = float(stats.mannwhitneyu(ours, theirs).pvalue)
        if p < P:
            first, second = quantity(float(np.median(ours))), quantity(float(np.median(theirs)))
            medians.append(f"median {name} {first} against {second}")
            p_values[name] = p
    return Unlike(tuple(medians), p_values)
