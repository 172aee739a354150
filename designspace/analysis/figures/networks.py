"""Figures of networks as staircases of width against block, and of the lines that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from designspace.analysis.figures.error_axis import set_error_axis
from designspace.analysis.figures.scatter import draw_at_edge
from designspace.analysis.figures.style import colour, dashes, marker, plain, short, style
from designspace.trials.metric import TOP1_ERROR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.lines import MeanLine, PopulationFits
    from designspace.analysis.networks import Staircase


def draw_staircases(ax: Axes, stairs: Sequence[Staircase], *, log: bool = False, first: int = 0) -> None:
    """Draw networks as width against block index (figures 6, 8, 15 and 16 of "Designing Network Design Spaces").

    A dot marks each stage's first block. The thin straight line is u_j = w_0 + w_a j, from which a RegNet was
    generated; the dotted steps are the closest quantised line, if it was fitted.

    Args:
        ax: axes to draw into.
        stairs: the networks; axes stay empty without any.
        log: use a logarithmic axis of widths.
        first: index of the first network's colour and line style.
    """
    with style():
        for index, network in enumerate(stairs, start=first):
            look: dict[str, Any] = {"color": colour(index), "linestyle": dashes(index)}
            _draw_steps(ax, network.depths, network.widths, label=plain(network.label), **look)
            starts = np.cumsum([0, *network.depths[:-1]])
            ax.plot(starts, network.widths, marker(index), color=colour(index), markersize=4)
            blocks = np.arange(sum(network.depths))
            if network.line is not None:
                ax.plot(
                    blocks, network.line[0] + network.line[1] * blocks, color=colour(index), linewidth=0.7, alpha=0.8
                )
            if network.fit is not None:
                _draw_steps(ax, network.fit.depths, network.fit.widths, color="black", linestyle=":", linewidth=0.9)
        if stairs:
            ax.legend(frameon=False, fontsize=6.5, loc="upper left", handlelength=2.5, labelspacing=0.5)
        lines = sum(1 + network.label.count("\n") for network in stairs)
        _set_axes(ax, [network.widths for network in stairs], log, 0.02 + 0.062 * lines)


def draw_mean_line(ax: Axes, line: MeanLine, *, log: bool = False) -> None:
    """Draw the best networks of a population and the line through them (figure 8, left); overlaps are darker."""
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

    A failed network is a tick at the right edge, because it has no error of its own.
    """
    with style():
        for index, fits in enumerate(populations):
            done = ~fits.failed
            rank = fits.rank_correlation
            label = f"{short(fits.name)}, n = {done.sum()}" + (f", rank r = {rank:.2f}" if np.isfinite(rank) else "")
            look: dict[str, Any] = {"color": colour(index), "marker": marker(index), "s": 16, "alpha": 0.7}
            ax.scatter(fits.errors[done], fits.e_fit[done], label=plain(label), linewidths=0, **look)
            draw_at_edge(ax, "y", fits.e_fit[fits.failed], 1.0, marker="_", markersize=7, color=colour(index))
        set_error_axis(ax, "x", populations[0].metric if populations else TOP1_ERROR)
        ax.set(ylabel="e_fit, mean |log(line / width)|")
        ax.set_ylim(bottom=0)
        if populations:
            ax.set_ylim(top=ax.get_ylim()[1] * (1.05 + 0.1 * len(populations)))  # room for the legend
            ax.legend(frameon=False, fontsize=7, loc="upper left", handletextpad=0.1, borderaxespad=0)


def _draw_steps(ax: Axes, depths: Sequence[int], widths: Sequence[int], **look: Any) -> None:
    """Draw width against block as steps: level within a stage, vertical between stages."""
    blocks = np.repeat(np.array(widths, np.float64), depths)
    ax.plot(np.arange(blocks.size), blocks, drawstyle="steps-post", **look)


def _set_axes(ax: Axes, widths: Sequence[Sequence[int]], log: bool, legend: float) -> None:
    """Set labels, ticks and limits of the axes, and reserve the fraction ``legend`` of the height for a legend."""
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
