"""Figures of "On Network Design Spaces" (arXiv 1905.13214): samples, seeds, settings and ranges of cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.figures.error_axis import set_error_axis
from designspace.analysis.figures.style import GREY, colour, dashes, marker, plain, short, style
from designspace.trials.metric import TOP1_ERROR, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Formatter

    from designspace.analysis.binned import BinnedErrors
    from designspace.analysis.hyperparameters import RelativeRanks
    from designspace.analysis.reruns import Reruns
    from designspace.analysis.sample_size import DistanceBySize, SampleMinima

Column = NDArray[np.float64]
_HATCHES = ("", "///", "...", "xxx", "\\\\\\")


def draw_minima(ax: Axes, minima: SampleMinima, metric: Metric = TOP1_ERROR) -> None:
    """Draw the distribution of the best error of a sample, for each sample size (1905.13214, figure 2)."""
    low, high = float(minima.minima.min()), float(minima.minima.max())
    edges = np.linspace(low, high if high > low else low + 1, 25).tolist()
    with style():
        for index, size in enumerate(minima.sizes):
            values = minima.minima[index]
            _draw_bars(ax, values, edges, np.full(values.size, 100 / values.size), index, f"n = {size}")
        label = metric.label.replace(metric.name, f"{metric.best_word} {metric.name} of a sample", 1)
        set_error_axis(ax, "x", metric, label)
        ax.set_ylabel("samples (%)")
        ax.legend(frameon=False, fontsize=8)


def draw_distance(ax: Axes, distance: DistanceBySize, recommended: tuple[int, int] = (2**7, 2**10)) -> None:
    """Draw D between samples and their population against the size of the sample (1905.13214, figure 6).

    Args:
        ax: axes to draw into.
        distance: distances to draw.
        recommended: range of sizes to shade; the paper recommends 100 to 1000 networks per space.
    """
    with style():
        ax.axvspan(*recommended, color="#eeeeee", zorder=0, label=f"{recommended[0]} to {recommended[1]}")
        ax.fill_between(distance.sizes, distance.low, distance.high, color=colour(0), alpha=0.15, linewidth=0)
        ax.plot(distance.sizes, distance.mean, color=colour(0), marker=marker(0), markersize=4, label="mean D")
        ax.set_xscale("log", base=2)
        ax.set(xlabel="networks in the sample", ylabel="KS distance D to all networks", ylim=(0, None))
        ax.legend(frameon=False, fontsize=8)


def draw_cost_histograms(ax: Axes, values: Mapping[str, ArrayLike], label: str, bins: int = 20) -> None:
    """Draw the distribution of a cost in some populations (1905.13214, figure 5)."""
    columns = {name: np.asarray(column, np.float64) for name, column in values.items()}
    together = np.concatenate([column for column in columns.values() if column.size] or [np.zeros(1)])
    low, high = float(together.min()), float(together.max())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1).tolist()
    with style():
        for index, (name, column) in enumerate(columns.items()):
            if not column.size:
                continue
            ax.hist(
                column,
                edges,
                weights=np.full(column.size, 100 / column.size),
                histtype="step",
                color=colour(index),
                linestyle=dashes(index),
                linewidth=1.6,
                label=plain(short(name)),
            )
        ax.xaxis.set_major_formatter(_quantities())
        ax.set(xlabel=label, ylabel="networks (%)")
        ax.legend(frameon=False, fontsize=8)


def draw_binned(ax: Axes, binned: Mapping[str, BinnedErrors], label: str, metric: Metric = TOP1_ERROR) -> None:
    """Draw mean error, plus and minus one standard deviation, by range of a cost (1905.13214, figure 15)."""
    with style():
        for index, (name, bins) in enumerate(binned.items()):
            middle = (bins.edges[:-1] + bins.edges[1:]) / 2
            has_networks = bins.counts > 0
            shift = (index - (len(binned) - 1) / 2) * 0.12 * (bins.edges[1] - bins.edges[0])
            ax.errorbar(
                middle[has_networks] + shift,
                bins.mean[has_networks],
                np.nan_to_num(bins.std[has_networks]),
                color=colour(index),
                linestyle=dashes(index),
                marker=marker(index),
                markersize=4,
                linewidth=1.4,
                capsize=2,
                label=plain(short(name)),
            )
        ax.xaxis.set_major_formatter(_quantities())
        ax.set_xlabel(label)
        set_error_axis(ax, "y", metric)
        ax.legend(frameon=False, fontsize=8)


def draw_reruns(
    ax: Axes, repeated: Reruns, quantiles: Sequence[tuple[str, float]] = (("top", 0.0), ("mid", 0.5))
) -> None:
    """Draw the errors of a good and of a median network over many seeds (1905.13214, figure 13)."""
    with style():
        metric, digits = repeated.metric, repeated.metric.digits - 1
        chosen = [(name, *repeated.at_rank(quantile)) for name, quantile in quantiles]
        all_errors = np.concatenate([errors.to_numpy() for _, _, errors in chosen])
        low, high = float(all_errors.min()), float(all_errors.max())
        edges = np.linspace(low, high if high > low else low + 1, 13).tolist()
        for index, (name, id_, errors) in enumerate(chosen):
            mean, deviation = metric.number(metric.oriented(errors.mean()), digits), f"{errors.std():.{digits}f}"
            label = f"{name}: {id_}, {len(errors)} seeds, {mean} ± {deviation}"
            _draw_bars(ax, errors.to_numpy(), edges, np.ones(len(errors)), index, label)
        set_error_axis(ax, "x", metric)
        ax.set_ylabel("trainings")
        ax.legend(frameon=False, fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1))


def draw_relative_ranks(ax: Axes, ranks: RelativeRanks, setting: str) -> None:
    """Draw the relative rank of each value of a setting: median and quartiles over networks (1905.13214, figure 12)."""
    by = ranks.by(setting)
    with style():
        ax.fill_between(by[setting], by["low"], by["high"], color=colour(0), alpha=0.15, linewidth=0)
        ax.plot(by[setting], by["median"], color=colour(0), marker=marker(0))
        if (by[setting] > 0).all():
            ax.set_xscale("log")
        ax.set_xticks(by[setting].to_numpy(), [f"{value:g}" for value in by[setting]])
        ax.set_xticks([], minor=True)
        ax.set(xlabel=setting.replace("_", " "), ylabel="relative rank (0: best)", ylim=(-0.02, 1.02))
        ax.text(0.98, 0.96, f"{ranks.networks} networks", transform=ax.transAxes, ha="right", va="top", color=GREY)


def _quantities() -> Formatter:
    """Return a formatter of counts with a unit prefix: 1.2 M."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter()


def _draw_bars(ax: Axes, values: Column, edges: Sequence[float], weights: Column, index: int, label: str) -> None:
    """Draw a filled histogram with its own colour, line style and hatching."""
    from matplotlib.colors import to_rgba

    ax.hist(
        values,
        edges,
        weights=weights,
        histtype="stepfilled",
        facecolor=to_rgba(colour(index), 0.25),
        edgecolor=colour(index),
        linestyle=dashes(index),
        linewidth=1.6,
        hatch=_HATCHES[index % len(_HATCHES)],
        label=label,
    )
