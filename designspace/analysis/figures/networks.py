"""Networks as staircases of width against block, the line through the best, and how well lines fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from designspace.analysis.figures.scatter import ERROR_LABEL, draw_at_edge
from designspace.analysis.figures.style import colour, dashes, marker, plain, short, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.lines import MeanLine, PopulationFits
    from designspace.analysis.networks import Staircase


def draw_staircases(ax: Axes, stairs: Sequence[Staircase], *, log: bool = False, first: int = 0) -> None:
    """Draw networks as width against block index (figures 6, 8, 15 and 16 of "Designing Network Design Spaces").

    A dot stands at each stage's first block. Thin and straight is the line u_j = w_0 + w_a j that a RegNet was made
    from; thin, dotted and with steps is the quantised line that comes closest, where it was fitted.

    Args:
        ax: where to draw.
        stairs: the networks; none draws empty axes.
        log: a logarithmic axis of widths.
        first: the place of the first network's colour and line style.
    """
    with style():
        for place, one in enumerate(stairs, start=first):
            look: dict[str, Any] = {"color": colour(place), "linestyle": dashes(place)}
            _draw_steps(ax, one.depths, one.widths, label=plain(one.label), **look)
            starts = np.cumsum([0, *one.depths[:-1]])
            ax.plot(starts, one.widths, marker(place), color=colour(place), markersize=4)
            blocks = np.arange(sum(one.depths))
            if one.line is not None:
                ax.plot(blocks, one.line[0] + one.line[1] * blocks, color=colour(place), linewidth=0.7, alpha=0.8)
            if one.fit is not None:
                _draw_steps(ax, one.fit.depths, one.fit.widths, color="black", linestyle=":", linewidth=0.9)
        if stairs:
            ax.legend(frameon=False, fontsize=6.5, loc="upper left", handlelength=2.5, labelspacing=0.5)
        lines = sum(1 + one.label.count("\n") for one in stairs)
        _set_axes(ax, [one.widths for one in stairs], log, 0.02 + 0.062 * lines)


def draw_mean_line(ax: Axes, line: MeanLine, *, log: bool = False) -> None:
    """Draw the best networks of a population and the line through them (figure 8, left); darker where more agree."""
    with style():
        for depths, widths in zip(line.depths, line.widths, strict=True):
            _draw_steps(ax, depths, widths, color=colour(0), linewidth=1.0, alpha=0.35)
        blocks = np.arange(max(map(sum, line.depths)))
        label = f"{line.slope:.0f} (j + 1)" if line.slope >= 10 else f"{line.slope:.1f} (j + 1)"
        ax.plot(blocks, line.slope * (blocks + 1), color="black", linewidth=2, linestyle=(0, (4, 2)), label=label)
        _set_axes(ax, line.widths, log, 0.15)
        title = f"best {len(line.trials)} of {short(line.name)}"
        ax.legend(frameon=False, fontsize=8, title=plain(title), title_fontsize=8, loc="upper left")


def draw_fit_errors(ax: Axes, populations: Sequence[PopulationFits]) -> None:
    """Draw e_fit against error for each population (figure 8, right), with their rank correlation.

    A failed network is a tick at the right edge, for it has no error of its own.
    """
    with style():
        for place, fits in enumerate(populations):
            done = ~fits.failed
            rank = fits.rank_correlation
            label = f"{short(fits.name)}, n = {done.sum()}" + (f", rank r = {rank:.2f}" if np.isfinite(rank) else "")
            look: dict[str, Any] = {"color": colour(place), "marker": marker(place), "s": 16, "alpha": 0.7}
            ax.scatter(fits.errors[done], fits.e_fit[done], label=plain(label), linewidths=0, **look)
            draw_at_edge(ax, "y", fits.e_fit[fits.failed], 1.0, marker="_", markersize=7, color=colour(place))
        ax.set(xlabel=ERROR_LABEL, ylabel="e_fit, mean |log(line / width)|")
        ax.set_ylim(bottom=0)
        if populations:
            ax.set_ylim(top=ax.get_ylim()[1] * (1.05 + 0.1 * len(populations)))  # room for the legend
            ax.legend(frameon=False, fontsize=7, loc="upper left", handletextpad=0.1, borderaxespad=0)


def _draw_steps(ax: Axes, depths: Sequence[int], widths: Sequence[int], **look: Any) -> None:
    """Width against block: a point a block, joined level within a stage and straight up to the next."""
    blocks = np.repeat(np.array(widths, np.float64), depths)
    ax.plot(np.arange(blocks.size), blocks, drawstyle="steps-post", **look)


def _set_axes(ax: Axes, widths: Sequence[Sequence[int]], log: bool, legend: float) -> None:
    """Labels, ticks, and ends of the axes, with that part of the height left to a legend above what is drawn."""
    from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

    lowest, highest = min(map(min, widths), default=8), max(map(max, widths), default=8)
    share = 1 / (1 - min(legend, 0.7))
    if log:
        ax.set_yscale("log", base=2)
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.set_ylim(0.85 * lowest, 1.1 * lowest * max(highest / lowest, 2) ** share)
    else:
        ax.set_ylim(0, 1.03 * highest * share)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="block", ylabel="width, channels")
