"""Figures with several panels, as in both papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from designspace.analysis.figures import Drawing, draw_edf, edf_numbers, finish, new_grid
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.support.errors import InputError

Panels = Mapping[str, Sequence[Results]]
"""The title of each panel and its results."""


def all_results(panels: Panels) -> list[Results]:
    """Return all results of some panels, each once.

    Raises:
        InputError: there are none.
    """
    results = list({id(results): results for group in panels.values() for results in group}.values())
    if not results:
        raise InputError("there are no results to draw")
    return results


def panel_edfs(
    name: str,
    title: str,
    panels: Panels,
    caption: str,
    *,
    columns: int = 3,
    bands: bool = True,
    level: float = 0.05,
) -> Drawing:
    """Draw a panel of EDFs for each group of results, with at most ``columns`` panels side by side."""
    results = all_results(panels)
    across = min(columns, len(panels))
    tallest = max(len(group) for group in panels.values())
    rows = -(-len(panels) // across)
    figure, grid = new_grid(rows, across, width=3.6, height=3.2 + 0.17 * tallest)
    numbers = []
    for ax, (panel, group) in zip(grid.flat, panels.items(), strict=False):
        edfs = Populations.of(group).edfs()
        draw_edf(ax, edfs, bands, level=level, chance_error=group[0].chance_error, title=panel)
        numbers.append(edf_numbers(edfs, level).assign(panel=panel))
    hide_unused_axes(grid, len(panels))
    metric = results[0].metric
    best = "min" if metric.direction == "lower" else "max"
    unit = " in percent" if metric.unit == "%" else f" in {metric.unit}" if metric.unit else ""
    full_caption = f"{caption} {metric.title} EDFs with [n | {best} | mean] {metric.name}{unit}" + (
        f"; shaded: {100 * (1 - level):g}% confidence bands." if bands else "."
    )
    return finish(name, title, figure, pd.concat(numbers, ignore_index=True), full_caption, results)


def hide_unused_axes(grid: object, used: int) -> None:
    """Hide the axes that no panel uses."""
    for ax in list(grid.flat)[used:]:  # type: ignore[attr-defined]
        ax.set_axis_off()
