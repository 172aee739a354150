"""Tests of whether some networks of a population differ from the others in complexity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.spaces.constraints import QUANTITIES
from designspace.support.text import prefixed

P = 0.05
"""Significance level of the rank test of each complexity."""


@dataclass(frozen=True, slots=True)
class ComplexityDifferences:
    """The complexities in which some networks differ from others; empty if they do not."""

    medians: tuple[str, ...]
    """The medians of each, such as ``median flops 1.2 M against 2.4 M``."""
    p_values: Mapping[str, float]
    """P values of Mann and Whitney's test, by complexity."""


def complexity_differences(
    table: pd.DataFrame, some: NDArray[np.bool_], others: NDArray[np.bool_]
) -> ComplexityDifferences:
    """Find the complexities in which some networks of a table differ from others (Mann and Whitney's test).

    Unknown complexities are not compared.

    Args:
        table: networks with their flops, params and activations.
        some: mask of the rows of some networks.
        others: mask of the rows of the others.
    """
    from scipy import stats

    medians: list[str] = []
    p_values = {}
    for name in QUANTITIES:
        values = table[name].to_numpy(np.float64)
        some_values, other_values = values[some & ~np.isnan(values)], values[others & ~np.isnan(values)]
        if not some_values.size or not other_values.size:
            continue
        p = float(stats.mannwhitneyu(some_values, other_values).pvalue)
        if p < P:
            first, second = prefixed(float(np.median(some_values))), prefixed(float(np.median(other_values)))
            medians.append(f"median {name} {first} against {second}")
            p_values[name] = p
    return ComplexityDifferences(tuple(medians), p_values)
