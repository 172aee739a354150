"""The figures of "Designing Network Design Spaces" (arXiv 2003.13678), numbers 2 to 16.

Each function draws one of them from results of one's own: the paper's spaces at another scale, or other spaces that are
compared in the same way. Figures 1, 3 and 4 are schematic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from designspace.analysis.best_values import scatter
from designspace.analysis.comparison import compare_all
from designspace.analysis.figures import Drawing, draw_edf, edf_numbers, finish, new_grid
from designspace.analysis.figures.drawing import NOT_DRAWN
from designspace.analysis.figures.networks import draw_fit_errors, draw_mean_line, draw_staircases
from designspace.analysis.figures.scatter import draw_cost, draw_scatter
from designspace.analysis.figures.search import draw_search
from designspace.analysis.figures.style import plain, short
from designspace.analysis.figures.trends import draw_trend
from designspace.analysis.lines import fit_population, mean_line
from designspace.analysis.networks import Staircase, best_and_worst
from designspace.analysis.papers.panels import Panels, everything, hide_rest, panel_edfs
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.analysis.search import search_curve
from designspace.analysis.tradeoffs import CostFit, cost_fits
from designspace.analysis.trends import trends
from designspace.support.errors import InputError

_BEST_VALUE = (
    "The dashed line is the median best value and the shade its 95% interval: what the best of a quarter of the "
    "networks, drawn at random, would have (empirical bootstrap, section 3.2)."
)


def overview(results: Results, metrics: Sequence[str] = ("d", "w4")) -> Drawing:
    """Figure 2: the EDF of a space, and error against some parameters with their best values.

    Args:
        results: a population, in the paper AnyNetX.
        metrics: names of `designspace.analysis.metrics`; in the paper depth and the width of the last stage.

    Raises:
        InputError: an unknown metric.
    """
    edfs = Populations.of([results]).edfs()
    figure, (axes,) = new_grid(1, 1 + len(metrics), width=3.6, height=3.4)
    draw_edf(axes[0], edfs, chance_error=results.chance_error)
    numbers = [edf_numbers(edfs).assign(panel="EDF")]
    for ax, metric in zip(axes[1:], metrics, strict=True):
        found = scatter(results, metric)
        draw_scatter(ax, found)
        numbers.append(found.table().assign(panel=metric))
    caption = f"{results.name}: error EDF with its 95% band, and error against {' and '.join(metrics)}. {_BEST_VALUE}"
    table = pd.concat(numbers, ignore_index=True)
    return finish("designing_2_overview", f"Statistics of {results.name}", figure, table, caption, [results])


def shared_parameters(panels: Panels, trend_of: Results, metric: str = "b") -> Drawing:
    """Figure 5: EDFs before and after a parameter is shared by all stages, and error against that parameter.

    Args:
        panels: in the paper A and B (shared bottleneck ratio), and B and C (shared group width).
        trend_of: the population of the last panel, in the paper AnyNetXC.
        metric: what the last panel's axis is.
    """
    results = everything(panels)
    figure, (axes,) = new_grid(1, 1 + len(panels), width=3.6, height=3.6)
    numbers = []
    for ax, (title, group) in zip(axes[:-1], panels.items(), strict=True):
        edfs = Populations.of(group).edfs()
        draw_edf(ax, edfs, chance_error=group[0].chance_error, title=title)
        numbers.append(edf_numbers(edfs).assign(panel=title))
    found = scatter(trend_of, metric)
    draw_scatter(axes[-1], found)
    numbers.append(found.table().assign(panel=metric))
    pairs = [pair for group in panels.values() for pair in compare_all(group)]
    intervals = "".join(
        f" The mean error of {pair.a} less that of {pair.b} is {pair.mean_difference:+.2f} points "
        f"({pair.mean_low:+.2f} to {pair.mean_high:+.2f})."
        for pair in pairs
        if not math.isnan(pair.mean_low)
    )
    caption = (
        "Does sharing a parameter between stages cost anything? Curves that coincide show no difference; how much of a "
        f"loss they leave possible, the interval of the means says.{intervals} "
        f"Right: error against {metric} in {trend_of.name}. {_BEST_VALUE}"
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish(
        "designing_5_shared",
        "Shared parameters",
        figure,
        table,
        caption,
        list({id(r): r for r in [*results, trend_of]}.values()),
    )


def good_and_bad(results: Results, count: int = 3) -> Drawing:
    """Figure 6: the best and the worst networks of a space, width against block index."""
    found = best_and_worst(results, count)
    figure, (axes,) = new_grid(1, 2, width=4.6, height=3.6, sharex=True)
    for ax, stairs, title in zip(axes, (found.best, found.worst), ("best", "worst"), strict=True):
        draw_staircases(ax, stairs)
        ax.set_title(title, fontsize=10)
    caption = f"The {count} best (left) and worst (right) networks of {results.name}: the width of each block."
    return finish(
        "designing_6_good_and_bad", "Good and bad networks", figure, found.table(), caption, [results], NOT_DRAWN
    )


def orders(panels: Panels) -> Drawing:
    """Figure 7: what orders on widths and depths do; in the paper rising, equal and falling ones, a panel each."""
    caption = "The same space with different orders of a parameter from stage to stage."
    return panel_edfs("designing_7_orders", "Orders of widths and depths", panels, caption, columns=2)


def line_fits(best_of: Results, populations: Sequence[Results], count: int = 20, *, fitted: int = 2) -> Drawing:
    """Figure 8: are the widths of good networks quantised linear functions of the block index?

    Left: the best networks and one line through them. Middle: some of them, each with its own quantised line (equations
    2 to 4). Right: how far networks are from their quantised line, e_fit, against their error.

    Args:
        best_of: the population of the first two panels, in the paper AnyNetXE.
        populations: those of the last panel, in the paper AnyNetXC, D and E.
        count: networks in the first panel.
        fitted: networks in the second.
    """
    line = mean_line(best_of, count)
    stairs = best_and_worst(best_of, fitted, fits=True).best
    fits = [fit_population(one) for one in populations]
    figure, (axes,) = new_grid(1, 3, width=4.0, height=3.6)
    draw_mean_line(axes[0], line)
    draw_staircases(axes[1], stairs)
    draw_fit_errors(axes[2], fits)
    numbers = [line.table().assign(panel="line"), *(one.table().assign(panel="fits") for one in stairs)]
    numbers += [one.table().assign(panel="e_fit") for one in fits]
    caption = (
        f"Left: the {len(line.trials)} best networks of {best_of.name} and the line w = {line.slope:.1f} (j + 1) "
        "through them. Middle: the best ones with their own quantised lines (dotted). Right: e_fit, the mean |log| of "
        "fitted over actual width, against error: do networks that are closer to a line do better?"
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish(
        "designing_8_line_fits",
        "Quantised linear widths",
        figure,
        table,
        caption,
        [best_of, *populations],
    )


def regnet(panels: Panels, search_in: Sequence[Results]) -> Drawing:
    """Figure 9: what RegNet gains, its variants, and how few networks a random search needs.

    Args:
        panels: in the paper AnyNetXA, E and RegNetX; RegNetX and its variants w_m = 2 and w_0 = w_a.
        search_in: the populations of the last panel, in the paper RegNetX.
    """
    results = [*everything(panels), *search_in]
    tallest = max(len(group) for group in panels.values())
    figure, (axes,) = new_grid(1, 1 + len(panels), width=3.6, height=3.2 + 0.17 * tallest)
    numbers = []
    for ax, (title, group) in zip(axes[:-1], panels.items(), strict=True):
        edfs = Populations.of(group).edfs()
        draw_edf(ax, edfs, chance_error=group[0].chance_error, title=title)
        numbers.append(edf_numbers(edfs).assign(panel=title))
    curves = [search_curve(one) for one in search_in if one.errors().size]
    draw_search(axes[-1], curves)
    numbers += [one.table().assign(panel="search") for one in curves]
    caption = (
        "Right: the expected error of the best of k networks drawn at random, shaded by its standard deviation from "
        "search to search (which goes to 0 where all networks are drawn)."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("designing_9_regnet", "RegNet", figure, table, caption, results)


def generalisation(panels: Panels) -> Drawing:
    """Figure 10: do the spaces keep their order at other budgets, schedules, numbers of stages and blocks?"""
    caption = "The same spaces in other settings, a panel each."
    return panel_edfs("designing_10_generalisation", "Generalisation", panels, caption)


def parameter_trends(regimes: Sequence[Results]) -> Drawing:
    """Figure 11: the best values of each parameter over flop regimes, one population each.

    Raises:
        InputError: no results, or no parameter that all of them have and one varies.
    """
    everything({"": regimes})
    found = trends(regimes)
    if not found:
        raise InputError(f"no parameter varies in {', '.join(one.name for one in regimes)}")
    columns = min(3, len(found))
    figure, grid = new_grid(-(-len(found) // columns), columns, width=3.4, height=2.8)
    for place, (ax, one) in enumerate(zip(grid.flat, found, strict=False)):
        draw_trend(ax, one, legend=place == 0)
    hide_rest(grid, len(found))
    caption = (
        "The parameters of good networks by flop regime. Light: all networks; dark: 95% interval of the best value; "
        "line: its median; cross: the network of least error."
    )
    table = pd.concat([one.table() for one in found], ignore_index=True)
    return finish("designing_11_trends", "Trends over flop regimes", figure, table, caption, regimes)


def complexity_of_networks(populations: Sequence[Results]) -> Drawing:
    """Figure 12: do multiply-adds or activations tell the measured time, and how do the complexities grow together?

    The paper measures the time of inference on a GPU; what is known of a trial is the time and memory of its training.
    Panels without a measurement are left out, and several devices are drawn apart.
    """
    everything({"": populations})
    pairs = [("flops", "train_s"), ("activations", "train_s"), ("flops", "activations"), ("flops", "params")]
    pairs.append(("activations", "memory_bytes"))
    # A training twice as long takes twice the time; runs of other lengths would draw lines of their own.
    lengths = [length for one in populations for length in one.table["epochs"][one.table["status"] == "done"]]
    usual = max(set(lengths), key=lengths.count) if lengths else None
    some = [one for one in populations if usual is not None and (one.table["epochs"] == usual).any()]
    drawn = [(pair, fits) for pair in pairs if (fits := _fits(some, *pair))]
    figure, grid = new_grid(-(-max(1, len(drawn)) // 3), 3, width=3.6, height=3.2)
    for ax, (_, fits) in zip(grid.flat, drawn, strict=False):
        draw_cost(ax, fits)
    hide_rest(grid, len(drawn))
    told = [f"{fit.complexity.label} and {fit.cost.label}: r = {fit.r:.2f}" for _, fits in drawn for fit in fits[:1]]
    caption = f"How complexities tell measured costs, and each other, with least-squares fits. {'; '.join(told)}."
    tables = [fit.table().assign(panel=" ".join(pair)) for pair, fits in drawn for fit in fits]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return finish(
        "designing_12_complexity", "Complexity, time and memory", figure, table, caption, populations, NOT_DRAWN
    )


def _fits(populations: Sequence[Results], complexity: str, cost: str) -> Sequence[CostFit]:
    """The fits of a panel of figure 12, one a device; none where the cost was not measured or too seldom."""
    known = [one for one in populations if cost in one.table.columns and one.table[cost].notna().any()]
    try:
        return cost_fits(known, complexity, cost) if known else ()
    except InputError:  # too few networks, or of one complexity only
        return ()


def constrained(panels: Panels) -> Drawing:
    """Figure 13: RegNetX and its constrained form, a panel for each flop regime."""
    caption = "RegNetX as it is and with constraints (section 4: b = 1, bounds on depth and w_m, caps)."
    return panel_edfs("designing_13_constrained", "Constrained RegNetX", panels, caption)


def alternatives(panels: Panels) -> Drawing:
    """Figure 14: inverted and depthwise bottlenecks, other resolutions, squeeze-and-excitation, a panel each."""
    caption = "Design choices from elsewhere, tried within RegNetX."
    return panel_edfs("designing_14_alternatives", "Alternative designs", panels, caption)


def best_models(results: Sequence[Results], title: str = "RegNetX") -> Drawing:
    """Figures 15 and 16: the best network of each population (in the paper: of each flop regime), as staircases.

    The numbers hold its parameters and complexity, as the paper's tables do.
    """
    everything({"": results})
    best: list[tuple[Results, Staircase]] = [(one, stairs) for one in results for stairs in best_and_worst(one, 1).best]
    columns = min(4, max(1, len(best)))
    figure, grid = new_grid(-(-max(1, len(best)) // columns), columns, width=3.2, height=3.0)
    for ax, (one, stairs) in zip(grid.flat, best, strict=False):
        draw_staircases(ax, [stairs])
        ax.set_title(plain(short(one.name)), fontsize=10)
    hide_rest(grid, len(best))
    rows = [one.table[one.table["trial"] == stairs.trial].assign(space=one.name) for one, stairs in best]
    numbers = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    name = f"designing_15_best_{''.join(letter for letter in title.lower() if letter.isalnum())}"
    caption = f"The best {title} of each population: the width of each block, and the line it was made from."
    return finish(name, f"Best {title}", figure, numbers, caption, results, NOT_DRAWN)
