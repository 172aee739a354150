"""Sample sizes, reruns, settings of the optimiser, and errors in bins of complexity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from populations import golden_errors, make_table
from scipy import stats

from designspace.analysis.binned import binned_errors
from designspace.analysis.figures import new_axes, new_grid, svg_text
from designspace.analysis.figures.sampling import (
    draw_binned,
    draw_cost_histograms,
    draw_distance,
    draw_minima,
    draw_relative_ranks,
    draw_reruns,
)
from designspace.analysis.hyperparameters import relative_ranks
from designspace.analysis.reruns import reruns
from designspace.analysis.results import Results
from designspace.analysis.sample_size import distance_by_size, sample_minima
from designspace.support.errors import InputError


def repeated(errors, **columns):
    """Return results of networks trained several times; ``errors`` has one row per network, one column per training."""
    parts = []
    for index, column in enumerate(np.asarray(errors, float).T):
        table = make_table(column.tolist()).assign(seed=index, run=f"seed{index}")
        parts.append(table.assign(trial=table["id"] + f"@{index}", **{k: v[index] for k, v in columns.items()}))
    return Results("R", pd.concat(parts, ignore_index=True), 90.0)


def test_minima_have_the_distribution_of_those_of_explicit_samples():
    errors = np.random.default_rng(0).normal(40, 3, 200)
    fast = sample_minima(errors, [1, 10, 200], 4000, seed=1)
    rng = np.random.default_rng(2)
    for index, size in enumerate(fast.sizes):
        slow = rng.choice(errors, (4000, size)).min(axis=1)
        assert stats.ks_2samp(fast.minima[index], slow).pvalue > 0.001
    assert set(fast.minima.ravel()) <= set(errors)


def test_point_estimates_favour_the_larger_sample():
    """Of two samples of *one* space, one ten times larger wins nine times out of ten (1905.13214, figure 2)."""
    errors = np.random.default_rng(0).normal(7, 1, 25_000)
    minima = sample_minima(errors, [100, 1000])
    assert minima.probability_lower(1, 0) == pytest.approx(10 / 11, abs=0.02)
    assert minima.probability_lower(0, 0) == 0.5
    assert minima.table()["size"].value_counts().tolist() == [5000, 5000]


def test_the_distance_of_a_sample_equals_that_of_the_ks_test_and_decreases_with_its_size():
    errors = golden_errors()
    result = distance_by_size(errors, [4, 16, 32], repeats=300, seed=3)
    assert result.mean[0] > result.mean[1] > result.mean[2] == 0
    assert (result.low <= result.mean).all()
    assert (result.mean <= result.high).all()
    rng = np.random.default_rng(3)  # the first draws of the same random stream
    distances = [stats.ks_2samp(errors_of, np.sort(errors)).statistic for errors_of in _samples(errors, rng, 4, 300)]
    assert result.mean[0] == pytest.approx(np.mean(distances))
    assert list(distance_by_size(np.arange(100.0), repeats=2).sizes) == [4, 8, 16, 32]
    assert distance_by_size([1.0, 2.0]).sizes.tolist() == [1]


def _samples(errors, rng, size, repeats):
    ascending = np.sort(errors)
    return [ascending[rng.choice(ascending.size, size, replace=False)] for _ in range(repeats)]


@pytest.mark.parametrize("size", [0, 33, 2.5, True])
def test_impossible_sample_sizes_are_rejected(size):
    with pytest.raises(InputError, match="a sample must have from 1 to 32 networks"):
        distance_by_size(golden_errors(), [size])
    with pytest.raises(InputError, match="all finite"):
        sample_minima([np.nan], [1])
    with pytest.raises(InputError, match="at least two errors"):
        distance_by_size([1.0])


def test_noise_and_differences_of_networks_are_separated():
    rng = np.random.default_rng(0)
    true = rng.normal(30, 3, 300)
    result = reruns(repeated(true[:, None] + rng.normal(0, 1.5, (300, 4))))
    assert result.noise == pytest.approx(1.5, rel=0.05)
    assert result.between == pytest.approx(3, rel=0.1)
    assert result.reliability == pytest.approx(0.8, abs=0.04)
    id_, errors = result.at_rank(0)
    assert len(errors) == 4
    assert errors.mean() == result.errors.groupby("id")["error"].mean().min()
    assert result.at_rank(1)[1].mean() > result.at_rank(0.5)[1].mean() > errors.mean()
    assert id_ == result.table()["id"].iloc[0]


def test_pure_noise_has_no_reliability_and_no_noise_has_full_reliability():
    rng = np.random.default_rng(0)
    assert reruns(repeated(rng.normal(30, 1, (200, 3)))).reliability < 0.1
    same = reruns(repeated([[30.0, 30.0], [40.0, 40.0]]))
    assert (same.noise, same.reliability) == (0, 1)
    assert same.between == pytest.approx(np.std([30, 40], ddof=1))


def test_reruns_need_a_network_that_was_trained_twice():
    with pytest.raises(InputError, match="no network was trained more than once"):
        reruns(repeated([[30.0], [20.0]]))


def test_settings_are_ranked_within_each_network():
    lr = [0.1, 0.2, 0.4]
    result = relative_ranks(repeated([[30, 20, 25], [70, 60, 65.0]], lr=lr, weight_decay=[1e-4] * 3))
    assert result.networks == 2
    by = result.by("lr")
    assert by["median"].tolist() == [1, 0, 0.5]
    assert by["n"].tolist() == [2, 2, 2]
    assert result.best() == {"lr": 0.2, "weight_decay": 1e-4}
    alone = relative_ranks(repeated([[30, 20, 20.0]], lr=lr), ("lr",))
    assert alone.table()["rank"].tolist() == [1, 0.25, 0.25]
    assert alone.best() == {"lr": 0.2}
    with pytest.raises(InputError, match="no column 'decay'"):
        relative_ranks(repeated([[30, 20.0]]), ("decay",))


def test_errors_in_bins_of_complexity():
    result = binned_errors([1, 2, 3, 4, 9, -1], [10, 20, 30, 50, 99, 99.0], [1, 2, 3, 4])
    assert result.counts.tolist() == [1, 1, 2]
    assert result.mean.tolist() == [10, 20, 40]
    assert np.isnan(result.std[:2]).all()
    assert result.std[2] == pytest.approx(np.std([30, 50], ddof=1))
    assert result.table()["n"].sum() == 4
    rng = np.random.default_rng(0)
    x, y = rng.random(500), rng.random(500)
    ours = binned_errors(x, y, np.linspace(0, 1, 11))
    expected = stats.binned_statistic(x, y, "mean", bins=10, range=(0, 1))
    np.testing.assert_allclose(ours.mean, expected.statistic)
    for edges in ([1.0], [2.0, 1.0]):
        with pytest.raises(InputError, match="edges must be"):
            binned_errors([1.0], [2.0], edges)


def test_all_sampling_figures_can_be_drawn():
    figure, grid = new_grid(2, 3)
    errors = golden_errors()
    rng = np.random.default_rng(0)
    draw_minima(grid[0, 0], sample_minima(errors, [4, 16], 200))
    draw_distance(grid[0, 1], distance_by_size(errors, repeats=20))
    draw_cost_histograms(grid[0, 2], {"A$": errors, "B": errors + 3, "empty": []}, "params")
    draw_binned(grid[1, 0], {"A": binned_errors(errors, errors, [30, 40, 50])}, "flops")
    runs = repeated(rng.normal(30, 2, (9, 5)), lr=[0.1, 0.2, 0.4, 0.8, 1.6])
    draw_reruns(grid[1, 1], reruns(runs))
    draw_relative_ranks(grid[1, 2], relative_ranks(runs, ("lr",)), "lr")
    assert svg_text(figure).count("<svg") == 1
    assert [text.get_text() for text in grid[0, 2].get_legend().get_texts()] == [r"A\$", "B"]
    assert grid[1, 2].get_xscale() == "log"
    _, axes = new_axes()
    draw_minima(axes, sample_minima([30.0], [1, 2], 10))  # all equal
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["n = 1", "n = 2"]
