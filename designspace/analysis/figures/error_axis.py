"""Axes of errors, whose ticks show the values of the metric."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from designspace.analysis.figures.style import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.trials.metric import Metric


def set_error_axis(ax: Axes, which: Literal["x", "y"], metric: Metric, label: str | None = None) -> None:
    """Label an axis on which errors are drawn as `Results.errors` returns them, so that better ones are always first.

    If higher values of the metric are better, these errors are negative, and the ticks show their absolute values.

    Args:
        ax: the axes.
        which: the axis.
        metric: what the errors are values of.
        label: label of the axis; by default that of the metric.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_label_text(plain(metric.label if label is None else label))
    if metric.direction == "higher":
        axis.set_major_formatter(partial(_value, metric))


def _value(metric: Metric, error: float, _: int | None = None) -> str:
    """Return the metric's value of an error as the text of a tick. A lambda could not be pickled with its figure."""
    return f"{metric.oriented(error) + 0.0:g}"
