"""Which parameters decide the error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from designspace.analysis.figures.style import GREY, colour, plain, short, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.importance import Importances


def draw_importance(ax: Axes, importances: Importances, *, most: int = 12) -> None:
    """Draw the importance of each parameter as a bar with its deviation, and its share of the variance as a diamond.

    The bars are grey where the forest tells next to nothing of the error, for then no importance means anything.

    Args:
        ax: where to draw.
        importances: what to draw.
        most: parameters to draw at most, the most important ones; the title says how many there are.
    """
    shown = importances.parameters[:most]
    with style():
        places = np.arange(len(shown))
        fill = colour(0) if importances.explains else "#bbbbbb"
        lengths, deviations = [one.importance for one in shown], [one.deviation for one in shown]
        ax.barh(
            places, lengths, xerr=deviations, color=fill, height=0.65, ecolor="black", capsize=2, label="importance"
        )
        ax.plot([one.share for one in shown], places, "D", color="white", markeredgecolor="black", markersize=5,
                linestyle="none", label="share of the variance")  # fmt: skip
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(places, [plain(one.metric.name) for one in shown])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("fall of R² when shuffled")
        few = f"first {len(shown)} of {len(importances.parameters)}, " if len(importances.parameters) > most else ""
        told = f"R² = {importances.r_squared:.2f} ± {importances.r_squared_deviation:.2f}, n = {importances.n}"
        nothing = "" if importances.explains else "\nexplains next to nothing"
        ax.set_title(plain(f"{short(importances.name)}: {few}{told}{nothing}"), loc="left", fontsize=8, color=GREY)
        ax.legend(frameon=False, fontsize=7, loc="lower right")
