"""The figures of every report: of each population, and of all pairs of populations.

The figures of the papers are in `designspace.analysis.papers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd

from designspace.analysis.best_values import scatter
from designspace.analysis.comparison import Comparison, comparison_table
from designspace.analysis.curves import epoch_ranks, learning_curves
from designspace.analysis.difference import difference
from designspace.analysis.edf import edf
from designspace.analysis.effects import best_of_k
from designspace.analysis.equal_cost import EqualCost
from designspace.analysis.figures import Drawing, draw_edf, finish, new_grid
from designspace.analysis.figures.compare import draw_best_of_k, draw_difference, draw_effects, draw_paired
from designspace.analysis.figures.curves import draw_curves, draw_epoch_ranks
from designspace.analysis.figures.drawing import NOT_DRAWN
from designspace.analysis.figures.importance import draw_importance
from designspace.analysis.figures.networks import draw_staircases
from designspace.analysis.figures.scatter import draw_map, draw_pareto, draw_scatter
from designspace.analysis.figures.search import draw_search
from designspace.analysis.figures.style import plain, short
from designspace.analysis.importance import importance
from designspace.analysis.matched import Matched, matched_table
from designspace.analysis.networks import best_and_worst
from designspace.analysis.paired import compare_paired
from designspace.analysis.papers.panels import all_results, hide_unused_axes
from designspace.analysis.planes import plane
from designspace.analysis.populations import Populations
from designspace.analysis.quantities import common_costs, quantity, varying_quantities
from designspace.analysis.results import Results
from designspace.analysis.search import doubling_sizes, search_curve
from designspace.analysis.tradeoffs import pareto
from designspace.networks.quantities import Quantity
from designspace.support.errors import InputError

MOST_PAIRS = 6
"""Largest number of pairs of runs that are drawn."""


def pair_figures(
    results: Sequence[Results],
    *,
    level: float = 0.05,
    most: int = MOST_PAIRS,
    seed: int = 0,
) -> Drawing:
    """Draw, for each pair of populations, the difference of their EDFs and whose best of k networks is better.

    Args:
        results: two or more populations; those without a trial that counts are left out.
        level: one minus the confidence of the bands.
        most: largest number of pairs to draw; the first ones are drawn.
        seed: seed of the bootstrap band.

    Raises:
        InputError: fewer than two populations have a trial that counts.
    """
    populations = Populations.of(results).with_errors.members
    pairs = list(itertools.combinations(populations, 2))
    if not pairs:
        raise InputError("a comparison needs two populations with finished trials")
    drawn_pairs = pairs[:most]
    figure, grid = new_grid(len(drawn_pairs), 2, width=4.4, height=2.9)
    numbers = []
    for axes, (a, b) in zip(grid, drawn_pairs, strict=True):
        errors = a.errors(), b.errors()
        gap = difference(
            edf(errors[0], metric=a.metric), edf(errors[1], metric=a.metric), level / len(pairs), seed=seed
        )
        # If k is close to the number of networks, two fixed minima are compared and the probability is near 0 or 1.
        largest = max(1, min(errors[0].size, errors[1].size) // 3)
        chances = best_of_k(*errors, doubling_sizes(largest), level)
        draw_difference(axes[0], gap, (a.name, b.name))
        draw_best_of_k(axes[1], chances, (a.name, b.name))
        numbers += [
            gap.table().assign(a=a.name, b=b.name, panel="difference"),
            chances.table().assign(a=a.name, b=b.name, panel="best of k"),
        ]
    correction = (
        f" (Bonferroni-corrected for {100 * (1 - level):g}% over all {len(pairs)} pairs)" if len(pairs) > 1 else ""
    )
    left_out = f" Only the first {most} of {len(pairs)} pairs are drawn." if len(pairs) > most else ""
    caption = (
        f"Left: difference of two EDFs with its simultaneous {100 * (1 - level / len(pairs)):.3g}% band{correction}. "
        "Right: probability that the best of k networks of the first space beats the best of k networks of the second, "
        f"for k up to a third of the networks, with {100 * (1 - level):g}% intervals if k is small enough.{left_out}"
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("pairs", "Spaces against each other", figure, table, caption, results)


def effects_figure(results: Sequence[Results], comparisons: Sequence[Comparison]) -> Drawing:
    """Draw the probability that a network of one space beats one of the other, for all pairs."""
    if not comparisons:
        raise InputError("a comparison needs two populations with finished trials")
    figure, ((ax,),) = new_grid(1, 1, width=6.4, height=1.4 + 0.3 * len(comparisons))
    draw_effects(ax, comparisons)
    metric = comparisons[0].metric
    caption = (
        f"Probability that a random network of the first space has the {metric.better_word} {metric.name}, with its "
        "interval."
    )
    return finish("effects", "Effect sizes", figure, comparison_table(comparisons), caption, results)


def equal_cost_figure(
    results: Sequence[Results], equal_costs: Sequence[EqualCost], matched: Sequence[Matched], *, level: float = 0.05
) -> Drawing:
    """Draw the EDFs of all populations at equal values of each quantity, a panel per quantity.

    The numbers are those of the curves (``panel`` is "EDF"), and of the tests of all pairs (``panel`` is "test").

    Args:
        results: the populations, in the order of their colours.
        equal_costs: the EDFs, one or more quantities.
        matched: the tests of pairs.
        level: one minus the confidence of the bands.
    """
    names = [population.name for population in results]
    metric = results[0].metric
    columns = min(3, len(equal_costs))
    height = 3.4 + 0.17 * max(len(each.edfs) for each in equal_costs)
    figure, grid = new_grid(-(-len(equal_costs) // columns), columns, width=4.4, height=height)
    hide_unused_axes(grid, len(equal_costs))
    for ax, each in zip(grid.flat, equal_costs, strict=False):
        draw_edf(
            ax,
            each.edfs,
            level=level,
            chance_error=results[0].chance_error,
            title=f"at equal {each.quantity.noun}",
            indices=[names.index(name) for name in each.edfs],
        )
    caption = (
        f"{metric.title} EDFs whose networks are weighted as if all populations had the same distribution of a "
        f"quantity (arXiv 1905.13214, section 4.2). {' '.join(each.sentence() for each in equal_costs)} "
        f"{' '.join(test.sentence() for test in matched)}"
    )
    tables = [each.table(level).assign(panel="EDF") for each in equal_costs]
    table = pd.concat([*tables, matched_table(matched).assign(panel="test")], ignore_index=True)
    drawn = [population for population in results if any(population.name in each.edfs for each in equal_costs)]
    return finish("matched", "At equal cost", figure, table, caption, drawn)


def parameters_figure(results: Results, *, columns: int = 4) -> Drawing:
    """Draw error against every parameter, setting and cost that varies in a population, with the best values."""
    quantities = varying_quantities(results)
    if not quantities:
        raise InputError(f"{results.name}: no parameter varies")
    figure, grid = new_grid(-(-len(quantities) // columns), min(columns, len(quantities)), width=3.0, height=2.6)
    numbers = []
    for ax, varying in zip(grid.flat, quantities, strict=False):
        points = scatter(results, varying)
        draw_scatter(ax, points)
        numbers.append(points.table().assign(quantity=varying.name))
    hide_unused_axes(grid, len(quantities))
    caption = (
        f"{results.metric.title} of {results.name} against each parameter, setting and cost. Dashed: median best "
        "value; shaded: its 95% interval (empirical bootstrap: the best of a quarter of the networks, drawn at random)."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("parameters", f"Parameters of {results.name}", figure, table, caption, [results])


def importance_figure(results: Results, *, seed: int = 0) -> Drawing:
    """Draw which parameters matter: permutation importance of a random forest, with how much the forest explains.

    Raises:
        InputError: there are too few finished trials, or all errors or parameters are equal.
    """
    importances = importance(results, seed=seed)
    figure, ((ax,),) = new_grid(1, 1, width=5.4, height=1.4 + 0.28 * min(12, len(importances.parameters)))
    draw_importance(ax, importances)
    return finish(
        "importance",
        f"Importance in {results.name}",
        figure,
        importances.table(),
        importances.sentence(),
        [results],
    )


def maps_figure(
    results: Results, pairs: Sequence[tuple[str, str]] = (("d", "w_mean"), ("flops", "activations"))
) -> Drawing:
    """Draw networks by pairs of quantities, coloured by the rank of their error."""
    figure, (axes,) = new_grid(1, len(pairs), width=4.2, height=3.4)
    numbers = []
    for ax, (x, y) in zip(axes, pairs, strict=True):
        points = plane(results, x, y)
        draw_map(ax, points)
        numbers.append(points.table().assign(panel=f"{x}, {y}"))
    rank = f"rank of their {results.metric.name}"
    caption = f"Networks of {results.name}, coloured by the {rank}; the best one is ringed."
    table = pd.concat(numbers, ignore_index=True)
    return finish(
        "maps", f"Where the good networks of {results.name} are", figure, table, caption, [results], "drawn as crosses"
    )


def networks_figure(results: Sequence[Results], count: int = 3) -> Drawing:
    """Draw the best and the worst networks of each population as width staircases."""
    all_results({"": results})
    figure, grid = new_grid(len(results), 2, width=4.4, height=3.2)
    numbers = []
    for axes, population in zip(grid, results, strict=True):
        networks = best_and_worst(population, count)
        for ax, stairs, kind in zip(axes, (networks.best, networks.worst), ("best", "worst"), strict=True):
            draw_staircases(ax, stairs)
            ax.set_title(plain(f"{short(population.name)}: {kind}"), fontsize=10)
        numbers.append(networks.table().assign(space=population.name))
    caption = f"The {count} best and worst networks of each space: the width of each block."
    table = pd.concat(numbers, ignore_index=True)
    return finish("networks", "Best and worst networks", figure, table, caption, results, NOT_DRAWN)


def search_figure(results: Sequence[Results]) -> Drawing:
    """Draw the expected best error of a random search of k networks in each population."""
    all_results({"": results})
    curves = [search_curve(population) for population in Populations.of(results).with_errors]
    figure, ((ax,),) = new_grid(1, 1, width=5.4, height=3.6)
    draw_search(ax, curves)
    name = results[0].metric.name if results else "error"
    caption = f"Expected {name} of the best of k networks drawn at random, shaded by its standard deviation."
    numbers = pd.concat([curve.table() for curve in curves], ignore_index=True) if curves else pd.DataFrame()
    return finish("search", "Random search", figure, numbers, caption, results)


def pareto_figure(results: Sequence[Results], costs: Sequence[str | Quantity] | None = None) -> Drawing:
    """Draw error against each of some costs, with the Pareto front of each population.

    Args:
        results: the populations.
        costs: quantities; by default the costs of networks that all populations have, such as flops and latency.

    Raises:
        InputError: a quantity is unknown, or a population does not have it.
    """
    all_results({"": results})
    chosen = common_costs(results) if costs is None else [quantity(cost, *results) for cost in costs]
    if not chosen:
        raise InputError("these populations have no cost in common")
    columns = min(3, len(chosen))
    figure, grid = new_grid(-(-len(chosen) // columns), columns, width=3.8, height=3.4)
    hide_unused_axes(grid, len(chosen))
    numbers = []
    for ax, cost in zip(grid.flat, chosen, strict=False):
        fronts = [pareto(population, cost) for population in results]
        draw_pareto(ax, fronts)
        numbers += [front.table().assign(cost=cost.name) for front in fronts]
    title = f"{results[0].metric.title} against cost"
    caption = f"{title}. The steps join the networks that no cheaper network beats (Pareto front)."
    table = pd.concat(numbers, ignore_index=True)
    return finish("pareto", title, figure, table, caption, results, NOT_DRAWN)


def curves_figure(results: Sequence[Results]) -> Drawing:
    """Draw the learning curves of the best, median and worst network, and the rank correlation of early errors.

    Raises:
        InputError: no done trial has known epochs.
    """
    populations = [run for run in results if run.histories and (run.table["status"] == "done").any()]
    if not populations:
        raise InputError("no done trial has known epochs")
    figure, (axes,) = new_grid(1, len(populations) + 1, width=3.6, height=3.2)
    numbers = []
    for ax, population in zip(axes, populations, strict=False):
        curves = learning_curves(population)
        draw_curves(ax, curves)
        numbers.append(curves.table().assign(panel="curves"))
    correlations = [epoch_ranks(population) for population in populations]
    draw_epoch_ranks(axes[-1], correlations)
    numbers += [correlation.table().assign(panel="ranks") for correlation in correlations]
    name = results[0].metric.name
    thin = f" and training {name}s (thin)" if results[0].metric.is_default else ""
    caption = (
        f"Test {name}s (thick){thin} of the best, median and worst network of each space. Right: "
        f"rank correlation of the {name} after each epoch with the final {name}."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("curves", "Learning curves", figure, table, caption, results, NOT_DRAWN)


def paired_figure(a: Results, b: Results) -> Drawing:
    """Draw the errors of the same networks under two recipes, to see whether both rank them alike.

    Raises:
        InputError: the runs have too few networks in common.
    """
    paired = compare_paired(a, b)
    figure, ((ax,),) = new_grid(1, 1, width=4.6, height=4.2)
    draw_paired(ax, paired)
    return finish("paired", f"{a.name} and {b.name}", figure, paired.table(), paired.sentence(), [a, b])
