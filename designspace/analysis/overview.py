"""The figures that every report has: of each population, and of all pairs of them.

Those of the papers are in `designspace.analysis.papers`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence

import pandas as pd

from designspace.analysis.best_values import scatter
from designspace.analysis.comparison import Comparison, comparison_table
from designspace.analysis.curves import epoch_ranks, learning_curves
from designspace.analysis.difference import difference
from designspace.analysis.edf import edf
from designspace.analysis.effects import best_of_k
from designspace.analysis.figures import Drawing, draw_edf, edf_numbers, finish, new_grid
from designspace.analysis.figures.compare import draw_best_of_k, draw_difference, draw_effects, draw_paired
from designspace.analysis.figures.curves import draw_curves, draw_epoch_ranks
from designspace.analysis.figures.drawing import NOT_DRAWN
from designspace.analysis.figures.importance import draw_importance
from designspace.analysis.figures.networks import draw_staircases
from designspace.analysis.figures.scatter import draw_map, draw_pareto, draw_scatter
from designspace.analysis.figures.search import draw_search
from designspace.analysis.figures.style import plain, short
from designspace.analysis.importance import importance
from designspace.analysis.matched import Matched, edfs_at_equal_complexity
from designspace.analysis.metrics import metrics_of, plane
from designspace.analysis.networks import best_and_worst
from designspace.analysis.paired import compare_paired
from designspace.analysis.papers.designing import complexity_of_networks
from designspace.analysis.papers.panels import everything, hide_rest
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions import same_training
from designspace.analysis.results import Results
from designspace.analysis.search import doubling_sizes, search_curve
from designspace.analysis.tradeoffs import pareto
from designspace.support.errors import InputError

MOST_PAIRS = 6
"""So many pairs of runs are drawn at most."""


def figures_of(
    results: Sequence[Results],
    comparisons: Sequence[Comparison],
    *,
    every: bool = False,
    level: float = 0.05,
    seed: int = 0,
) -> list[Drawing]:
    """The figures of a report beside its EDFs, as far as the results have what they show.

    Args:
        results: of one or more runs.
        comparisons: of all pairs of them that can be compared.
        every: also those that take longer, a set for each run.
        level: one minus the confidence of bands and intervals.
        seed: of bootstraps and forests.
    """
    finished = Populations.of(results).with_errors.members
    done = [one for one in finished if (one.table["status"] == "done").any()]
    drawn = []
    if comparisons:
        drawn += [
            effects_figure(finished, comparisons),
            pair_figures(finished, level=level, seed=seed),
        ]
    for place, (a, b) in enumerate(pairs_of_same_networks(finished)[:MOST_PAIRS], start=1):
        drawn.append(renamed(paired_figure(a, b), f"paired_{place}"))
    if finished:
        drawn.append(search_figure(finished))
    costed = [one for one in done if one.table["flops"].notna().any()]
    if costed:
        drawn.append(pareto_figure(costed))
    staged = [one for one in done if one.num_stages]
    if staged:
        drawn.append(networks_figure(staged))
    if any(one.histories for one in done):
        drawn.append(curves_figure(done))
    if every and costed:
        drawn.append(complexity_of_networks(costed))
    for place, one in enumerate(finished if every else (), start=1):
        if {"d", "w_mean", "flops", "activations"} <= {metric.name for metric in metrics_of(one)}:
            drawn.append(renamed(maps_figure(one), f"maps_{place}"))
        if metrics_of(one):
            drawn.append(renamed(parameters_figure(one), f"parameters_{place}"))
        with contextlib.suppress(InputError):  # too few networks, or nothing that could decide
            drawn.append(renamed(importance_figure(one, seed=seed), f"importance_{place}"))
    return drawn


def pairs_of_same_networks(results: Sequence[Results]) -> list[tuple[Results, Results]]:
    """Return the pairs of runs with five finished networks or more in common, trained under other recipes or seeds."""
    ended = {one.name: set(one.table["id"][one.counted()]) for one in results}
    unique = [one for one in results if len(ended[one.name]) == int(one.counted().sum())]
    return [
        (a, b)
        for a, b in itertools.combinations(unique, 2)
        if len(ended[a.name] & ended[b.name]) >= 5 and not _are_same_trials(a, b)
    ]


def _are_same_trials(a: Results, b: Results) -> bool:
    """Whether networks in common were trained with one recipe and seed: to compare a trial with itself says nothing."""
    seeds = [set(one.table["seed"]) for one in (a, b)]
    return seeds[0] == seeds[1] and same_training(a, b).holds


def renamed(drawing: Drawing, name: str) -> Drawing:
    """The same drawing, with files of another name."""
    return dataclasses.replace(drawing, name=name)


def pair_figures(
    results: Sequence[Results],
    *,
    level: float = 0.05,
    most: int = MOST_PAIRS,
    seed: int = 0,
) -> Drawing:
    """For each pair of populations: the difference of their EDFs, and whose best of k networks is better.

    Args:
        results: two or more; those without a trial that counts are left out.
        level: one minus the confidence of the bands.
        most: pairs, at most, that are drawn; of more the first ones.
        seed: of the bootstrap band.

    Raises:
        InputError: fewer than two populations have a trial that counts.
    """
    some = Populations.of(results).with_errors.members
    pairs = list(itertools.combinations(some, 2))
    if not pairs:
        raise InputError("a comparison needs two populations with finished trials")
    drawn = pairs[:most]
    figure, grid = new_grid(len(drawn), 2, width=4.4, height=2.9)
    numbers = []
    for axes, (a, b) in zip(grid, drawn, strict=True):
        errors = a.errors(), b.errors()
        gap = difference(edf(errors[0]), edf(errors[1]), level / len(pairs), seed=seed)
        # Close to all networks, two fixed minima are compared, and the probability goes to 0 or 1 whatever the spaces.
        largest = max(1, min(errors[0].size, errors[1].size) // 3)
        chances = best_of_k(*errors, doubling_sizes(largest), level)
        draw_difference(axes[0], gap, (a.name, b.name))
        draw_best_of_k(axes[1], chances, (a.name, b.name))
        numbers += [
            gap.table().assign(a=a.name, b=b.name, panel="difference"),
            chances.table().assign(a=a.name, b=b.name, panel="best of k"),
        ]
    over = (
        f" (Bonferroni's, so that {100 * (1 - level):g}% is kept over all {len(pairs)} pairs)" if len(pairs) > 1 else ""
    )
    left_out = f" Of {len(pairs)} pairs the first {most} are drawn." if len(pairs) > most else ""
    caption = (
        f"Left: difference of two EDFs with its simultaneous {100 * (1 - level / len(pairs)):.3g}% band{over}. Right: "
        "probability that the best of k networks of the first space beats the best of k of the "
        f"second, for k up to a third of them, with {100 * (1 - level):g}% intervals where k is small enough.{left_out}"
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("pairs", "Spaces against each other", figure, table, caption, results)


def effects_figure(results: Sequence[Results], comparisons: Sequence[Comparison]) -> Drawing:
    """The probability that a network of one space beats one of the other, for all pairs at once."""
    if not comparisons:
        raise InputError("a comparison needs two populations with finished trials")
    figure, ((ax,),) = new_grid(1, 1, width=6.4, height=1.4 + 0.3 * len(comparisons))
    draw_effects(ax, comparisons)
    caption = "Probability that a random network of the first space has the lower error, with its interval."
    return finish("effects", "Effect sizes", figure, comparison_table(comparisons), caption, results)


def matched_figures(results: Sequence[Results], matched: Sequence[Matched], *, level: float = 0.05) -> list[Drawing]:
    """Draw the EDFs of the pairs that were matched, weighed as if both had the same complexities, a panel each."""
    if not matched:
        return []
    named = {one.name: one for one in results}
    shown = matched[:MOST_PAIRS]
    columns = min(3, len(shown))
    figure, grid = new_grid(-(-len(shown) // columns), columns, width=4.4, height=3.6)
    hide_rest(grid, len(shown))
    numbers = []
    for ax, pair in zip(grid.flat, shown, strict=False):
        curves = edfs_at_equal_complexity([named[pair.a], named[pair.b]], pair.match)
        draw_edf(
            ax,
            curves,
            level=level,
            chance_error=results[0].chance_error,
            title=f"at equal {pair.match}",
            places=[list(named).index(name) for name in curves],
        )
        numbers.append(edf_numbers(curves, level).assign(match=pair.match, a=pair.a, b=pair.b))
    left_out = f" Of {len(matched)} pairs the first {MOST_PAIRS} are drawn." if len(matched) > MOST_PAIRS else ""
    caption = (
        "Error EDFs whose networks are weighed as if both populations had the same complexities (arXiv 1905.13214, "
        f"section 4.2). {' '.join(pair.sentence() for pair in shown)}{left_out}"
    )
    table = pd.concat(numbers, ignore_index=True)
    drawn = [one for one in results if any(one.name in (pair.a, pair.b) for pair in shown)]
    return [finish("matched", "At equal complexity", figure, table, caption, drawn)]


def parameters_figure(results: Results, *, columns: int = 4) -> Drawing:
    """Error against every parameter and complexity that varies in a population, with the best values."""
    metrics = metrics_of(results)
    if not metrics:
        raise InputError(f"{results.name}: no parameter varies")
    figure, grid = new_grid(-(-len(metrics) // columns), min(columns, len(metrics)), width=3.0, height=2.6)
    numbers = []
    for ax, metric in zip(grid.flat, metrics, strict=False):
        found = scatter(results, metric)
        draw_scatter(ax, found)
        numbers.append(found.table().assign(metric=metric.name))
    hide_rest(grid, len(metrics))
    caption = (
        f"Error of {results.name} against each parameter and complexity. Dashed: median best value; shaded: its 95% "
        "interval (empirical bootstrap: the best of a quarter of the networks, drawn at random)."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("parameters", f"Parameters of {results.name}", figure, table, caption, [results])


def importance_figure(results: Results, *, seed: int = 0) -> Drawing:
    """Which parameters decide: importance by permutation on a forest, with how much that forest explains.

    Raises:
        InputError: too few finished trials, or errors or parameters that are all equal.
    """
    found = importance(results, seed=seed)
    figure, ((ax,),) = new_grid(1, 1, width=5.4, height=1.4 + 0.28 * min(12, len(found.parameters)))
    draw_importance(ax, found)
    return finish(
        "importance",
        f"Importance in {results.name}",
        figure,
        found.table(),
        found.sentence(),
        [results],
    )


def maps_figure(
    results: Results, pairs: Sequence[tuple[str, str]] = (("d", "w_mean"), ("flops", "activations"))
) -> Drawing:
    """Networks in pairs of parameters or complexities, coloured by the rank of their error."""
    figure, (axes,) = new_grid(1, len(pairs), width=4.2, height=3.4)
    numbers = []
    for ax, (x, y) in zip(axes, pairs, strict=True):
        found = plane(results, x, y)
        draw_map(ax, found)
        numbers.append(found.table().assign(panel=f"{x}, {y}"))
    caption = f"Networks of {results.name}, coloured by the rank of their error; the best one is ringed."
    table = pd.concat(numbers, ignore_index=True)
    return finish(
        "maps", f"Where the good networks of {results.name} are", figure, table, caption, [results], "drawn as crosses"
    )


def networks_figure(results: Sequence[Results], count: int = 3) -> Drawing:
    """The best and the worst networks of each population as width staircases."""
    everything({"": results})
    figure, grid = new_grid(len(results), 2, width=4.4, height=3.2)
    numbers = []
    for axes, one in zip(grid, results, strict=True):
        found = best_and_worst(one, count)
        for ax, stairs, word in zip(axes, (found.best, found.worst), ("best", "worst"), strict=True):
            draw_staircases(ax, stairs)
            ax.set_title(plain(f"{short(one.name)}: {word}"), fontsize=10)
        numbers.append(found.table().assign(space=one.name))
    caption = f"The {count} best and worst networks of each space: the width of each block."
    table = pd.concat(numbers, ignore_index=True)
    return finish("networks", "Best and worst networks", figure, table, caption, results, NOT_DRAWN)


def search_figure(results: Sequence[Results]) -> Drawing:
    """What a random search of k networks finds in each population."""
    everything({"": results})
    curves = [search_curve(one) for one in Populations.of(results).with_errors]
    figure, ((ax,),) = new_grid(1, 1, width=5.4, height=3.6)
    draw_search(ax, curves)
    caption = "Expected error of the best of k networks drawn at random, shaded by its standard deviation."
    numbers = pd.concat([one.table() for one in curves], ignore_index=True) if curves else pd.DataFrame()
    return finish("search", "Random search", figure, numbers, caption, results)


def pareto_figure(results: Sequence[Results]) -> Drawing:
    """Error against each complexity, with the Pareto front of each population."""
    everything({"": results})
    complexities = ("flops", "params", "activations")
    figure, (axes,) = new_grid(1, len(complexities), width=3.8, height=3.4)
    numbers = []
    for ax, complexity in zip(axes, complexities, strict=True):
        fronts = [pareto(one, complexity) for one in results]
        draw_pareto(ax, fronts)
        numbers += [one.table().assign(complexity=complexity) for one in fronts]
    caption = "Error against complexity. On the steps are the networks that no smaller one beats (Pareto front)."
    table = pd.concat(numbers, ignore_index=True)
    return finish("pareto", "Error against complexity", figure, table, caption, results, NOT_DRAWN)


def curves_figure(results: Sequence[Results]) -> Drawing:
    """Learning curves of the best, the middle and the worst network, and how soon errors rank as they do at the end.

    Raises:
        InputError: no trial's epochs are known.
    """
    some = [one for one in results if one.histories and (one.table["status"] == "done").any()]
    if not some:
        raise InputError("no epochs are known of any done trial")
    figure, (axes,) = new_grid(1, len(some) + 1, width=3.6, height=3.2)
    numbers = []
    for ax, one in zip(axes, some, strict=False):
        curves = learning_curves(one)
        draw_curves(ax, curves)
        numbers.append(curves.table().assign(panel="curves"))
    ranks = [epoch_ranks(one) for one in some]
    draw_epoch_ranks(axes[-1], ranks)
    numbers += [one.table().assign(panel="ranks") for one in ranks]
    caption = (
        "Test (thick) and training errors (thin) of the best, the middle and the worst network of each space. Right: "
        "rank correlation of the error after each epoch with the final one."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("curves", "Learning curves", figure, table, caption, results, NOT_DRAWN)


def paired_figure(a: Results, b: Results) -> Drawing:
    """The same networks under two recipes: does one rank them as the other does?

    Raises:
        InputError: they have too few networks in common.
    """
    paired = compare_paired(a, b)
    figure, ((ax,),) = new_grid(1, 1, width=4.6, height=4.2)
    draw_paired(ax, paired)
    return finish("paired", f"{a.name} and {b.name}", figure, paired.table(), paired.sentence(), [a, b])
