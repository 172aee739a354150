from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import GOLDEN, make_results, make_table

from designspace.analysis.best_values import (
    best_of,
    best_value,
    best_values,
    chance_to_be_best,
    scatter,
    weighted_quantiles,
)
from designspace.analysis.results import Results
from designspace.support.errors import InputError

ERRORS = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=30).map(np.array)


def with_depths(depths, errors, **others):
    """Return results whose first stages have given depths and whose other stages have one block each."""
    table = make_table(errors, **others)
    for stage, column in enumerate((depths, 1, 1, 1), start=1):
        table[f"d{stage}"] = column
    return Results.from_table("A", table, num_classes=10)


def resampled(column, errors, draws, resamples, seed):
    """Return the values of the best networks of many resamples, chosen at random among equal errors."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(errors), (resamples, draws))
    unequal = errors[drawn] + 1e-9 * rng.random(len(errors))[drawn]  # a random order of equal errors
    return column[drawn[np.arange(resamples), unequal.argmin(axis=1)]]


@given(ERRORS, st.integers(1, 20))
def test_probabilities_sum_to_one_and_decrease_with_the_error(errors, draws):
    weights = chance_to_be_best(errors, draws)
    assert weights.sum() == pytest.approx(1)
    order = np.argsort(errors, kind="stable")
    assert (np.diff(weights[order]) <= 1e-15).all()
    if draws == 1:
        np.testing.assert_allclose(weights, 1 / errors.size)


@pytest.mark.parametrize("draws", [1, 3, 12])
def test_probabilities_equal_those_of_a_simulation(draws):
    errors = np.array([3.0, 1.0, 2.0, 2.0, 5.0, 1.0, 4.0, 6.0])
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 8, (100_000, draws))
    # Ties are broken independently in each resample.
    first = (errors[drawn] + rng.random((100_000, 8))[np.arange(100_000)[:, None], drawn] / 2).argmin(axis=1)
    counts = np.bincount(drawn[np.arange(100_000), first], minlength=8)
    np.testing.assert_allclose(counts / 100_000, chance_to_be_best(errors, draws), atol=0.006)


def test_quantiles_equal_those_of_a_simulation_on_a_real_population():
    table = pd.read_csv(GOLDEN)
    errors = table["top1_error"].to_numpy()
    for column in ("depth", "w_0", "w_m"):
        values = table[column].to_numpy(float)
        best = best_of(values, errors, "d")
        bests = resampled(values, errors, best.draws, 100_000, seed=1)
        assert best.draws == 8
        for quantile, value in ((0.025, best.low), (0.5, best.median), (0.975, best.high)):
            # The quantile is between the fractions of resamples below and up to the value.
            assert (bests < value).mean() - 0.005 < quantile < (bests <= value).mean() + 0.005


def test_weighted_quantiles_are_the_least_values_that_reach_the_probability():
    values, weights = np.array([5.0, 1.0, 3.0]), np.array([0.2, 0.5, 0.3])
    assert weighted_quantiles(values, weights, [0.1, 0.5, 0.500001, 0.8, 0.81, 1.0]).tolist() == [1, 1, 3, 3, 5, 5]


def test_a_sweet_spot_is_found():
    rng = np.random.default_rng(0)
    depths = rng.integers(1, 60, 300)
    best = best_value(with_depths(depths, 30 + (depths + 3 - 20) ** 2 / 100 + rng.random(300)), "d")
    assert best.low <= 20 <= best.high
    assert best.high - best.low < 15
    assert abs(best.median - 20) < 4


def test_a_parameter_that_does_not_matter_has_a_wide_interval():
    rng = np.random.default_rng(0)
    depths = rng.integers(1, 60, 300)
    best = best_value(with_depths(depths, 30 + 10 * rng.random(300)), "d1", share=0.02)
    assert best.high - best.low > 45


def test_best_values_of_500_networks_are_deterministic():
    rng = np.random.default_rng(0)
    results = with_depths(rng.integers(1, 16, 500), rng.normal(49, 5, 500))
    first, second = best_values(results), best_values(results)
    pd.testing.assert_frame_equal(first.table(), second.table())
    assert [best.quantity.name for best in first] == ["d", "w_mean", "d1", "flops"]
    assert first.table()["draws"].tolist() == [125] * 4
    assert len(first) == 4
    assert first.values[2].quantity.name == "d1"


def test_failed_trials_are_the_worst_or_left_out():
    depths = [1, 2, 3, 4, 5, 6]
    results = with_depths(depths, [30, 31, 32], failed=[("diverged", "")] * 3)
    with_failures = best_value(results, "d1", share=1 / 6)
    assert (with_failures.n, with_failures.low, with_failures.high) == (6, 1, 6)  # one draw: any network
    without = best_value(results.with_failures("exclude"), "d1", share=1 / 3)
    assert (without.n, without.low, without.high, without.best) == (3, 1, 3, 1)


def test_networks_without_a_stage_do_not_count():
    results = with_depths([3, np.nan, 5], [30, 20, 40])
    points = scatter(results, "d1")
    assert points.values.tolist() == [3, 5]
    assert points.best_value.best == 3
    assert points.table()["trial"].tolist() == [results.table["trial"][0], results.table["trial"][2]]


def test_populations_without_a_finished_trial_have_no_best_value():
    results = make_results("A", [], waiting=3)
    assert scatter(results, "d1").best_value is None
    assert scatter(results, "d1").table().empty
    assert best_values(results, []).table().empty
    with pytest.raises(InputError, match="A: no finished network has a value of d1 .0 of 3 trials finished"):
        best_value(results, "d1")


@pytest.mark.parametrize(("argument", "message"), [({"share": 0}, "share must be"), ({"level": 1}, "level must be")])
def test_messages_for_bad_arguments_state_what_is_allowed(argument, message):
    with pytest.raises(InputError, match=message):
        best_value(make_results("A", [30, 40]), "d1", **argument)
    with pytest.raises(InputError, match="as many values as errors"):
        best_of([1, 2], [30], "d")
