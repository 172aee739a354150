"""The figures of "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), numbers 2 to 16.

Each function draws one of them from results of any spaces: two model families of one's own, or the paper's (read with
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
    draw_complexity_histograms,
    draw_distance,
    draw_minima,
    draw_relative_ranks,
    draw_reruns,
)
from designspace.analysis.figures.scatter import draw_scatter
from designspace.analysis.figures.search import draw_search
from designspace.analysis.figures.style import plain, short
from designspace.analysis.hyperparameters import relative_ranks
from designspace.analysis.papers.panels import everything, panel_edfs
from designspace.analysis.populations import Populations
from designspace.analysis.reruns import reruns
from designspace.analysis.results import Results
from designspace.analysis.sample_size import distance_by_size, sample_minima
from designspace.analysis.search import search_curve
from designspace.support.errors import InputError

COMPLEXITIES = {"params": "parameters", "flops": "multiply-adds"}
"""The complexities that the paper looks at, and what an axis calls them."""


def point_estimates(
    results: Results,
    sizes: tuple[int, int] = (100, 1000),
    *,
    repeats: int = 5000,
    seed: int = 0,
) -> Drawing:
    """Figure 2: two samples of one space, of which the larger seems to win by its best network.

    Left: the least error of each of many samples. Right: the EDFs of one sample of each size, which do not differ.
    """
    errors = results.errors()
    minima = sample_minima(errors, sizes, repeats, seed=seed)
    rng = np.random.default_rng(seed)
    samples = {f"{size} of {results.name}": edf(rng.choice(errors, size)) for size in sizes}
    figure, (axes,) = new_grid(1, 2, width=4.2, height=3.6)
    draw_minima(axes[0], minima)
    draw_edf(axes[1], samples, chance_error=results.chance_error)
    wins = minima.probability_lower(1, 0)
    caption = (
        f"Point estimates mislead: {repeats} pairs of samples of {sizes[0]} and {sizes[1]} networks, both drawn (with "
        f"replacement) from the {errors.size} of {results.name}. The larger sample has the lower minimum in "
        f"{100 * wins:.0f}% of the pairs (left), although the distributions are one and the same (right, one pair)."
    )
    numbers = pd.concat(
        [minima.table().assign(panel="minima"), edf_numbers(samples).assign(panel="EDF")], ignore_index=True
    )
    return finish("nds_2_point_estimates", "Point estimates mislead", figure, numbers, caption, [results])


def normalised_edfs(
    results: Sequence[Results],
    bins: int = 8,
    *,
    level: float = 0.05,
    name: str = "nds_3_normalised_edfs",
) -> Drawing:
    """Figure 3: the EDFs of some spaces, raw and normalised by parameters and by multiply-adds.

    Section 4.2: a network weighs one over the networks in its bin of complexity, so that all bins that every population
    fills count alike. What that leaves out is said in the caption.
    """
    with_trials = [one for one in results if one.errors().size]
    raw = Populations.of(with_trials).edfs()
    figure, (axes,) = new_grid(1, 1 + len(COMPLEXITIES), width=3.6, height=3.2 + 0.17 * len(results))
    everything({"": results})
    draw_edf(axes[0], raw, level=level, chance_error=results[0].chance_error, title="raw")
    numbers = [edf_numbers(raw, level).assign(panel="raw")]
    told = []
    for ax, (column, label) in zip(axes[1:], COMPLEXITIES.items(), strict=True):
        values = [one.table[column][one.counted()].to_numpy(np.float64) for one in with_trials]
        weighted = {}
        for one, weights in zip(with_trials, common_weights(values, bins) if values else (), strict=True):
            weighted[one.name] = edf(one.errors(), weights)
            told.append(f"{one.name}, {label}: {weights.sentence()}")
        draw_edf(ax, weighted, level=level, chance_error=results[0].chance_error, title=f"normalised by {label}")
        numbers.append(edf_numbers(weighted, level).assign(panel=column))
    caption = (
        f"Error EDFs, raw and as if all populations had the same complexities ({bins} bins of each; min and mean are "
        f"weighted likewise). {'. '.join(told)}."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish(name, "EDFs normalised by complexity", figure, table, caption, results)


def error_against_complexity(results: Sequence[Results]) -> Drawing:
    """Figure 4: error against each complexity, a row for each space."""
    everything({"": results})
    figure, grid = new_grid(len(results), len(COMPLEXITIES), width=4.0, height=3.0)
    numbers = []
    for place, (axes, one) in enumerate(zip(grid, results, strict=True)):
        for ax, column in zip(axes, COMPLEXITIES, strict=True):
            found = scatter(one, column)
            draw_scatter(ax, found, place=place)
            ax.set_ylabel(f"{plain(short(one.name))}\n{ax.get_ylabel()}")
            numbers.append(found.table().assign(space=one.name, complexity=column))
    caption = "Error against complexity, a row for each space; dashed and shaded: the best value and its 95% interval."
    table = pd.concat(numbers, ignore_index=True)
    return finish("nds_4_scatter", "Error against complexity", figure, table, caption, results)


def complexity_histograms(results: Sequence[Results], name: str = "nds_5_complexity") -> Drawing:
    """Figures 5 and 9: how the complexities of some spaces' networks are distributed."""
    everything({"": results})
    figure, (axes,) = new_grid(1, len(COMPLEXITIES), width=4.0, height=3.2)
    numbers = []
    for ax, (column, label) in zip(axes, COMPLEXITIES.items(), strict=True):
        values = {one.name: one.table[column].to_numpy(np.float64) for one in results}
        draw_complexity_histograms(ax, values, label)
        parts = [pd.DataFrame({"space": name, "complexity": column, "value": v}) for name, v in values.items()]
        numbers += parts
    caption = (
        "Complexity of all networks asked for, in per cent of each population. Spaces whose complexities differ must "
        "not be compared by their raw EDFs."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish(name, "Distribution of complexity", figure, table, caption, results, "drawn like the others")


def sample_size(
    results: Results,
    sizes: Sequence[int] = (10, 25, 100),
    *,
    repeats: int = 400,
    seed: int = 0,
) -> Drawing:
    """Figure 6: EDFs of samples of some sizes, and their KS distance to the whole population by size."""
    errors = results.errors()
    rng = np.random.default_rng(seed)
    fitting = [size for size in sizes if size < errors.size]
    samples = {f"{size} networks": edf(rng.choice(errors, size, replace=False)) for size in fitting}
    samples[f"all {errors.size}"] = edf(errors)
    distance = distance_by_size(errors, repeats=repeats, seed=seed)
    figure, (axes,) = new_grid(1, 2, width=4.2, height=3.8)
    draw_edf(axes[0], samples, bands=False, chance_error=results.chance_error)
    draw_distance(axes[1], distance)
    caption = (
        f"How many networks are enough? Left: EDFs of samples of {results.name}. Right: Kolmogorov-Smirnov distance D "
        f"between a sample and all {errors.size} networks, mean and 95% range of {repeats} samples; it falls to 0 at "
        "the whole population by construction. The paper advises 100 to 1,000 networks, shaded."
    )
    numbers = pd.concat(
        [edf_numbers(samples).assign(panel="EDF"), distance.table().assign(panel="distance")], ignore_index=True
    )
    return finish("nds_6_sample_size", "Sample size", figure, numbers, caption, [results])


def families(results: Sequence[Results]) -> Drawing:
    """Figure 7: two model families, by their EDFs and by what a random search of k networks finds."""
    return _edf_and_search("nds_7_families", "Model families", results, 2.0)


def spaces_edf(results: Sequence[Results]) -> Drawing:
    """Figure 8: the EDFs of many spaces at once (in the paper those of neural architecture search)."""
    caption = "The error distributions of several spaces."
    return panel_edfs("nds_8_spaces", "Several spaces", {"": results}, caption, bands=False)


def spaces_complexity(results: Sequence[Results]) -> Drawing:
    """Figure 9: the complexities of many spaces."""
    return complexity_histograms(results, "nds_9_complexity")


def spaces_search(results: Sequence[Results]) -> Drawing:
    """Figure 10: how fast a random search finds good networks in many spaces."""
    return _edf_and_search("nds_10_search", "Random search", results, 0.0)


def against_standard(searched: Sequence[Results], standard: Sequence[Results], bins: int = 5) -> Drawing:
    """Figure 11: spaces for architecture search against standard families, raw and at equal complexities."""
    return normalised_edfs([*searched, *standard], bins, name="nds_11_against_standard")


def _edf_and_search(name: str, title: str, results: Sequence[Results], deviations: float) -> Drawing:
    """EDFs on the left, on the right the expected best error of k networks with so many deviations shaded."""
    everything({"": results})
    edfs = Populations.of(results).edfs()
    curves = [search_curve(one) for one in results if one.name in edfs]
    figure, (axes,) = new_grid(1, 2, width=4.2, height=3.4 + 0.17 * len(results))
    draw_edf(axes[0], edfs, chance_error=results[0].chance_error)
    draw_search(axes[1], curves, deviations=deviations)
    shaded = f"; shaded: {deviations:g} standard deviations from search to search" if deviations else ""
    caption = f"Left: error EDFs with 95% bands. Right: expected error of the best of k networks{shaded}."
    numbers = [edf_numbers(edfs).assign(panel="EDF"), *(one.table().assign(panel="search") for one in curves)]
    return finish(name, title, figure, pd.concat(numbers, ignore_index=True), caption, results)


def optimiser_settings(results: Sequence[Results]) -> Drawing:
    """Figure 12: the relative rank of learning rates and weight decays, for some spaces.

    Each of the results holds networks that were trained with several settings (`Results.read` of several runs).
    """
    everything({"": results})
    settings = ("lr", "weight_decay")
    figure, grid = new_grid(len(results), 2, width=3.8, height=3.0)
    numbers = []
    best = []
    for axes, one in zip(grid, results, strict=True):
        ranks = relative_ranks(one, settings)
        for ax, setting in zip(axes, settings, strict=True):
            draw_relative_ranks(ax, ranks, setting)
            ax.set_title(plain(short(one.name)), fontsize=10)
        numbers.append(ranks.table().assign(space=one.name))
        chosen = ranks.best()
        best.append(f"{one.name}: lr {chosen['lr']:g}, weight decay {chosen['weight_decay']:g}")
    caption = (
        "Relative rank of the settings of the optimiser: 0 for a network's best setting, 1 for its worst; median and "
        f"quartiles over networks and the other setting. Best on average: {'; '.join(best)}."
    )
    table = pd.concat(numbers, ignore_index=True)
    return finish("nds_12_optimiser", "Learning rate and weight decay", figure, table, caption, results)


def rerun_histograms(results: Results) -> Drawing:
    """Figure 13: the errors of a top and of a middling network over many seeds."""
    repeated = reruns(results)
    figure, ((ax,),) = new_grid(1, 1, width=5.2, height=3.6)
    draw_reruns(ax, repeated)
    caption = (
        "The same networks trained from many seeds: the best and the middle one by mean error, of those trained most "
        f"often. One training has a standard deviation of {repeated.noise:.2f} points around its network's mean, the "
        f"networks' means one of {repeated.between:.2f} points: {100 * repeated.reliability:.0f}% of the variance of "
        "single trainings is due to the networks."
    )
    return finish("nds_13_reruns", "Noise of training", figure, repeated.table(), caption, [results])


def averaged_reruns(results: Results, counts: Sequence[int] = (1, 2, 3)) -> Drawing:
    """Figure 14: does averaging over more trainings of each network change the EDF?

    Of the networks that were trained at least ``max(counts)`` times.
    """
    trained = results.table.groupby("id")["trial"].transform("count")
    is_often_trained = trained >= max(counts)
    if not is_often_trained.any():
        raise InputError(f"{results.name}: no network was trained {max(counts)} times; read runs with other seeds")
    some = results.where(is_often_trained, name=results.name)
    networks = some.table["id"].nunique()
    means = [some.mean_of_repeats(k, name=f"{k} training{'s' if k > 1 else ''} a network") for k in counts]
    caption = f"The same {networks} networks of {results.name}, with the mean error of one or more trainings each."
    return panel_edfs("nds_14_averages", "Trainings a network", {"": means}, caption, bands=False)


def binned_complexity(results: Sequence[Results], bins: int = 6) -> Drawing:
    """Figure 15: mean error, plus and minus a standard deviation, by range of complexity."""
    everything({"": results})
    figure, (axes,) = new_grid(1, len(COMPLEXITIES), width=4.0, height=3.2)
    numbers = []
    for ax, (column, label) in zip(axes, COMPLEXITIES.items(), strict=True):
        values = {one.name: one.table[column][one.counted()].to_numpy(np.float64) for one in results}
        together = np.concatenate([v for v in values.values() if v.size] or [np.array([0.0, 1.0])])
        low, high = float(together.min()), float(together.max())
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        binned = {one.name: binned_errors(values[one.name], one.errors(), edges) for one in results}
        draw_binned(ax, binned, label)
        numbers += [one.table().assign(space=name, complexity=column) for name, one in binned.items()]
    caption = f"Mean error and its standard deviation over networks, in {bins} ranges of each complexity."
    table = pd.concat(numbers, ignore_index=True)
    return finish("nds_15_error_by_complexity", "Error by complexity", figure, table, caption, results)


def data_sets(panels: Mapping[str, Sequence[Results]]) -> Drawing:
    """Figure 16: the EDFs of the same spaces on another data set, a panel each."""
    caption = "The same spaces on other images: does their order hold?"
    return panel_edfs("nds_16_data_sets", "Other data sets", panels, caption)
