"""Figure of the best values of a parameter across populations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from designspace.analysis.figures.scatter import set_quantity_axis
from designspace.analysis.figures.style import colour, plain, short, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.trends import Trend


def draw_trend(ax: Axes, trend: Trend, *, legend: bool = True) -> None:
    """Draw the values of a parameter in each population (figure 11 of "Designing Network Design Spaces").

    The light range covers all networks, the dark range good ones (the interval of the best value), and the line is its
    median. A cross is the network with the least error. A single population is drawn as bars.
    """
    with style():
        ends = np.concatenate([trend.least, trend.greatest])
        shade = colour(0)
        if len(trend.x) == 1 or trend.x_quantity is None:
            # Bars, because there are no values between separate populations that a shaded area could show.
            ax.vlines(trend.x, trend.least, trend.greatest, color=shade, alpha=0.3, linewidth=3, label="all")
            ax.vlines(trend.x, trend.low, trend.high, color=shade, alpha=0.75, linewidth=8, label="good")
            line = {"linestyle": "none"} if len(trend.x) == 1 else {"linestyle": (0, (1.2, 1.2)), "linewidth": 1.0}
        else:
            ax.fill_between(trend.x, trend.least, trend.greatest, color=shade, alpha=0.12, linewidth=0, label="all")
            ax.fill_between(trend.x, trend.low, trend.high, color=shade, alpha=0.4, linewidth=0, label="good")
            line = {"linestyle": "solid", "linewidth": 1.4}
        ax.plot(trend.x, trend.median, color="black", marker="o", markersize=4, label="best value", **line)
        ax.plot(trend.x, trend.best, color="black", marker="x", markersize=6, linestyle="none", label="best network")
        set_quantity_axis(ax, "y", trend.quantity, ends)
        if trend.x_quantity is None:
            labels = [plain(short(name, 16)) for name in trend.names]
            ax.set_xticks(trend.x, labels, rotation=30, ha="right", fontsize=8)
            ax.set_xlim(trend.x.min() - 0.5, trend.x.max() + 0.5)
        else:
            set_quantity_axis(ax, "x", trend.x_quantity, trend.x)
        if legend:
            ax.legend(frameon=False, fontsize=7, handlelength=1.5, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
