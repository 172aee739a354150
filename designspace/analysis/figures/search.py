"""Figure of the efficiency of random search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from designspace.analysis.figures.error_axis import set_error_axis
from designspace.analysis.figures.style import colour, dashes, marker, plain, short, style
from designspace.trials.metric import TOP1_ERROR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.search import SearchCurve


def draw_search(ax: Axes, curves: Sequence[SearchCurve], *, deviations: float = 1.0) -> None:
    """Draw the expected best error of k networks, shaded by its standard deviation from search to search.

    See figure 9, right, of "Designing Network Design Spaces"; figure 7 of "On Network Design Spaces" uses 2 deviations.

    Args:
        ax: axes to draw into.
        curves: curves of the spaces.
        deviations: half the height of the shaded range, in standard deviations; 0 for none.
    """
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    with style():
        for index, curve in enumerate(curves):
            shade = colour(index)
            margin = deviations * curve.deviation
            for edge in (curve.mean - margin, curve.mean + margin) if deviations else ():
                ax.plot(curve.sizes, edge, color=shade, alpha=0.45, linewidth=0.6)
            ax.fill_between(curve.sizes, curve.mean - margin, curve.mean + margin, color=shade, alpha=0.1, linewidth=0)
            look = {"color": shade, "linestyle": dashes(index), "marker": marker(index), "markersize": 4}
            ax.plot(curve.sizes, curve.mean, label=plain(f"{short(curve.name)}, n = {curve.n}"), **look)
        largest = max((int(curve.sizes.max()) for curve in curves if curve.sizes.size), default=1)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator([2**power for power in range(largest.bit_length())]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.set_xlabel("networks drawn at random")
        metric = curves[0].metric if curves else TOP1_ERROR
        set_error_axis(ax, "y", metric, metric.label.replace(metric.name, f"{metric.name} of the best", 1))
        if curves:
            ax.legend(frameon=False, fontsize=8)
