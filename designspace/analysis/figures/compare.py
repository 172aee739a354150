"""Figures that compare spaces: difference of two EDFs, best of k, effects of all pairs, and two recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from designspace.analysis.figures.error_axis import set_error_axis
from designspace.analysis.figures.style import GREY, colour, marker, plain, short, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from designspace.analysis.comparison import Comparison
    from designspace.analysis.difference import Difference
    from designspace.analysis.effects import BestOfK, Estimate
    from designspace.analysis.paired import Paired

_NOTE: dict[str, Any] = {"fontsize": 7.5, "color": GREY}


def draw_difference(
    ax: Axes, difference: Difference, names: tuple[str, str], limits: tuple[float, float] | None = None
) -> None:
    """Draw F_A - F_B against the error with its band: above 0 the first space has more networks up to an error.

    Args:
        ax: axes to draw into.
        difference: the difference of two EDFs.
        names: names of A and B.
        limits: limits of the error axis, in percent; if None, it ends before errors far from most others, such as
            those of networks at chance level, and a note states how many.
    """
    errors, low = difference.errors, float(difference.errors[0])
    far = low + 4 * (float(np.median(errors)) - low)
    left, right = limits or (low, min(float(errors[-1]), far))
    margin = 0 if limits else 0.04 * (right - left) or 1.0
    x = np.concatenate([[min(left, low) - margin], errors, [max(right, float(errors[-1])) + margin]])
    outer = difference.half_width
    lower = np.concatenate([[-outer], difference.lower, difference.lower[-1:]])
    upper = np.concatenate([[outer], difference.upper, difference.upper[-1:]])
    values = np.concatenate([[0.0], difference.values, [0.0]])
    a, b = (plain(short(name)) for name in names)
    with style():
        ax.fill_between(x, lower, upper, step="post", color=colour(0), alpha=0.15, linewidth=0)
        for edge in (lower, upper):
            ax.step(x, edge, where="post", color=colour(0), alpha=0.5, linewidth=0.7)
        ax.step(x, values, where="post", color=colour(0))
        ax.axhline(0, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
        ends = 1.08 * max(float(np.abs(lower).max()), float(np.abs(upper).max())) or 1.0
        ax.set(xlim=(left - margin, right + margin), ylim=(-ends, ends))
        ax.set_ylabel("difference of the EDFs")
        set_error_axis(ax, "x", difference.metric)
        ax.text(0.01, 0.98, f"{a} is ahead", transform=ax.transAxes, va="top", **_NOTE)
        ax.text(0.01, 0.02, f"{b} is ahead", transform=ax.transAxes, va="bottom", **_NOTE)
        outside = int((errors > right + margin).sum())
        note = f"; {outside} of {errors.size} distinct {difference.metric.plural} right of the axis" if outside else ""
        band = f"{100 * (1 - difference.level):g}% band; n = {difference.n_a} and {difference.n_b}"
        ax.set_title(f"{a} less {b}\n{band}{note}", loc="left", **_NOTE)


def draw_best_of_k(ax: Axes, curve: BestOfK, names: tuple[str, str]) -> None:
    """Draw the probability that the best of k networks of A beats the best of k of B, against k, with its intervals.

    Hollow points are for networks drawn with replacement, used if k exceeds the number of networks.
    """
    from matplotlib.ticker import StrMethodFormatter

    a, b = (plain(short(name)) for name in names)
    with style():
        ax.axhline(0.5, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
        ax.fill_between(curve.k, curve.low, curve.high, color=colour(0), alpha=0.15, linewidth=0)
        ax.errorbar(
            curve.k,
            curve.probability,
            np.abs(np.stack([curve.probability - curve.low, curve.high - curve.probability])),
            color=colour(0),
            elinewidth=0.8,
            capsize=2,
        )
        for hollow in (False, True):
            shown = curve.with_replacement == hollow
            face = "white" if hollow else colour(0)
            ax.plot(
                curve.k[shown],
                curve.probability[shown],
                linestyle="none",
                marker=marker(0),
                markersize=4.5,
                markerfacecolor=face,
                markeredgecolor=colour(0),
            )
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.set(ylim=(-0.02, 1.02), xlabel="k, networks per space", ylabel="P(best of k of A is better)")
        level = f"{100 * (1 - curve.level):g}% intervals up to n / 10"
        hollow_note = "; hollow: with replacement" if curve.with_replacement.any() else ""
        ax.set_title(f"A: {a}, n = {curve.n_a}; B: {b}, n = {curve.n_b}\n{level}{hollow_note}", loc="left", **_NOTE)


def draw_paired(ax: Axes, paired: Paired) -> None:
    """Draw the error of each network under A against its error under B; on the line both are equal.

    Networks that failed are crosses, at the end of an axis if the chance error is beyond it.
    """
    failed = paired.failed_a | paired.failed_b
    done_errors = np.concatenate([paired.errors_a[~paired.failed_a], paired.errors_b[~paired.failed_b]])
    shown = done_errors if done_errors.size else paired.errors_a
    margin = 0.05 * float(np.ptp(shown)) or 1.0
    low, high = float(shown.min()) - margin, float(shown.max()) + 2 * margin
    x, y = (np.minimum(errors, high - margin / 2) for errors in (paired.errors_a, paired.errors_b))
    with style():
        ax.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=(0, (4, 2)))
        ax.scatter(x[~failed], y[~failed], s=18, marker="o", color=colour(0), alpha=0.75, linewidths=0)
        ax.scatter(
            x[failed], y[failed], s=24, marker="x", color=colour(1), linewidths=1.2, label="failed (chance level)"
        )
        ax.set(xlim=(low, high), ylim=(low, high))
        if failed.any():
            ax.legend(loc="lower right", fontsize=8, frameon=False)
        metric = paired.metric
        unit = f" ({metric.unit})" if metric.unit else ""
        set_error_axis(ax, "x", metric, f"{metric.name} under {short(paired.a)}{unit}")
        set_error_axis(ax, "y", metric, f"{metric.name} under {short(paired.b)}{unit}")
        ax.set_title(
            f"n = {paired.n}; Spearman {_text(paired.spearman)}\nKendall {_text(paired.kendall)}", loc="left", **_NOTE
        )


def draw_effects(ax: Axes, comparisons: Sequence[Comparison]) -> None:
    """Draw P(A better) of each pair with its interval, the first pair on top (a forest plot).

    Filled squares are pairs of which one is shown to be better, after Holm's correction; hollow circles are undecided
    pairs.
    """
    with style():
        ax.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
        for row, pair in enumerate(comparisons):
            is_decided = pair.better is not None
            ax.plot([pair.effect_low, pair.effect_high], [row, row], color=colour(0), linewidth=1.4)
            ax.plot(
                [pair.effect],
                [row],
                marker="s" if is_decided else "o",
                markersize=6,
                color=colour(0),
                markerfacecolor=colour(0) if is_decided else "white",
            )
        ax.tick_params(axis="y", labelsize=8)
        ax.set_yticks(range(len(comparisons)), [plain(f"{short(pair.a)}\n: {short(pair.b)}") for pair in comparisons])
        ax.set(xlim=(-0.02, 1.02), ylim=(len(comparisons) - 0.4, -0.6), xlabel="P(a network of the first is better)")
        if comparisons:
            percent = f"{100 * (1 - comparisons[0].level):g}%"
            note = f"{percent} intervals; filled squares:\none is shown to be better (Holm-corrected)"
            ax.set_title(note, loc="left", **_NOTE)
        else:
            ax.text(0.5, 0.5, "there is no pair to compare", transform=ax.transAxes, ha="center", va="center")


def _text(estimate: Estimate) -> str:
    """Return an estimate with its interval, if it has one, as text."""
    if np.isnan(estimate.value):
        return "unknown because all errors are equal"
    return f"{estimate.value:.2f}" + ("" if np.isnan(estimate.low) else f" ({estimate.low:.2f} to {estimate.high:.2f})")
