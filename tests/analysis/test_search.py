from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import golden_errors, make_results

from designspace.analysis.search import doubling_sizes, expected_best, search_curve
from designspace.support.errors import InputError

ERRORS = st.lists(st.integers(1, 12).map(float), min_size=1, max_size=6)


@given(ERRORS, st.data(), st.booleans())
def test_mean_and_deviation_equal_those_over_all_draws(errors, data, replace):
    k = data.draw(st.integers(1, len(errors)))
    draws = product(errors, repeat=k) if replace else combinations(errors, k)
    bests = [min(draw) for draw in draws]
    mean, deviation = expected_best(errors, [k], replace=replace)
    assert mean[0] == pytest.approx(np.mean(bests), abs=1e-9)
    assert deviation[0] == pytest.approx(np.std(bests), abs=1e-6)


def test_the_ends_of_the_curve():
    errors = golden_errors()
    curve = search_curve(make_results("A", errors))
    assert curve.sizes.tolist() == [1, 2, 4, 8, 16, 32]
    assert (curve.mean[0], curve.mean[-1]) == pytest.approx((errors.mean(), errors.min()))
    assert (curve.deviation[0], curve.deviation[-1]) == pytest.approx((errors.std(), 0), abs=1e-9)
    assert (np.diff(curve.mean) < 0).all()
    assert list(curve.table().columns) == ["run", "k", "mean", "deviation", "n", "replace"]


def test_without_replacement_the_mean_is_unbiased_for_the_space():
    # The best of 8 uniform errors from 0 to 1 is 1/9 on average; with replacement it comes out too high.
    rng = np.random.default_rng(0)
    fair, repeated = (
        np.mean([expected_best(rng.random(16), [8], replace=replace)[0][0] for _ in range(3000)])
        for replace in (False, True)
    )
    assert fair == pytest.approx(1 / 9, abs=0.004)
    assert repeated > 1 / 9 + 0.01


def test_large_populations_neither_overflow_nor_lose_weight():
    errors = np.arange(5000.0)
    mean, deviation = expected_best(errors, [1, 2500, 5000])
    # The least of k of 0 .. n - 1 is (n + 1) / (k + 1) - 1 on average.
    np.testing.assert_allclose(mean, [5001 / 2 - 1, 5001 / 2501 - 1, 0], atol=1e-8)
    assert np.isfinite(deviation).all()


def test_more_than_n_networks_can_be_drawn_with_replacement():
    curve = search_curve(make_results("A", [30.0, 40.0]), [1, 100], replace=True)
    assert curve.mean.tolist() == pytest.approx([35, 30])


def test_failed_trials_count_at_chance():
    results = make_results("A", [30.0], failed=[("diverged", "")])
    assert search_curve(results).mean.tolist() == [60, 30]
    assert search_curve(results.with_failures("exclude")).mean.tolist() == [30]


def test_sizes_double_and_end_at_n():
    assert [doubling_sizes(n) for n in (1, 2, 3, 8, 9)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 9]]


def test_impossible_searches_are_rejected():
    with pytest.raises(InputError, match="at least 1 network and at most 2, the number of networks, not 3"):
        search_curve(make_results("A", [30, 40]), [3])
    with pytest.raises(InputError, match="not 0"):
        search_curve(make_results("A", [30, 40]), [0], replace=True)
    with pytest.raises(InputError, match="A has no trial to search among: 0 of 1 trial"):
        search_curve(make_results("A", [], waiting=1))
    with pytest.raises(InputError, match="all errors must be finite"):
        expected_best([np.nan], [1])
