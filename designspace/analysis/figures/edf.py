"""Figures of error EDFs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.figures.error_axis import set_error_axis
from designspace.analysis.figures.style import GREY, LEGEND_FONT, colour, dashes, plain, short, style
from designspace.trials.metric import TOP1_ERROR, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from designspace.analysis.comparison import Comparison
    from designspace.analysis.edf import EDF


def draw_edf(
    ax: Axes,
    edfs: Mapping[str, EDF],
    bands: bool = True,
    *,
    level: float = 0.05,
    chance_error: float | None = None,
    title: str = "",
    notes: Sequence[str] = (),
    legend_inside: bool = False,
    indices: Sequence[int] | None = None,
) -> None:
    """Draw error EDFs as in figures 2, 5, 7 and 9 of "Designing Network Design Spaces".

    Errors far from all others, such as those of diverged networks at chance level, do not stretch the axis: it ends
    before them, and a note above it states how many of which space are outside.

    Args:
        ax: axes to draw into.
        edfs: EDF of each space, by name; axes stay empty without any.
        bands: whether to shade the simultaneous confidence bands.
        level: one minus the confidence of each band.
        chance_error: in percent; errors at or above it are ignored when the axis limits are chosen.
        title: title above the axes.
        notes: sentences to write below the title.
        legend_inside: put the legend inside the axes, for use if there is no room below them.
        indices: index of each space among all spaces of a report, for its colour and dashes; by default in order.
    """
    low, high = error_limits(list(edfs.values()), chance_error)
    lines = []
    with style():
        for index, curve in zip(range(len(edfs)) if indices is None else indices, edfs.values(), strict=True):
            shade = colour(index)
            if bands:
                _draw_band(ax, curve, (low, high), level, shade)
            lines.append(_draw_curve(ax, curve, (low, high), shade, dashes(index)))
            _draw_bounds(ax, curve, high, shade)
        ax.set(xlim=(low, high), ylim=(0, 1.02), ylabel="cumulative probability")
        set_error_axis(ax, "x", _metric_of(edfs.values()))
        if lines:
            _draw_legend(ax, edfs, lines, legend_inside)
        else:
            ax.text(0.5, 0.5, "no trial has finished", transform=ax.transAxes, ha="center", va="center")
        all_notes = [*_outside(edfs, high), *notes]
        characters = int(19 * ax.get_position().width * _width(ax))
        note_lines = textwrap.wrap(" ".join(all_notes), characters)
        ax.set_title(plain("\n".join(note_lines)), loc="left", fontsize=7.5, color=GREY)
        # An annotation, because the axes' own title would overlap the notes.
        if title:
            coordinates: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
            above_notes = (0, 5 + 10 * len(note_lines))
            ax.annotate(plain(title), (0.5, 1), above_notes, fontsize=10, ha="center", va="bottom", **coordinates)


def error_limits(edfs: Sequence[EDF], chance_error: float | None = None) -> tuple[float, float]:
    """Return the limits of the error axis, for errors as `Results.errors` returns them.

    A space is shown from its best error to at most four times the distance between its best and its median error. If
    errors are uniform or normal, these are all errors; a longer tail would compress the interesting part.
    """
    shown = [curve.errors if chance_error is None else curve.errors[curve.errors < chance_error] for curve in edfs]
    shown = [errors for errors in shown if errors.size] or [curve.errors for curve in edfs]
    if not shown:
        return 0.0, 100.0
    lowest = edfs[0].metric.lowest_oriented
    ends = [min(errors[-1], errors[0] + 4 * (np.median(errors) - errors[0])) for errors in shown]
    low, high = min(float(errors[0]) for errors in shown), float(max(ends))
    margin = 0.04 * (high - low) or 1.0
    return max(lowest, low - margin), high + margin


def edf_caption(edfs: Mapping[str, EDF], comparisons: Sequence[Comparison], level: float = 0.05) -> str:
    """Return the caption of an EDF figure: what it shows, of how many networks, and what can be concluded from it."""
    if not edfs:
        return "EDF: no trial has finished yet."
    sizes = ", ".join(f"{name} n = {curve.n}" for name, curve in edfs.items())
    metric = _metric_of(edfs.values())
    parts = [
        f"{metric.title} EDF: the fraction of each population whose {metric.name} is {metric.reaches} that on the "
        f"horizontal axis ({sizes}). "
        "A curve further to the left is better. "
        f"Shaded: simultaneous {100 * (1 - level):g}% confidence band of each curve (Dvoretzky-Kiefer-Wolfowitz)."
    ]
    if bounded := [name for name, curve in edfs.items() if curve.bounds is not None]:
        parts.append(
            f"Trials of {', '.join(bounded)} were stopped early. Others that were trained to the end represent them, "
            "the band is a bootstrap band, and the EDF of all trials is between the dotted lines, whatever the "
            f"{metric.plural} of the stopped trials would have been."
        )
    if len(edfs) > 1:
        order = sorted(edfs, key=lambda name: edfs[name].mean)
        parts.append(f"By mean {metric.name} the order is {', '.join(order)}, the best first.")
        better = {frozenset((pair.a, pair.b)): pair.better for pair in comparisons}
        pairs = [(first, second, better.get(frozenset((first, second)))) for first, second in combinations(order, 2)]
        shown = [f"{first} before {second}" for first, second, winner in pairs if winner == first]
        undecided = [f"{first} and {second}" for first, second, winner in pairs if winner != first]
        if shown:
            parts.append(f"Significant at {100 * level:g}%: {', '.join(shown)}.")
        if undecided:
            parts.append(f"The order is not significant at {100 * level:g}% for {', '.join(undecided)}.")
    return " ".join(parts)


def edf_numbers(edfs: Mapping[str, EDF], level: float = 0.05) -> pd.DataFrame:
    """Return the numbers of an EDF figure, one row per network in the order of errors.

    Columns are the space, the error in percent, the cumulative probability, and the ends of its confidence band; if
    trials were stopped early, also the least and the largest possible probability.
    """
    columns = ["space", "error", "probability", "lower", "upper"]
    parts = []
    for name, curve in edfs.items():
        band = curve.band(level)
        numbers = (name, curve.metric.oriented(curve.errors), curve.probabilities, band.lower, band.upper)
        part = pd.DataFrame(dict(zip(columns, numbers, strict=True)))
        if curve.bounds is not None:
            part = part.assign(least=curve.bounds.lower, largest=curve.bounds.upper)
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _draw_curve(ax: Axes, curve: EDF, limits: tuple[float, float], colour: str, dashes: object) -> Line2D:
    """Draw one step function from probability 0 at the left end of the axis to its last value at the right."""
    ends = _ends_of_steps(curve)
    x: NDArray[np.float64] = np.concatenate([[limits[0]], curve.errors[ends], [max(limits[1], curve.errors[-1])]])
    y = np.concatenate([[0.0], curve.probabilities[ends], [1.0]])
    (line,) = ax.step(x, y, where="post", color=colour, linestyle=dashes)
    return line


def _ends_of_steps(curve: EDF) -> NDArray[np.bool_]:
    """Return a mask of the last network of each error: equal errors are one step, not one per network."""
    return np.append(curve.errors[1:] != curve.errors[:-1], True)


def _draw_bounds(ax: Axes, curve: EDF, high: float, colour: str) -> None:
    """Draw the possible values of a curve as dotted lines, if some errors are not known."""
    if curve.bounds is None:
        return
    x = np.append(curve.errors, max(high, curve.errors[-1]))
    for ends in (curve.bounds.lower, curve.bounds.upper):
        ax.step(x, np.append(ends, ends[-1]), where="post", color=colour, linestyle=":", linewidth=0.8)


def _draw_band(ax: Axes, curve: EDF, limits: tuple[float, float], level: float, colour: str) -> None:
    """Shade the confidence band of one step function between the ends of the axis."""
    band, ends = curve.band(level), _ends_of_steps(curve)
    x = np.concatenate([[limits[0]], curve.errors[ends], [max(limits[1], curve.errors[-1])]])
    lower = np.concatenate([[0.0], band.lower[ends], band.lower[-1:]])
    upper = np.concatenate([[band.half_width], band.upper[ends], band.upper[-1:]])
    ax.fill_between(x, lower, upper, step="post", color=colour, alpha=0.1, linewidth=0)
    for edge in (lower, upper):  # without edges, overlapping bands could not be distinguished
        ax.step(x, edge, where="post", color=colour, alpha=0.45, linewidth=0.6)


def _draw_legend(ax: Axes, edfs: Mapping[str, EDF], lines: list[Line2D], inside: bool) -> None:
    """Draw a legend in columns: name, number of networks, least and mean error in percent."""
    from matplotlib.transforms import ScaledTranslation

    # As wide as the panel allows: a wider legend would squeeze the axes.
    panel = _width(ax) / (ax.get_gridspec().ncols if ax.get_gridspec() else 1)  # type: ignore[union-attr]
    longest = min(28, max(10, int((panel - 0.75) / 0.067) - 20))
    names = [short(name, longest) for name in edfs]
    width = max(map(len, names))
    rows = zip(names, edfs.values(), strict=True)
    metric = _metric_of(edfs.values())
    digits = metric.digits - 1
    labels = [
        f"{name:<{width}} {curve.n:>4} | "
        + " | ".join(f"{metric.oriented(error):4.{digits}f}" for error in (curve.min, curve.mean))
        for name, curve in rows
    ]
    best = "min" if metric.direction == "lower" else "max"
    title = f"{'n':>{width + 5}} | {best:>4} | mean"
    # The texts are set afterwards because matplotlib ignores labels with a leading underscore.
    # The legend is below the axes and their label; inside the axes it would hide the start of the worst curve.
    below = ScaledTranslation(-0.06, -0.42, ax.figure.dpi_scale_trans)  # in inches, independent of the size of the axes
    outside: dict[str, Any] = {"bbox_to_anchor": (0, 0), "bbox_transform": ax.transAxes + below, "frameon": False}
    location: dict[str, Any] = {"loc": "lower right"} if inside else {"loc": "upper left", **outside}
    legend = ax.legend(lines, ["-"] * len(lines), title=title, prop=LEGEND_FONT, alignment="right", **location)
    legend.get_title().set(**LEGEND_FONT)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(plain(label))


def _metric_of(edfs: Iterable[EDF]) -> Metric:
    """Return what the errors of some EDFs are values of."""
    return next((curve.metric for curve in edfs), TOP1_ERROR)


def _width(ax: Axes) -> float:
    """Return the width of the whole figure that contains axes, in inches."""
    return float(ax.figure.figure.get_figwidth())


def _outside(edfs: Mapping[str, EDF], high: float) -> list[str]:
    """Return a note on the networks right of the axis, if there are any."""
    counts = {name: int((curve.errors > high).sum()) for name, curve in edfs.items()}
    texts = [f"{count} of {edfs[name].n} networks of {short(name)}" for name, count in counts.items() if count]
    return [f"Right of the axis: {', '.join(texts)}."] if texts else []
