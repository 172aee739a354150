"""Parameters of the stages of networks as columns, and numbers that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from designspace.analysis.results import Results

Column = NDArray[np.float64]


def stage_numbers(results: Results) -> range:
    """Return the numbers of the stages, from 1."""
    return range(1, results.num_stages + 1)


def stage_columns(results: Results, letter: str) -> NDArray[np.float64]:  # (rows, stages)
    """Return a parameter of all stages: depth ``d``, width ``w``, ratio ``b`` or group width ``g``; NaN if missing."""
    names = [f"{letter}{stage}" for stage in stage_numbers(results)]
    columns = results.table[names].to_numpy(np.float64)
    depths = results.table[[f"d{stage}" for stage in stage_numbers(results)]].to_numpy(np.float64)
    return np.where(depths > 0, columns, np.nan)  # a missing stage may be written as 0


def derived(results: Results, name: str) -> Column:
    """Return a number that follows from the stages; NaN if their columns are missing (imported results)."""
    if name == "d" and not results.num_stages and "depth" in results.table.columns:
        return results.table["depth"].to_numpy(np.float64)
    return DERIVED[name](results) if results.num_stages else np.full(len(results.table), np.nan)


def _depth(results: Results) -> Column:
    """Return the number of blocks of all stages; NaN if none is known."""
    depth = np.nansum(stage_columns(results, "d"), axis=1)
    return np.where(depth > 0, depth, np.nan)


def _stages(results: Results) -> Column:
    """Return the number of stages."""
    return np.asarray(np.isfinite(stage_columns(results, "d")).sum(axis=1), np.float64)


def _mean_width(results: Results) -> Column:
    """Return the mean width over blocks, so that deep stages count more."""
    depths, widths = stage_columns(results, "d"), stage_columns(results, "w")
    return np.asarray(np.nansum(depths * widths, axis=1) / _depth(results), np.float64)


def _last_width(results: Results) -> Column:
    """Return the width of the last stage."""
    widths = stage_columns(results, "w")
    last = np.maximum(_stages(results).astype(int) - 1, 0)
    return np.asarray(widths[np.arange(len(widths)), last])


def _shared_ratio(results: Results) -> Column:
    """Return the bottleneck ratio that all stages of a network share; NaN if they differ."""
    ratios = stage_columns(results, "b")
    first = ratios[:, 0]
    is_same = (np.isnan(ratios) | (ratios == first[:, None])).all(axis=1)
    return np.where(is_same, first, np.nan)


def _shared_group_width(results: Results) -> Column:
    """Return the group width that all stages of a network share; NaN if they differ.

    A stage narrower than the group width has one group of its whole inner width ("Designing Network Design Spaces",
    appendix D), which does not count as a difference. If the group width exceeds the inner width of every stage, the
    result is that of the widest stage.
    """
    groups = stage_columns(results, "g")
    inner = stage_columns(results, "w") / stage_columns(results, "b")
    widest = np.nanmax(groups, axis=1, initial=0.0)
    is_same = (np.isnan(groups) | (groups == widest[:, None]) | (np.abs(groups - inner) < 0.5)).all(axis=1)
    return np.where(is_same, widest, np.nan)


DERIVED: dict[str, Callable[[Results], Column]] = {
    "d": _depth,
    "stages": _stages,
    "b": _shared_ratio,
    "g": _shared_group_width,
    "w_mean": _mean_width,
    "w_last": _last_width,
}
