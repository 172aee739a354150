"""Figures of learning curves, and of how early they predict the final ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from designspace.analysis.figures.style import colour, dashes, marker, plain, short, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.curves import EpochRanks, LearningCurves

_KINDS = ("best", "median", "worst")


def draw_curves(ax: Axes, curves: LearningCurves, *, log: bool = True) -> None:
    """Draw test errors (thick) and training errors (thin) by epoch, with a mark at each least test error.

    Args:
        ax: axes to draw into.
        curves: learning curves to draw.
        log: use a logarithmic axis of errors, unless an error is 0.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    metric = curves.metric
    has_training = not all(np.isnan(curve.train_errors).all() for curve in curves.curves)
    with style():
        named = set()
        for curve in curves.curves:
            index = _KINDS.index(curve.kind)
            look: dict[str, Any] = {"color": colour(index)}
            label = (
                None if curve.kind in named else f"{curve.kind}, {metric.text(curve.final_error, metric.digits - 1)}"
            )
            named.add(curve.kind)
            if has_training:
                ax.plot(curve.epochs, curve.train_errors, linestyle="solid", linewidth=0.8, **look)
            ax.plot(curve.epochs, curve.test_errors, linestyle=dashes(index), label=label, **look)
            ax.plot(*curve.least, marker(index), markersize=6, markeredgecolor="black", **look)
        columns = [column for curve in curves.curves for column in (curve.train_errors, curve.test_errors)]
        errors = np.concatenate([column for column in columns if has_training or np.isfinite(column).any()])
        if log and errors.min() > 0:
            low, high = float(errors.min()), float(errors.max())
            ax.set_yscale("log", base=2)
            ax.set_ylim(low / 1.05, high * 1.05 if high > low else 2 * high)
            ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 1.5, 2, 3, 4, 6, 8), numticks=12))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="epoch", ylabel=metric.label)
        ax.set_title(plain(f"{short(curves.name)}, n = {curves.n}"), loc="left", fontsize=9)
        title = "thick: test, thin: training" if has_training else "test images"
        ax.legend(frameon=False, fontsize=8, title=title, title_fontsize=7)


def draw_epoch_ranks(ax: Axes, ranks: Sequence[EpochRanks]) -> None:
    """Draw the rank correlation of the error after each epoch with the final error, shaded by its interval."""
    from matplotlib.ticker import MaxNLocator

    with style():
        for index, correlations in enumerate(ranks):
            shade = colour(index)
            # The error of the last epoch is the final error, so it has no interval.
            inner = slice(None, -1)
            ax.fill_between(
                correlations.epochs[inner],
                correlations.low[inner],
                correlations.high[inner],
                color=shade,
                alpha=0.12,
                linewidth=0,
            )
            look: dict[str, Any] = {"color": shade, "linestyle": dashes(index), "marker": marker(index)}
            label = f"{short(correlations.name)}, n = {correlations.n.max()}"
            ax.plot(correlations.epochs, correlations.correlation, markersize=4, label=plain(label), **look)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        name = ranks[0].metric.name if ranks else "error"
        ax.set(xlabel="epoch", ylabel=f"rank correlation with final {name}")
        ax.set_ylim(top=1.02)
        if ranks:
            ax.legend(frameon=False, fontsize=8, loc="lower right")
