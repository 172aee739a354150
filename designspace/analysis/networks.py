"""The best and the worst networks of a population, as the width of each block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.lines import LineFit, fit_line, stages_of_row
from designspace.analysis.results import Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError

_REGNET = ("w_0", "w_a", "w_m")


@dataclass(frozen=True, slots=True, repr=False)
class Staircase(Outlined):
    """The widths of the blocks of one network (figures 6, 8, 15 and 16 of "Designing Network Design Spaces")."""

    trial: str
    id: str
    error: float
    """Percent."""
    depths: tuple[int, ...]
    """Number of blocks of each stage."""
    widths: tuple[int, ...]
    """Width of each stage."""
    label: str
    """Short text with error, depths, widths and, if there is one, the line."""
    line: tuple[float, float, float] | None = None
    """(w_0, w_a, w_m) from which a RegNet was made."""
    fit: LineFit | None = None
    """The quantised line that fits best, if it was requested."""

    @property
    def block_widths(self) -> NDArray[np.int64]:
        """Width of each block. Shape (blocks,)."""
        return np.repeat(np.array(self.widths, np.int64), self.depths)

    def table(self) -> pd.DataFrame:
        """Return one row per block, with u_j = w_0 + w_a j (equation 2) and the width of the fit if there are any."""
        blocks = np.arange(sum(self.depths))
        stages = np.repeat(np.arange(1, len(self.depths) + 1), self.depths)
        head = {"trial": self.trial, "error": self.error, "block": blocks, "stage": stages}
        table = pd.DataFrame(head | {"width": self.block_widths})
        if self.line is not None:
            table["line"] = self.line[0] + self.line[1] * blocks
        if self.fit is not None:
            table["fit"] = np.repeat(self.fit.widths, self.fit.depths)
        return table


@dataclass(frozen=True, slots=True, repr=False)
class Staircases(Outlined):
    """The best and the worst networks of one population."""

    name: str
    best: tuple[Staircase, ...]
    """The best first."""
    worst: tuple[Staircase, ...]
    """The worst first."""

    def __iter__(self) -> Iterator[Staircase]:
        """Iterate over the best, then the worst networks."""
        return iter((*self.best, *self.worst))

    def table(self) -> pd.DataFrame:
        """Return one row per block of each network."""
        groups = [("best", network) for network in self.best] + [("worst", network) for network in self.worst]
        tables = [network.table().assign(group=group) for group, network in groups]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["trial", "group"])
        table.insert(0, "run", self.name)
        return table


def best_and_worst(results: Results, count: int = 3, *, fits: bool = False) -> Staircases:
    """Return the ``count`` done networks with the least and with the greatest errors; no network is in both.

    Failed trials are not among the worst: they have no error of their own, and often fail for reasons other than the
    network.

    Args:
        results: a population.
        count: number of best and of worst networks; fewer if there are fewer than twice as many.
        fits: fit a quantised line to each network, as in figure 8.

    Raises:
        InputError: ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"count must be at least 1 network, not {count}")
    ranked = results.best(len(results.table)).index.tolist()
    best, worst = ranked[:count], ranked[count:][::-1][:count]
    if len(ranked) < 2 * count:
        best, worst = ranked[: (len(ranked) + 1) // 2], ranked[(len(ranked) + 1) // 2 :][::-1]
    stairs = [tuple(staircase(results, row, fit=fits) for row in rows) for rows in (best, worst)]
    return Staircases(results.name, *stairs)


def staircase(results: Results, row: int, *, fit: bool = False) -> Staircase:
    """Return the network in a row of the table.

    Raises:
        InputError: there is no such row.
    """
    if not 0 <= row < len(results.table):
        raise InputError(f"{results.name} has the rows 0 to {len(results.table) - 1}, not {row}")
    values = results.table.iloc[row]
    depths, widths = stages_of_row(results, row)
    line = None
    if set(_REGNET) <= set(results.table.columns):
        w_0, w_a, w_m = (float(values[name]) for name in _REGNET)
        line = None if np.isnan([w_0, w_a, w_m]).any() else (w_0, w_a, w_m)
    error = float(values["final_error"])
    fitted = fit_line(depths, widths) if fit else None
    label = _label(results.metric.text(error, results.metric.digits - 1), depths, widths, line, fitted)
    return Staircase(values["trial"], values["id"], error, depths, widths, label, line, fitted)


def _label(
    error: str,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    line: tuple[float, float, float] | None,
    fit: LineFit | None,
) -> str:
    """Return the label of a network, one or two lines of text."""
    text = f"{error}  d {list(depths)}  w {list(widths)}"
    if fit is not None:
        line = line or (fit.w_0, fit.w_a, fit.w_m)
    if line is not None:
        text += f"\nw_0 {line[0]:g}  w_a {line[1]:.1f}  w_m {line[2]:.2f}"
    return text if fit is None else f"{text}  e_fit {fit.e_fit:.2f}"
