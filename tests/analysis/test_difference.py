from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from designspace.analysis.difference import difference, ks_test
from designspace.analysis.edf import edf
from designspace.support.errors import InputError

ERRORS = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=12)


@given(ERRORS, ERRORS)
def test_the_difference_is_one_edf_less_the_other_at_every_error(a, b):
    result = difference(edf(a), edf(b), resamples=20)
    for error, value in zip(result.errors, result.values, strict=True):
        naive = np.mean([x <= error for x in a]) - np.mean([x <= error for x in b])
        assert value == pytest.approx(naive, abs=1e-12)
    assert result.values[-1] == 0
    largest, smallest = result.largest[0], result.smallest[0]
    assert max(largest, -smallest) == pytest.approx(ks_test(np.sort(a), np.sort(b)).distance)
    assert (result.lower <= result.values).all()
    assert (result.upper >= result.values).all()


@pytest.mark.parametrize(("n", "m"), [(12, 12), (12, 17), (400, 400), (60, 55)])
def test_the_tests_equal_those_of_scipy(n, m):
    rng = np.random.default_rng(n)
    a, b = np.sort(rng.normal(40, 3, n)), np.sort(rng.normal(41, 4, m))
    result = ks_test(a, b)
    for p, side in ((result.p, "two-sided"), (result.a_above_p, "greater"), (result.b_above_p, "less")):
        assert p == pytest.approx(stats.ks_2samp(a, b, alternative=side).pvalue)


@pytest.mark.parametrize(("n", "m"), [(300, 310), (11_000, 12_000)])
def test_asymptotic_p_values_equal_those_of_scipy(n, m):
    rng = np.random.default_rng(1)
    a, b = np.sort(rng.normal(40, 3, n)), np.sort(rng.normal(40.1, 3, m))
    result = ks_test(a, b)
    for p, side in ((result.a_above_p, "greater"), (result.b_above_p, "less")):
        assert p == pytest.approx(stats.ks_2samp(a, b, alternative=side, method="asymp").pvalue)
    assert result.p == pytest.approx(stats.ks_2samp(a, b).pvalue)


def test_a_shifted_population_dominates():
    rng = np.random.default_rng(0)
    result = difference(edf(rng.normal(40, 2, 100)), edf(rng.normal(43, 2, 100)))
    value, error = result.largest
    assert result.dominance == "A"
    assert value == pytest.approx(stats.norm.cdf(0.75) - stats.norm.cdf(-0.75), abs=0.15)  # halfway between
    assert error == pytest.approx(41.5, abs=1)
    assert result.sentence("X", "Y") == (
        f"X is ahead of Y (by {value:.2f} at most, at an error of {error:.1f}%), "
        "and Y is nowhere shown to be ahead at 5%."
    )
    other = difference(edf(rng.normal(43, 2, 100)), edf(rng.normal(40, 2, 100)))
    assert other.dominance == "B"
    assert other.sentence().startswith("B is ahead of A (by ")


def test_crossing_curves_are_reported_and_equal_ones_are_undecided():
    rng = np.random.default_rng(0)
    wide, narrow = edf(rng.normal(40, 5, 200)), edf(rng.normal(40, 2, 200))
    result = difference(wide, narrow)
    assert result.dominance == "cross"
    assert result.largest[1] < 40 < result.smallest[1]
    assert result.sentence("W", "N").startswith("The EDFs of W and N cross at 5%: W is ahead by 0.2")
    same = difference(wide, wide)
    assert (same.dominance, same.largest[0], same.smallest[0]) == ("undecided", 0, 0)
    assert math.isnan(same.largest[1])
    assert same.sentence() == "Neither A nor B is shown to be ahead anywhere at 5%."


def test_weighted_edfs_are_compared_by_bootstrap():
    rng = np.random.default_rng(0)
    a, b = rng.normal(40, 2, 150), rng.normal(42, 2, 150)
    raw, weighted = difference(edf(a), edf(b)), difference(edf(a, np.ones(150)), edf(b, np.ones(150)))
    assert weighted.half_width == pytest.approx(raw.half_width, rel=0.05)
    assert weighted.dominance == raw.dominance == "A"
    assert weighted.b_above_p == pytest.approx(raw.b_above_p, abs=0.05)
    same = difference(edf(a, np.ones(150)), edf(rng.normal(40, 2, 150)))
    assert same.dominance == "undecided"
    assert 0.05 < min(same.a_above_p, same.b_above_p) <= 1


@given(ERRORS, ERRORS)
def test_swapping_the_populations_changes_the_sign(a, b):
    forward, backward = difference(edf(a), edf(b), resamples=20), difference(edf(b), edf(a), resamples=20)
    np.testing.assert_allclose(forward.values, -backward.values, atol=1e-12)
    assert (forward.a_above_p, forward.b_above_p) == pytest.approx((backward.b_above_p, backward.a_above_p))


def test_single_networks_and_invalid_levels():
    result = difference(edf([30.0]), edf([40.0]))
    assert result.values.tolist() == [1, 0]
    assert result.dominance == "undecided"
    assert result.table()["difference"].tolist() == [1, 0]
    with pytest.raises(InputError, match="level must be"):
        difference(edf([30.0]), edf([40.0]), level=2)


def test_the_band_has_the_nominal_coverage():
    """600 draws of 50 networks from each of two different spaces: the standard error is 0.9%."""
    rng = np.random.default_rng(0)
    skewed = stats.lognorm(0.6, 35, np.exp(1.5))
    covered = 0
    for seed in range(600):
        result = difference(edf(rng.normal(40, 3, 50)), edf(35 + rng.lognormal(1.5, 0.6, 50)), resamples=150, seed=seed)
        truth = stats.norm.cdf(result.errors, 40, 3) - skewed.cdf(result.errors)
        before = np.concatenate([[0.0], result.values[:-1]])
        covered += max(np.abs(result.values - truth).max(), np.abs(before - truth).max()) <= result.half_width
    assert 0.925 <= covered / 600 <= 0.975


def test_equal_spaces_are_called_different_at_most_at_the_level():
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(2000):
        a, b = np.sort(rng.normal(size=(2, 50)), axis=1)
        claims += ks_test(a, b).dominance(0.05) != "undecided"
    assert claims / 2000 <= 0.05
