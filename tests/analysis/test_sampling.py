"""Sample sizes, reruns, settings of the optimiser, errors by range of complexity."""

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
    draw_complexity_histograms,
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
    """Results of networks trained several times: ``errors`` has a row a network and a column a training."""
    parts = []
    for place, column in enumerate(np.asarray(errors, float).T):
        table = make_table(column.tolist()).assign(seed=place, run=f"seed{place}")
        parts.append(table.assign(trial=table["id"] + f"@{place}", **{k: v[place] for k, v in columns.items()}))
    return Results("R", pd.concat(parts, ignore_index=True), 90.0)


def test_minima_are_distributed_as_those_of_samples_drawn_one_by_one():
    errors = np.random.default_rng(0).normal(40, 3, 200)
    fast = sample_minima(errors, [1, 10, 200], 4000, seed=1)
    rng = np.random.default_rng(2)
    for place, size in enumerate(fast.sizes):
        slow = rng.choice(errors, (4000, size)).min(axis=1)
        assert stats.ks_2samp(fast.minima[place], slow).pvalue > 0.001
    assert set(fast.minima.ravel()) <= set(errors)


def test_point_estimates_mislead():
    """1905.13214, figure 2: of two samples of *one* space the ten times larger one wins nine times of ten."""
    errors = np.random.default_rng(0).normal(7, 1, 25_000)
    minima = sample_minima(errors, [100, 1000])
    assert minima.probability_lower(1, 0) == pytest.approx(10 / 11, abs=0.02)
    assert minima.probability_lower(0, 0) == 0.5
    assert minima.table()["size"].value_counts().tolist() == [5000, 5000]


def test_the_distance_of_a_sample_is_that_of_the_ks_test_and_falls_with_its_size():
    errors = golden_errors()
    found = distance_by_size(errors, [4, 16, 32], repeats=300, seed=3)
    assert found.mean[0] > found.mean[1] > found.mean[2] == 0
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    rng = np.random.default_rng(3)  # the first draws of the same stream
    one = [stats.ks_2samp(errors_of, np.sort(errors)).statistic for errors_of in _samples(errors, rng, 4, 300)]
    assert found.mean[0] == pytest.approx(np.mean(one))
    assert list(distance_by_size(np.arange(100.0), repeats=2).sizes) == [4, 8, 16, 32]
    assert distance_by_size([1.0, 2.0]).sizes.tolist() == [1]


def _samples(errors, rng, size, repeats):
    ascending = np.sort(errors)
    return [ascending[rng.choice(ascending.size, size, replace=False)] for _ in range(repeats)]


@pytest.mark.parametrize("size", [0, 33, 2.5, True])
def test_sizes_that_no_sample_has_are_refused(size):
    with pytest.raises(InputError, match="a sample must have from 1 to 32 networks"):
        distance_by_size(golden_errors(), [size])
    with pytest.raises(InputError, match="all finite"):
        sample_minima([np.nan], [1])
    with pytest.raises(InputError, match="at least two errors"):
        distance_by_size([1.0])


def test_noise_and_differences_of_networks_are_told_apart():
    rng = np.random.default_rng(0)
    true = rng.normal(30, 3, 300)
    found = reruns(repeated(true[:, None] + rng.normal(0, 1.5, (300, 4))))
    assert found.noise == pytest.approx(1.5, rel=0.05)
    assert found.between == pytest.approx(3, rel=0.1)
    assert found.reliability == pytest.approx(0.8, abs=0.04)
    id_, errors = found.of(0)
    assert len(errors) == 4
    assert errors.mean() == found.errors.groupby("id")["error"].mean().min()
    assert found.of(1)[1].mean() > found.of(0.5)[1].mean() > errors.mean()
    assert id_ == found.table()["id"].iloc[0]


def test_noise_alone_leaves_no_difference_and_none_leaves_no_noise():
    rng = np.random.default_rng(0)
    assert reruns(repeated(rng.normal(30, 1, (200, 3)))).reliability < 0.1
    same = reruns(repeated([[30.0, 30.0], [40.0, 40.0]]))
    assert (same.noise, same.reliability) == (0, 1)
    assert same.between == pytest.approx(np.std([30, 40], ddof=1))


def test_reruns_need_a_network_that_was_trained_twice():
    with pytest.raises(InputError, match="no network was trained more than once"):
        reruns(repeated([[30.0], [20.0]]))


def test_settings_are_ranked_network_by_network():
    lr = [0.1, 0.2, 0.4]
    found = relative_ranks(repeated([[30, 20, 25], [70, 60, 65.0]], lr=lr, weight_decay=[1e-4] * 3))
    assert found.networks == 2
    by = found.by("lr")
    assert by["median"].tolist() == [1, 0, 0.5]
    assert by["n"].tolist() == [2, 2, 2]
    assert found.best() == {"lr": 0.2, "weight_decay": 1e-4}
    alone = relative_ranks(repeated([[30, 20, 20.0]], lr=lr), ("lr",))
    assert alone.table()["rank"].tolist() == [1, 0.25, 0.25]
    assert alone.best() == {"lr": 0.2}
    with pytest.raises(InputError, match="no column 'decay'"):
        relative_ranks(repeated([[30, 20.0]]), ("decay",))


def test_errors_by_range_of_complexity():
    found = binned_errors([1, 2, 3, 4, 9, -1], [10, 20, 30, 50, 99, 99.0], [1, 2, 3, 4])
    assert found.counts.tolist() == [1, 1, 2]
    assert found.mean.tolist() == [10, 20, 40]
    assert np.isnan(found.std[:2]).all()
    assert found.std[2] == pytest.approx(np.std([30, 50], ddof=1))
    assert found.table()["n"].sum() == 4
    rng = np.random.default_rng(0)
    x, y = rng.random(500), rng.random(500)
    ours = binned_errors(x, y, np.linspace(0, 1, 11))
    theirs = stats.binned_statistic(x, y, "mean", bins=10, range=(0, 1))
    np.testing.assert_allclose(ours.mean, theirs.statistic)
    for edges in ([1.0], [2.0, 1.0]):
        with pytest.raises(InputError, match="edges must be"):
            binned_errors([1.0], [2.0], edges)


def test_all_of_it_can_be_drawn():
    figure, grid = new_grid(2, 3)
    errors = golden_errors()
    rng = np.random.default_rng(0)
    draw_minima(grid[0, 0], sample_minima(errors, [4, 16], 200))
    draw_distance(grid[0, 1], distance_by_size(errors, repeats=20))
    draw_complexity_histograms(grid[0, 2], {"A$": errors, "B": errors + 3, "empty": []}, "params")
    draw_binned(grid[1, 0], {"A": binned_errors(errors, errors, [30, 40, 50])}, "flops")
    runs = repeated(rng.normal(30, 2, (9, 5)), lr=[0.1, 0.2, 0.4, 0.8, 1.6])
    draw_reruns(grid[1, 1], reruns(runs))
    draw_relative_ranks(grid[1, 2], relative_ranks(runs, ("lr",)), "lr")
    assert svg_text(figure).count("<svg") == 1
    assert [text.get_text() for text in grid[0, 2].get_legend().get_texts()] == [r"A\$", "B"]
    assert grid[1, 2].get_xscale() == "log"
    _, axes = new_axes()
    draw_minima(axes, sample_minima([30.0], [1, 2], 10))  # all alike
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["n = 1", "n = 2"]
