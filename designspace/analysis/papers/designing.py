"""The figures of "Designing Network Design Spaces" (arXiv 2003.13678), numbers 2 to 16.

Each function draws one figure from your own results: of the paper's spaces at another scale, or of other spaces that
are compared in the same way. Figures 1, 3 and 4 are schematic.
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
from designspace.analysis.papers.panels import Panels, all_results, hide_unused_axes, panel_edfs
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.analysis.search import search_curve
from designspace.analysis.tradeoffs import CostFit, cost_fits
from designspace.analysis.trends import trends
from designspace.support.errors import InputError

_BEST_VALUE = (
    "The dashed line is the median best value and the shaded range its 95% interval: the values of the best of a "
    "quarter of the networks, drawn at random (empirical bootstrap, section 3.2)."
)


def overview(results: Results, quantities: Sequence[str] = ("d", "w4")) -> Drawing:
    """Draw figure 2: the EDF of a space, and error against some parameters with their best values.

    Args:
        results: a population; AnyNetX in the paper.
        quantities: names of `designspace.analysis.quantities`; depth and the width of the last stage in the paper.

    Raises:
        InputError: an unknown quantity.
    """
    edfs = Populations.of([results]).edfs()
    figure, (axes,) = new_grid(1, 1 + len(quantities), width=3.6, height=3.4)
    draw_edf(axes[0], edfs, chance_error=results.chance_error)
    numbers = [edf_numbers(edfs).assign(panel="EDF")]
    for ax, quantity in zip(axes[1:], quantities, strict=True):
        points = scatter(results, quantity)
        draw_scatter(ax, points)
        numbers.append(points.table().assign(panel=quantity))
    caption = (
        f"{results.name}: {results.metric.name} EDF with its 95% band, and {results.metric.name} against "
        f"{' and '.join(quantities)}. {_BEST_VALUE}"
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("designing_2_overview", f"Statistics of {results.name}", figure, table, caption, [results])


def shared_parameters(panels: Panels, trend_of: Results, quantity: str = "b") -> Drawing:
    """Draw figure 5: EDFs before and after a parameter is shared by all stages, and error against that parameter.

    Args:
        panels: populations to compare; in the paper A and B (shared bottleneck ratio), B and C (shared group width).
        trend_of: the population of the last panel; AnyNetXC in the paper.
        quantity: the quantity on the last panel's axis.
    """
    results = all_results(panels)
    figure, (axes,) = new_grid(1, 1 + len(panels), width=3.6, height=3.6)
    numbers = []
    for ax, (title, group) in zip(axes[:-1], panels.items(), strict=True):
        edfs = Populations.of(group).edfs()
        draw_edf(ax, edfs, chance_error=group[0].chance_error, title=title)
        numbers.append(edf_numbers(edfs).assign(panel=title))
    points = scatter(trend_of, quantity)
    draw_scatter(axes[-1], points)
    numbers.append(points.table().assign(panel=quantity))
    pairs = [pair for group in panels.values() for pair in compare_all(group)]
    intervals = "".join(
        f" The mean {pair.metric.name} of {pair.a} less that of {pair.b} is "
        f"{pair.metric.difference(pair.own_means[0])} ({pair.metric.signed(pair.own_means[1])} to "
        f"{pair.metric.signed(pair.own_means[2])})."
        for pair in pairs
        if not math.isnan(pair.mean_low)
    )
    caption = (
        "Does sharing a parameter between stages cost accuracy? Curves that coincide show no difference; the interval "
        f"of the means shows how large a loss is still possible.{intervals} "
        f"Right: {trend_of.metric.name} against {quantity} in {trend_of.name}. {_BEST_VALUE}"
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish(
        "designing_5_shared",
        "Shared parameters",
        figure,
        table,
        caption,
        list({id(population): population for population in [*results, trend_of]}.values()),
    )


def good_and_bad(results: Results, count: int = 3) -> Drawing:
    """Draw figure 6: the best and the worst networks of a space, width against block index."""
    networks = best_and_worst(results, count)
    figure, (axes,) = new_grid(1, 2, width=4.6, height=3.6, sharex=True)
    for ax, stairs, title in zip(axes, (networks.best, networks.worst), ("best", "worst"), strict=True):
        draw_staircases(ax, stairs)
        ax.set_title(title, fontsize=10)
    caption = f"The {count} best (left) and worst (right) networks of {results.name}: the width of each block."
    return finish(
        "designing_6_good_and_bad", "Good and bad networks", figure, networks.table(), caption, [results], NOT_DRAWN
    )


def orders(panels: Panels) -> Drawing:
    """Draw figure 7: orders on widths and depths, one panel each; in the paper rising, equal and falling ones."""
    caption = "The same space with different orders of a parameter from stage to stage."
    return panel_edfs("designing_7_orders", "Orders of widths and depths", panels, caption, columns=2)


def line_fits(best_of: Results, populations: Sequence[Results], count: int = 20, *, fitted: int = 2) -> Drawing:
    """Draw figure 8, which shows whether the widths of good networks are quantised linear functions of the block index.

    Left: the best networks and one line through them. Middle: some of them, each with its own quantised line (equations
    2 to 4). Right: e_fit, the distance of networks from their quantised line, against their error.

    Args:
        best_of: the population of the first two panels; AnyNetXE in the paper.
        populations: the populations of the last panel; AnyNetXC, D and E in the paper.
        count: number of networks in the first panel.
        fitted: number of networks in the second panel.
    """
    line = mean_line(best_of, count)
    stairs = best_and_worst(best_of, fitted, fits=True).best
    fits = [fit_population(population) for population in populations]
    figure, (axes,) = new_grid(1, 3, width=4.0, height=3.6)
    draw_mean_line(axes[0], line)
    draw_staircases(axes[1], stairs)
    draw_fit_errors(axes[2], fits)
    numbers = [line.table().assign(panel="line"), *(stair.table().assign(panel="fits") for stair in stairs)]
    numbers += [fit.table().assign(panel="e_fit") for fit in fits]
    caption = (
        f"Left: the {len(line.trials)} best networks of {best_of.name} and the line w = {line.slope:.1f} (j + 1) "
        "through them. Middle: the best networks with their own quantised lines (dotted). Right: e_fit, the mean |log| "
        "of fitted over actual width, against the "
        f"{best_of.metric.name}: are networks that are closer to a line better?"
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
    """Draw figure 9: the gain of RegNet, its variants, and how few networks a random search needs.

    Args:
        panels: populations to compare; in the paper AnyNetXA, E and RegNetX; RegNetX, w_m = 2 and w_0 = w_a.
        search_in: the populations of the last panel; RegNetX in the paper.
    """
    results = [*all_results(panels), *search_in]
    tallest = max(len(group) for group in panels.values())
    figure, (axes,) = new_grid(1, 1 + len(panels), width=3.6, height=3.2 + 0.17 * tallest)
    numbers = []
    for ax, (title, group) in zip(axes[:-1], panels.items(), strict=True):
        edfs = Populations.of(group).edfs()
        draw_edf(ax, edfs, chance_error=group[0].chance_error, title=title)
        numbers.append(edf_numbers(edfs).assign(panel=title))
    curves = [search_curve(population) for population in search_in if population.errors().size]
    draw_search(axes[-1], curves)
    numbers += [curve.table().assign(panel="search") for curve in curves]
    caption = (
        f"Right: the expected {results[0].metric.name} of the best of k networks drawn at random; shaded: its standard "
        "deviation from search to search (which falls to 0 when all networks are drawn)."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("designing_9_regnet", "RegNet", figure, table, caption, results)


def generalisation(panels: Panels) -> Drawing:
    """Draw figure 10: the spaces at other budgets, schedules, numbers of stages and blocks."""
    caption = "The same spaces in other settings, one panel each."
    return panel_edfs("designing_10_generalisation", "Generalisation", panels, caption)


def parameter_trends(regimes: Sequence[Results], x: str = "flops") -> Drawing:
    """Draw figure 11: the best values of each parameter over regimes, one population each.

    Args:
        regimes: the populations.
        x: the quantity whose medians are the positions of the populations.

    Raises:
        InputError: there are no results, ``x`` is unknown, or no common parameter varies.
    """
    all_results({"": regimes})
    all_trends = trends(regimes, x=x)
    if not all_trends:
        raise InputError(f"no parameter varies in {', '.join(regime.name for regime in regimes)}")
    columns = min(3, len(all_trends))
    figure, grid = new_grid(-(-len(all_trends) // columns), columns, width=3.4, height=2.8)
    for index, (ax, trend) in enumerate(zip(grid.flat, all_trends, strict=False)):
        draw_trend(ax, trend, legend=index == 0)
    hide_unused_axes(grid, len(all_trends))
    position = all_trends[0].x_quantity
    regime = "flop regime" if position is None or position.name == "flops" else position.noun
    caption = (
        f"The parameters of good networks by {regime}. Light: all networks; dark: 95% interval of the best value; "
        "line: its median; cross: the best network."
    )
    table = pd.concat([trend.table() for trend in all_trends], ignore_index=True)
    return finish("designing_11_trends", "Trends over flop regimes", figure, table, caption, regimes)


def complexity_of_networks(populations: Sequence[Results]) -> Drawing:
    """Draw figure 12: how multiply-adds and activations predict the measured time, and how complexities are related.

    The paper measures inference time on a GPU; for a trial, the time and memory of its training are known. Panels
    without a measurement are left out, and each device has its own fit.
    """
    all_results({"": populations})
    pairs = [("flops", "train_s"), ("activations", "train_s"), ("flops", "activations"), ("flops", "params")]
    pairs.append(("activations", "memory_bytes"))
    # Twice the epochs take twice the time, so only trainings of the most frequent length are comparable.
    lengths = [
        length
        for population in populations
        for length in population.table["epochs"][population.table["status"] == "done"]
    ]
    most_frequent = max(set(lengths), key=lengths.count) if lengths else None
    comparable = [
        population
        for population in populations
        if most_frequent is not None and (population.table["epochs"] == most_frequent).any()
    ]
    drawn = [(pair, fits) for pair in pairs if (fits := _fits(comparable, *pair))]
    figure, grid = new_grid(-(-max(1, len(drawn)) // 3), 3, width=3.6, height=3.2)
    for ax, (_, fits) in zip(grid.flat, drawn, strict=False):
        draw_cost(ax, fits)
    hide_unused_axes(grid, len(drawn))
    correlations = [
        f"{fit.complexity.label} and {fit.cost.label}: r = {fit.r:.2f}" for _, fits in drawn for fit in fits[:1]
    ]
    caption = f"Complexities against measured costs and each other, with least-squares fits. {'; '.join(correlations)}."
    tables = [fit.table().assign(panel=" ".join(pair)) for pair, fits in drawn for fit in fits]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return finish(
        "designing_12_complexity", "Complexity, time and memory", figure, table, caption, populations, NOT_DRAWN
    )


def _fits(populations: Sequence[Results], complexity: str, cost: str) -> Sequence[CostFit]:
    """Return the fits of a panel of figure 12, one per device; none if there are too few measurements."""
    known = [
        population
        for population in populations
        if cost in population.table.columns and population.table[cost].notna().any()
    ]
    try:
        return cost_fits(known, complexity, cost) if known else ()
    except InputError:  # too few networks, or of one complexity only
        return ()


def constrained(panels: Panels) -> Drawing:
    """Draw figure 13: RegNetX and its constrained form, one panel per flop regime."""
    caption = "RegNetX without and with constraints (section 4: b = 1, bounds on depth and w_m, caps)."
    return panel_edfs("designing_13_constrained", "Constrained RegNetX", panels, caption)


def alternatives(panels: Panels) -> Drawing:
    """Draw figure 14: inverted and depthwise bottlenecks, other resolutions, squeeze-and-excitation, one panel each."""
    caption = "Design choices from other networks, applied to RegNetX."
    return panel_edfs("designing_14_alternatives", "Alternative designs", panels, caption)


def best_models(results: Sequence[Results], title: str = "RegNetX") -> Drawing:
    """Draw figures 15 and 16: the best network of each population (each flop regime in the paper) as staircases.

    The numbers contain their parameters and complexities, as the paper's tables do.
    """
    all_results({"": results})
    best: list[tuple[Results, Staircase]] = [
        (population, stairs) for population in results for stairs in best_and_worst(population, 1).best
    ]
    columns = min(4, max(1, len(best)))
    figure, grid = new_grid(-(-max(1, len(best)) // columns), columns, width=3.2, height=3.0)
    for ax, (population, stairs) in zip(grid.flat, best, strict=False):
        draw_staircases(ax, [stairs])
        ax.set_title(plain(short(population.name)), fontsize=10)
    hide_unused_axes(grid, len(best))
    rows = [
        population.table[population.table["trial"] == stairs.trial].assign(space=population.name)
        for population, stairs in best
    ]
    numbers = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    name = f"designing_15_best_{''.join(letter for letter in title.lower() if letter.isalnum())}"
    caption = f"The best {title} of each population: the width of each block, and the line that it was generated from."
    return finish(name, f"Best {title}", figure, numbers, caption, results, NOT_DRAWN)
