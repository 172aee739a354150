"""Figures of error against a quantity, of two quantities, of Pareto fronts, and of the cost of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.figures.error_axis import set_error_axis
from designspace.analysis.figures.style import GREY, MAP, colour, dashes, marker, plain, short, style
from designspace.analysis.quantities import short_number
from designspace.networks.quantities import Quantity
from designspace.trials.metric import TOP1_ERROR, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.best_values import Scatter
    from designspace.analysis.planes import Plane
    from designspace.analysis.tradeoffs import CostFit, Pareto

_SMALL = 7.5


def draw_scatter(ax: Axes, scatter: Scatter, *, index: int = 0) -> None:
    """Draw error against a quantity, as in figures 2 and 5 of "Designing Network Design Spaces".

    The dashed line is the median best value and the shaded range its interval. A failed network is a tick at the upper
    edge, at its value, because it has no error of its own. Networks far worse than the others do not stretch the axis:
    they are hollow triangles below that edge.

    Args:
        ax: axes to draw into.
        scatter: points to draw; axes stay empty without any.
        index: index of the population among those drawn together, for its colour and marker.
    """
    done = ~scatter.failed
    with style():
        high = _set_limits(ax, scatter.errors[done], scatter.metric)
        far = done & (scatter.errors > high)
        near = done & ~far
        look: dict[str, Any] = {
            "color": colour(index),
            "marker": marker(index),
            "s": 16,
            "alpha": 0.6,
            "linewidths": 0,
        }
        ax.scatter(scatter.values[near], scatter.errors[near], **look)
        draw_at_edge(ax, "x", scatter.values[far], 0.975, marker="^", markersize=4, fillstyle="none")
        failed = scatter.values[scatter.failed]
        draw_at_edge(ax, "x", failed, 1.0, marker="|", markersize=7)
        set_quantity_axis(ax, "x", scatter.quantity, scatter.values)
        best, text = scatter.best_value, ""
        if best is None:
            ax.text(0.5, 0.5, "no trial has finished", transform=ax.transAxes, ha="center", va="center")
        else:
            ax.axvspan(best.low, best.high, color=GREY, alpha=0.13, linewidth=0, zorder=0)
            for end in (best.low, best.high):  # an interval of one value has no width to shade
                ax.axvline(end, color=GREY, linewidth=0.7, alpha=0.6, zorder=0.5)
            ax.axvline(best.median, color="black", linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
            numbers = [short_number(value) for value in (best.median, best.low, best.high)]
            text = f"best value {numbers[0]} ({100 * (1 - best.level):g}%: {numbers[1]} to {numbers[2]})"
        outside = [f"{failed.size} failed (|)"] if failed.size else []
        outside += [f"{far.sum()} above"] if far.any() else []
        lines = [line for line in (text, ", ".join(outside)) if line]
        ax.set_title(plain("\n".join(lines)), loc="left", fontsize=_SMALL, color=GREY, pad=8)


def draw_map(ax: Axes, plane: Plane, *, bar: bool = True) -> None:
    """Draw networks by two quantities, coloured by the rank of their error; the best is circled, failures are crosses.

    Args:
        ax: axes to draw into.
        plane: points to draw; axes stay empty without any.
        bar: whether to draw the colour bar, which takes space from the axes.
    """
    done = ~plane.failed
    with style():
        # The best are drawn last, so that they are on top.
        order = np.flatnonzero(done)[np.argsort(-plane.ranks[done], kind="stable")]
        look: dict[str, Any] = {"cmap": MAP, "vmin": 0, "vmax": 1, "s": 24, "edgecolors": "white", "linewidths": 0.3}
        points = ax.scatter(plane.x[order], plane.y[order], c=plane.ranks[order], **look)
        ax.scatter(plane.x[~done], plane.y[~done], marker="x", color="black", s=18, linewidths=0.9)
        if order.size:
            ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.2, "s": 90}
            ax.scatter(plane.x[order[-1:]], plane.y[order[-1:]], **ring)
        else:
            ax.text(0.5, 0.5, "no trial has finished", transform=ax.transAxes, ha="center", va="center")
        set_quantity_axis(ax, "x", plane.x_quantity, plane.x)
        set_quantity_axis(ax, "y", plane.y_quantity, plane.y)
        if bar:
            legend = ax.figure.colorbar(points, ax=ax, pad=0.02)
            legend.set_ticks([0, 0.5, 1], labels=["best", "median", "worst"])
            legend.set_label(f"rank of the {plane.metric.name}")
            legend.outline.set_visible(False)


def draw_pareto(ax: Axes, fronts: Sequence[Pareto]) -> None:
    """Draw error against a cost in pale colours, and the Pareto front of each population as steps with marks.

    Args:
        ax: axes to draw into.
        fronts: fronts of the populations, all for the same cost.
    """
    with style():
        metric = fronts[0].metric if fronts else TOP1_ERROR
        high = _set_limits(ax, np.concatenate([np.empty(0), *(front.errors for front in fronts)]), metric)
        for index, front in enumerate(fronts):
            shade = colour(index)
            is_beaten = ~front.on_front & (front.errors <= high)
            ax.scatter(
                front.values[is_beaten],
                front.errors[is_beaten],
                color=shade,
                marker=marker(index),
                s=10,
                alpha=0.3,
                linewidths=0,
            )
            label = f"{short(front.name)}, n = {front.errors.size}" + (
                f", {front.failed} failed" if front.failed else ""
            )
            look: dict[str, Any] = {"color": shade, "linestyle": dashes(index), "marker": marker(index)}
            steps = "steps-pre" if front.quantity.direction == "higher" else "steps-post"
            ax.plot(*front.front, drawstyle=steps, markersize=5, linewidth=1.3, label=plain(label), **look)
            draw_at_edge(ax, "x", front.values[front.errors > high], 0.975, marker="^", fillstyle="none", color=shade)
        if fronts:
            set_quantity_axis(ax, "x", fronts[0].quantity, np.concatenate([front.values for front in fronts]))
            ax.legend(frameon=False, fontsize=8)


def draw_cost(ax: Axes, fits: Sequence[CostFit]) -> None:
    """Draw a cost against another one with the fitted line (figure 12 of "Designing Network Design Spaces").

    Args:
        ax: axes to draw into.
        fits: fits of the devices, all for the same two quantities.
    """
    with style():
        for index, fit in enumerate(fits):
            look: dict[str, Any] = {"color": colour(index), "marker": marker(index), "s": 14, "alpha": 0.6}
            ax.scatter(fit.x, fit.y, linewidths=0, **look)
            interval = "" if np.isnan(fit.low) else f" ({fit.low:.2f} to {fit.high:.2f})"
            device = f"{short(fit.device)}, " if fit.device else ""
            label = f"{device}n = {fit.x.size}, r = {fit.r:.2f}{interval}\n{fit.formula}"
            line: dict[str, Any] = {"linestyle": dashes(index), "linewidth": 1.4, "label": plain(label)}
            ax.plot(fit.line_x, fit.line_y, color=colour(index) if index else "black", **line)
        if fits:
            set_quantity_axis(ax, "x", fits[0].complexity, np.concatenate([fit.x for fit in fits]))
            measured = np.concatenate([fit.y for fit in fits])
            set_quantity_axis(ax, "y", fits[0].cost, measured)
            if ax.get_yscale() == "log":  # a fitted line that approaches 0 must not stretch the axis
                ax.set_ylim(measured.min() / 1.2, measured.max() * 1.2)
            ax.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def draw_at_edge(ax: Axes, which: Literal["x", "y"], values: NDArray[np.float64], at: float, **look: Any) -> None:
    """Draw markers at values of one axis, and at a fraction of the other axis (1 is its end)."""
    if not values.size:  # an empty line without clipping has no extent and breaks the layout
        return
    along = np.full(values.size, at)
    points = (values, along) if which == "x" else (along, values)
    transform = ax.get_xaxis_transform() if which == "x" else ax.get_yaxis_transform()
    all_look: dict[str, Any] = {"linestyle": "none", "color": "black", "clip_on": False, "transform": transform} | look
    ax.plot(*points, **all_look)


def set_quantity_axis(ax: Axes, which: Literal["x", "y"], quantity: Quantity, values: NDArray[np.float64]) -> None:
    """Label and scale an axis for a quantity: logarithmic if it prefers that and its values span a wide range."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    finite = values[np.isfinite(values)]
    axis.set_label_text(plain(quantity.axis_label))
    large = bool(finite.size) and float(np.abs(finite).max()) >= 10_000
    # In a narrow range of flops a logarithmic axis would show no round number.
    if quantity.scale == "log" and finite.size and finite.min() > 0 and finite.max() / finite.min() >= 4:
        halves = not large and quantity.source == "parameter"
        (ax.set_xscale if which == "x" else ax.set_yscale)("log", base=2 if halves else 10)
        decades = np.log10(finite.max() / finite.min())
        subs = (1.0,) if halves or decades > 3 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(base=2 if halves else 10, subs=subs, numticks=9))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(nbins=5, integer=quantity.whole, min_n_ticks=2))
    axis.set_major_formatter(EngFormatter(sep="") if large else StrMethodFormatter("{x:g}"))


def _set_limits(ax: Axes, errors: NDArray[np.float64], metric: Metric) -> float:
    """Set the limits of the axis of a metric, with errors far above the others outside, and return the upper limit."""
    from designspace.analysis.edf import edf
    from designspace.analysis.figures.edf import error_limits

    low, high = error_limits([edf(errors, metric=metric)] if errors.size else [])
    ax.set_ylim(low, high)
    set_error_axis(ax, "y", metric)
    return high
