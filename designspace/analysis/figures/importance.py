"""Figure of the importance of parameters for the error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from designspace.analysis.figures.style import GREY, colour, plain, short, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.importance import Importances


def draw_importance(ax: Axes, importances: Importances, *, most: int = 12) -> None:
    """Draw the importance of each parameter as a bar with its deviation, and its share of the variance as a diamond.

    The bars are grey if the forest explains almost nothing of the error, because importances are then meaningless.

    Args:
        ax: axes to draw into.
        importances: importances to draw.
        most: largest number of parameters to draw, the most important first; the title states how many there are.
    """
    shown = importances.parameters[:most]
    with style():
        positions = np.arange(len(shown))
        fill = colour(0) if importances.explains else "#bbbbbb"
        lengths, deviations = (
            [parameter.importance for parameter in shown],
            [parameter.deviation for parameter in shown],
        )
        ax.barh(
            positions, lengths, xerr=deviations, color=fill, height=0.65, ecolor="black", capsize=2, label="importance"
        )
        shares = [parameter.share for parameter in shown]
        ax.plot(shares, positions, "D", color="white", markeredgecolor="black", markersize=5, linestyle="none",
                label="share of the variance")  # fmt: skip
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(positions, [plain(parameter.quantity.name) for parameter in shown])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("decrease of R² when shuffled")
        selection = (
            f"first {len(shown)} of {len(importances.parameters)}, " if len(importances.parameters) > most else ""
        )
        fit = f"R² = {importances.r_squared:.2f} ± {importances.r_squared_deviation:.2f}, n = {importances.n}"
        warning = "" if importances.explains else "\nexplains almost nothing"
        ax.set_title(plain(f"{short(importances.name)}: {selection}{fit}{warning}"), loc="left", fontsize=8, color=GREY)
        ax.legend(frameon=False, fontsize=7, loc="lower right")
