"""Figures of several panels, which both papers are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from designspace.analysis.figures import Drawing, draw_edf, edf_numbers, finish, new_grid
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.support.errors import InputError

Panels = Mapping[str, Sequence[Results]]
"""The title of each panel, and the results in it."""


def everything(panels: Panels) -> list[Results]:
    """All results of some panels, each once.

    Raises:
        InputError: there are none.
    """
    found = list({id(one): one for results in panels.values() for one in results}.values())
    if not found:
        raise InputError("there are no results to draw")
    return found


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
    """Draw a panel of EDFs for each group of results, so many beside each other."""
    results = everything(panels)
    across = min(columns, len(panels))
    tallest = max(len(group) for group in panels.values())
    rows = -(-len(panels) // across)
    figure, grid = new_grid(rows, across, width=3.6, height=3.2 + 0.17 * tallest)
    numbers = []
    for ax, (panel, group) in zip(grid.flat, panels.items(), strict=False):
        edfs = Populations.of(group).edfs()
        draw_edf(ax, edfs, bands, level=level, chance_error=group[0].chance_error, title=panel)
        numbers.append(edf_numbers(edfs, level).assign(panel=panel))
    hide_rest(grid, len(panels))
    told = f"{caption} Error EDFs with [n | min | mean] error in per cent" + (
        f"; shaded: {100 * (1 - level):g}% confidence bands." if bands else "."
    )
    return finish(name, title, figure, pd.concat(numbers, ignore_index=True), told, results)


def hide_rest(grid: object, used: int) -> None:
    """Take the axes away that no panel uses."""
    for ax in list(grid.flat)[used:]:  # type: ignore[attr-defined]
        ax.set_axis_off()
