"""The figures of "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), numbers 2 to 16.

Each function draws one figure from results of any spaces: your own model families, or those of the paper (read with
`Results.read` from its published data).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from designspace.analysis.best_values import scatter
from designspace.analysis.binned import binned_errors
from designspace.analysis.complexity_weights import common_weights
from designspace.analysis.edf import edf
from designspace.analysis.figures import Drawing, draw_edf, edf_numbers, finish, new_grid
from designspace.analysis.figures.sampling import (
    draw_binned,
    draw_cost_histograms,
    draw_distance,
    draw_minima,
    draw_relative_ranks,
    draw_reruns,
)
from designspace.analysis.figures.scatter import draw_scatter
from designspace.analysis.figures.search import draw_search
from designspace.analysis.figures.style import plain, short
from designspace.analysis.hyperparameters import relative_ranks
from designspace.analysis.papers.panels import all_results, panel_edfs
from designspace.analysis.populations import Populations
from designspace.analysis.quantities import quantity, values
from designspace.analysis.reruns import reruns
from designspace.analysis.results import Results
from designspace.analysis.sample_size import distance_by_size, sample_minima
from designspace.analysis.search import search_curve
from designspace.support.errors import InputError

COSTS = ("params", "flops")
"""The costs that the paper considers, by name; any others can be given."""


def point_estimates(
    results: Results,
    sizes: tuple[int, int] = (100, 1000),
    *,
    repeats: int = 5000,
    seed: int = 0,
) -> Drawing:
    """Draw figure 2: two samples of one space, of which the larger seems better by its best network.

    Left: the least error of each of many samples. Right: the EDFs of one sample of each size, which do not differ.
    """
    errors = results.errors()
    minima = sample_minima(errors, sizes, repeats, seed=seed)
    rng = np.random.default_rng(seed)
    samples = {f"{size} of {results.name}": edf(rng.choice(errors, size), metric=results.metric) for size in sizes}
    figure, (axes,) = new_grid(1, 2, width=4.2, height=3.6)
    draw_minima(axes[0], minima, results.metric)
    draw_edf(axes[1], samples, chance_error=results.chance_error)
    wins = minima.probability_lower(1, 0)
    caption = (
        f"Point estimates mislead: {repeats} pairs of samples of {sizes[0]} and {sizes[1]} networks, both drawn (with "
        f"replacement) from the {errors.size} networks of {results.name}. The larger sample has the better best "
        f"network in {100 * wins:.0f}% of the pairs (left), although the distributions are the same (right, one pair)."
    )
    numbers = pd.concat(
        [minima.table().assign(panel="minima"), edf_numbers(samples).assign(panel="EDF")], ignore_index=True
    )
    return finish("nds_2_point_estimates", "Point estimates mislead", figure, numbers, caption, [results])


def normalised_edfs(
    results: Sequence[Results],
    bins: int = 8,
    *,
    costs: Sequence[str] = COSTS,
    level: float = 0.05,
    name: str = "nds_3_normalised_edfs",
) -> Drawing:
    """Draw figure 3: the EDFs of some spaces, raw and normalised by each of some costs.

    As in section 4.2, the weight of a network is one over the number of networks in its bin of cost, so that all bins
    shared by all populations count equally. The caption lists what is left out.
    """
    with_trials = [population for population in results if population.errors().size]
    raw = Populations.of(with_trials).edfs()
    figure, (axes,) = new_grid(1, 1 + len(costs), width=3.6, height=3.2 + 0.17 * len(results))
    all_results({"": results})
    draw_edf(axes[0], raw, level=level, chance_error=results[0].chance_error, title="raw")
    numbers = [edf_numbers(raw, level).assign(panel="raw")]
    sentences = []
    for ax, column in zip(axes[1:], costs, strict=True):
        label = quantity(column, *with_trials).label
        columns = [values(population, column)[population.counted()] for population in with_trials]
        weighted = {}
        for population, weights in zip(with_trials, common_weights(columns, bins) if columns else (), strict=True):
            weighted[population.name] = edf(population.errors(), weights, population.metric)
            sentences.append(f"{population.name}, {label}: {weights.sentence()}")
        draw_edf(ax, weighted, level=level, chance_error=results[0].chance_error, title=f"normalised by {label}")
        numbers.append(edf_numbers(weighted, level).assign(panel=column))
    caption = (
        f"{results[0].metric.title} EDFs, raw and as if all populations had the same costs ({bins} bins of each; the "
        f"best and mean values are weighted likewise). {'. '.join(sentences)}."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish(name, "EDFs normalised by cost", figure, table, caption, results)


def error_against_complexity(results: Sequence[Results], costs: Sequence[str] = COSTS) -> Drawing:
    """Draw figure 4: error against each of some costs, one row per space."""
    all_results({"": results})
    figure, grid = new_grid(len(results), len(costs), width=4.0, height=3.0)
    numbers = []
    for index, (axes, population) in enumerate(zip(grid, results, strict=True)):
        for ax, column in zip(axes, costs, strict=True):
            points = scatter(population, column)
            draw_scatter(ax, points, index=index)
            ax.set_ylabel(f"{plain(short(population.name))}\n{ax.get_ylabel()}")
            numbers.append(points.table().assign(space=population.name, cost=column))
    title = f"{results[0].metric.title} against cost"
    caption = f"{title}, one row per space; dashed and shaded: the best value and its 95% interval."
    table = pd.concat(numbers, ignore_index=True)
    return finish("nds_4_scatter", title, figure, table, caption, results)


def complexity_histograms(
    results: Sequence[Results], costs: Sequence[str] = COSTS, *, name: str = "nds_5_complexity"
) -> Drawing:
    """Draw figures 5 and 9: the distribution of some costs of some spaces' networks."""
    all_results({"": results})
    figure, (axes,) = new_grid(1, len(costs), width=4.0, height=3.2)
    numbers = []
    for ax, column in zip(axes, costs, strict=True):
        columns = {population.name: values(population, column) for population in results}
        draw_cost_histograms(ax, columns, quantity(column, *results).axis_label)
        numbers += [pd.DataFrame({"space": space, "cost": column, "value": v}) for space, v in columns.items()]
    caption = (
        "Costs of all networks, finished or not, in percent of each population. Spaces whose costs differ must not be "
        "compared by their raw EDFs."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish(name, "Distribution of cost", figure, table, caption, results, "drawn like the others")


def sample_size(
    results: Results,
    sizes: Sequence[int] = (10, 25, 100),
    *,
    repeats: int = 400,
    seed: int = 0,
) -> Drawing:
    """Draw figure 6: EDFs of samples of some sizes, and their KS distance to the whole population by size."""
    errors = results.errors()
    rng = np.random.default_rng(seed)
    usable_sizes = [size for size in sizes if size < errors.size]
    samples = {
        f"{size} networks": edf(rng.choice(errors, size, replace=False), metric=results.metric) for size in usable_sizes
    }
    samples[f"all {errors.size}"] = edf(errors, metric=results.metric)
    distance = distance_by_size(errors, repeats=repeats, seed=seed)
    figure, (axes,) = new_grid(1, 2, width=4.2, height=3.8)
    draw_edf(axes[0], samples, bands=False, chance_error=results.chance_error)
    draw_distance(axes[1], distance)
    caption = (
        f"How many networks are enough? Left: EDFs of samples of {results.name}. Right: Kolmogorov-Smirnov distance D "
        f"between a sample and all {errors.size} networks, mean and 95% range of {repeats} samples; it falls to 0 at "
        "the whole population by construction. Shaded: the 100 to 1,000 networks that the paper recommends."
    )
    numbers = pd.concat(
        [edf_numbers(samples).assign(panel="EDF"), distance.table().assign(panel="distance")], ignore_index=True
    )
    return finish("nds_6_sample_size", "Sample size", figure, numbers, caption, [results])


def families(results: Sequence[Results]) -> Drawing:
    """Draw figure 7: two model families, by their EDFs and by the best error of a random search of k networks."""
    return _edf_and_search("nds_7_families", "Model families", results, 2.0)


def spaces_edf(results: Sequence[Results]) -> Drawing:
    """Draw figure 8: the EDFs of many spaces (those of neural architecture search in the paper)."""
    caption = "The error distributions of several spaces."
    return panel_edfs("nds_8_spaces", "Several spaces", {"": results}, caption, bands=False)


def spaces_complexity(results: Sequence[Results]) -> Drawing:
    """Draw figure 9: the costs of many spaces."""
    return complexity_histograms(results, name="nds_9_complexity")


def spaces_search(results: Sequence[Results]) -> Drawing:
    """Draw figure 10: how fast a random search finds good networks in many spaces."""
    return _edf_and_search("nds_10_search", "Random search", results, 0.0)


def against_standard(searched: Sequence[Results], standard: Sequence[Results], bins: int = 5) -> Drawing:
    """Draw figure 11: spaces for architecture search against standard families, raw and at equal costs."""
    return normalised_edfs([*searched, *standard], bins, name="nds_11_against_standard")


def _edf_and_search(name: str, title: str, results: Sequence[Results], deviations: float) -> Drawing:
    """Draw EDFs and the expected best error of k networks, shaded by ``deviations`` standard deviations."""
    all_results({"": results})
    edfs = Populations.of(results).edfs()
    curves = [search_curve(population) for population in results if population.name in edfs]
    figure, (axes,) = new_grid(1, 2, width=4.2, height=3.4 + 0.17 * len(results))
    draw_edf(axes[0], edfs, chance_error=results[0].chance_error)
    draw_search(axes[1], curves, deviations=deviations)
    shaded = f"; shaded: {deviations:g} standard deviations from search to search" if deviations else ""
    metric = results[0].metric
    caption = (
        f"Left: {metric.name} EDFs with 95% bands. Right: expected {metric.name} of the best of k networks{shaded}."
    )
    numbers = [edf_numbers(edfs).assign(panel="EDF"), *(curve.table().assign(panel="search") for curve in curves)]
    return finish(name, title, figure, pd.concat(numbers, ignore_index=True), caption, results)


def optimiser_settings(results: Sequence[Results]) -> Drawing:
    """Draw figure 12: the relative rank of learning rates and weight decays, for some spaces.

    Each of the results holds networks that were trained with several settings (`Results.read` of several runs).
    """
    all_results({"": results})
    settings = ("lr", "weight_decay")
    figure, grid = new_grid(len(results), 2, width=3.8, height=3.0)
    numbers = []
    best = []
    for axes, population in zip(grid, results, strict=True):
        ranks = relative_ranks(population, settings)
        for ax, setting in zip(axes, settings, strict=True):
            draw_relative_ranks(ax, ranks, setting)
            ax.set_title(plain(short(population.name)), fontsize=10)
        numbers.append(ranks.table().assign(space=population.name))
        best_settings = ranks.best()
        best.append(f"{population.name}: lr {best_settings['lr']:g}, weight decay {best_settings['weight_decay']:g}")
    caption = (
        "Relative rank of the settings of the optimiser: 0 for a network's best setting, 1 for its worst; median and "
        f"quartiles over networks and the other setting. Best on average: {'; '.join(best)}."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("nds_12_optimiser", "Learning rate and weight decay", figure, table, caption, results)


def rerun_histograms(results: Results) -> Drawing:
    """Draw figure 13: the errors of a top network and of a median network over many seeds."""
    repeated = reruns(results)
    figure, ((ax,),) = new_grid(1, 1, width=5.2, height=3.6)
    draw_reruns(ax, repeated)
    caption = (
        "The same networks trained from many seeds: the best and the median network by mean "
        f"{results.metric.name}, of those trained most often. The standard deviation is {repeated.noise:.2f} "
        f"{results.metric.points} for a training around its network's mean, and {repeated.between:.2f} "
        f"{results.metric.points} for the networks' means: {100 * repeated.reliability:.0f}% of the variance of single "
        "trainings is due to the networks."
    )
    return finish("nds_13_reruns", "Noise of training", figure, repeated.table(), caption, [results])


def averaged_reruns(results: Results, counts: Sequence[int] = (1, 2, 3)) -> Drawing:
    """Draw figure 14: the EDFs of the mean error over one or more trainings of each network.

    Only networks that were trained at least ``max(counts)`` times are used.
    """
    trainings = results.table.groupby("id")["trial"].transform("count")
    is_often_trained = trainings >= max(counts)
    if not is_often_trained.any():
        raise InputError(f"{results.name}: no network was trained {max(counts)} times; read runs with other seeds")
    often_trained = results.where(is_often_trained, name=results.name)
    networks = often_trained.table["id"].nunique()
    means = [often_trained.mean_of_repeats(k, name=f"{k} training{'s' if k > 1 else ''} per network") for k in counts]
    caption = (
        f"The same {networks} networks of {results.name}, with the mean {results.metric.name} of one or more trainings "
        "each."
    )
    return panel_edfs("nds_14_averages", "Trainings per network", {"": means}, caption, bands=False)


def binned_complexity(results: Sequence[Results], bins: int = 6, *, costs: Sequence[str] = COSTS) -> Drawing:
    """Draw figure 15: mean error, plus and minus a standard deviation, by range of each of some costs."""
    all_results({"": results})
    figure, (axes,) = new_grid(1, len(costs), width=4.0, height=3.2)
    numbers = []
    metric = results[0].metric
    for ax, column in zip(axes, costs, strict=True):
        columns = {run.name: values(run, column)[run.counted()] for run in results}
        together = np.concatenate([v for v in columns.values() if v.size] or [np.array([0.0, 1.0])])
        low, high = float(together.min()), float(together.max())
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        binned = {run.name: binned_errors(columns[run.name], run.errors(), edges) for run in results}
        draw_binned(ax, binned, quantity(column, *results).axis_label, metric)
        numbers += [errors.table().assign(space=name, cost=column) for name, errors in binned.items()]
    caption = f"Mean {metric.name} and its standard deviation over networks, in {bins} ranges of each cost."
    table = pd.concat(numbers, ignore_index=True)
    return finish("nds_15_error_by_complexity", f"{metric.title} by cost", figure, table, caption, results)


def data_sets(panels: Mapping[str, Sequence[Results]]) -> Drawing:
    """Draw figure 16: the EDFs of the same spaces on other data sets, one panel each."""
    caption = "The same spaces on other data sets: does their order hold?"
    return panel_edfs("nds_16_data_sets", "Other data sets", panels, caption)
