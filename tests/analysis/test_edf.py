from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import golden_errors
from scipy import stats

from designspace.analysis.complexity_weights import common_range, common_weights, complexity_weights
from designspace.analysis.edf import edf
from designspace.support.errors import InputError

# Few distinct values, so that ties are common.
ERRORS = st.lists(st.integers(0, 400).map(lambda quarter: quarter / 4), min_size=1, max_size=40)


def naive(errors, at):
    """Return the fraction of errors that are not above, by counting."""
    return sum(1 for error in errors if error <= at) / len(errors)


@given(ERRORS, st.floats(-1, 101))
def test_the_edf_is_the_fraction_of_errors_not_above(errors, at):
    curve = edf(errors)
    for point in (at, *errors):
        assert curve(point) == naive(errors, point)
    assert curve.probabilities.tolist() == [naive(errors, error) for error in sorted(errors)]


@given(ERRORS)
def test_the_edf_equals_that_of_scipy(errors):
    expected = stats.ecdf(errors).cdf
    curve = edf(errors)
    np.testing.assert_allclose(curve(expected.quantiles), expected.probabilities, rtol=1e-12)


@given(ERRORS)
def test_the_edf_increases_from_0_to_1_and_is_right_continuous(errors):
    curve = edf(errors)
    assert curve(np.nextafter(curve.min, -np.inf)) == 0
    assert curve.probabilities[-1] == 1
    assert (np.diff(curve.probabilities) >= 0).all()
    for error in errors:
        assert curve(error) == curve(np.nextafter(error, np.inf)) > curve(np.nextafter(error, -np.inf))


def test_statistics_of_a_real_population():
    curve = edf(golden_errors())
    assert (curve.n, curve.min) == (32, 34.984)
    assert curve.mean == pytest.approx(37.1069, abs=1e-4)
    assert curve(34.984) == 1 / 32


def test_arrays_give_arrays_and_are_read_only():
    curve = edf([2.0, 1.0])
    assert curve([0.0, 1.0, 1.5, 2.0]).tolist() == [0, 0.5, 0.5, 1]
    assert isinstance(curve(1.0), float)
    with pytest.raises(ValueError, match="read-only"):
        curve.errors[0] = 0


def test_invalid_errors_and_levels_are_rejected():
    with pytest.raises(InputError, match="at least one"):
        edf([])
    with pytest.raises(InputError, match="finite"):
        edf([1.0, np.nan])
    for level in (0, 1, 5, -0.1):
        with pytest.raises(InputError, match=r"level must be between 0 and 1.*not"):
            edf([1.0]).band(level)


def test_the_band_has_the_closed_form_and_stays_within_0_and_1():
    band = edf(np.arange(200.0)).band(0.05)
    assert band.half_width == pytest.approx(np.sqrt(np.log(40) / 400))
    assert band.lower.min() == 0
    assert band.upper.max() == 1
    middle = edf(np.arange(200.0)).probabilities[100]
    assert (band.lower[100], band.upper[100]) == pytest.approx((middle - band.half_width, middle + band.half_width))


@pytest.mark.parametrize("n", [5, 16, 100])
def test_the_band_is_at_most_slightly_wider_than_the_exact_one(n):
    exact = stats.kstwo.ppf(0.95, n)  # the distribution of the largest distance for n values
    assert exact <= edf(np.arange(float(n))).band(0.05).half_width <= 1.08 * exact


def test_the_band_contains_the_whole_true_curve_at_the_nominal_rate():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(1000):
        curve = edf(rng.normal(40, 3, 16))
        truth = stats.norm.cdf(curve.errors, 40, 3)
        band = curve.band(0.1)
        # The distance is largest at a step or just before it, where the band is that of the previous step.
        upper_before = np.concatenate([[band.half_width], band.upper[:-1]])
        lower = band.lower
        missed += bool(((truth < lower) | (truth > upper_before)).any())
    assert 0.06 < missed / 1000 < 0.1 + 3 * np.sqrt(0.09 / 1000)


WEIGHTED = st.lists(st.tuples(st.integers(0, 40).map(float), st.integers(0, 5)), min_size=1, max_size=30).filter(
    lambda pairs: any(weight for _, weight in pairs)
)


@given(WEIGHTED, st.floats(-1, 41))
def test_the_weighted_edf_is_the_weight_of_the_errors_not_above(pairs, at):
    errors, weights = zip(*pairs, strict=True)
    curve = edf(errors, weights)
    for point in (at, *errors):
        share = sum(weight for error, weight in pairs if error <= point) / sum(weights)
        assert curve(point) == pytest.approx(share, abs=1e-12)
    assert curve.probabilities[-1] == 1
    assert curve.weights.sum() == pytest.approx(1)
    assert curve.n == sum(weight > 0 for weight in weights)
    assert curve.mean == pytest.approx(np.average(errors, weights=weights))


@given(WEIGHTED)
def test_integer_weights_equal_repeated_networks(pairs):
    repeated = edf([error for error, weight in pairs for _ in range(weight)])
    curve = edf(*zip(*pairs, strict=True))
    points = np.arange(-1.0, 42.0)
    np.testing.assert_allclose(curve(points), repeated(points), atol=1e-12)
    assert (curve.min, curve.median) == (repeated.min, repeated.median)
    assert repeated.median == np.median(repeated.errors)


def test_weights_that_do_not_fit_are_rejected():
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.inf]):
        with pytest.raises(InputError, match="weight"):
            edf([1.0, 2.0], weights)


def test_complexity_weights_follow_the_formula_of_the_paper():
    # The bins are [0, 2), [2, 4) and [4, 6]; the second is empty, and 7 is outside.
    weights = complexity_weights([0, 1, 1.9, 4, 6, 7], bins=3, range=(0, 6))
    assert weights.counts.tolist() == [3, 0, 2]
    assert weights.weights.tolist() == pytest.approx([1 / 6] * 3 + [1 / 4] * 2 + [0])
    assert (weights.outside, weights.empty, weights.dropped) == (1, (1,), ())
    assert weights.sentence() == "2 of 3 bins of complexity used; 1 empty; 1 of 6 networks outside the range"
    assert weights.table()["networks"].tolist() == [3, 0, 2]
    curve = edf([10, 20, 30, 10, 20, 5], weights)
    assert curve.n == 5
    assert curve(10) == pytest.approx(1 / 6 + 1 / 4)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 12))
def test_non_empty_bins_have_equal_weights(complexity, bins):
    weights = complexity_weights(complexity, bins)
    sums = np.bincount(weights.bins, weights=weights.weights, minlength=bins)
    np.testing.assert_allclose(sums[weights.counts > 0], 1 / (weights.counts > 0).sum())
    assert weights.counts.tolist() == np.histogram(complexity, weights.edges)[0].tolist()


def test_compared_populations_use_the_bins_in_which_all_have_networks():
    a, b = common_weights([[0, 1, 5, 9], [1, 2, 8, 9, 9]], bins=3, range=(0, 9))
    assert (a.edges == b.edges).all()
    assert (a.used == b.used).all()
    assert (a.dropped, b.dropped, b.empty) == ((1,), (), (1,))
    assert a.weights.tolist() == pytest.approx([1 / 4, 1 / 4, 0, 1 / 2])
    assert b.weights.tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 6, 1 / 6, 1 / 6])
    assert "1 dropped (1 network), since another population has none there" in a.sentence()
    assert common_weights([[0, 4], [2, 9]], bins=1)[0].edges.tolist() == [2, 4] == list(common_range([[0, 4], [2, 9]]))


def test_populations_without_a_complexity_in_common_are_rejected():
    with pytest.raises(InputError, match="no complexity in common: one starts at 8, another ends at 2"):
        common_range([[1, 2], [8, 9]])
    with pytest.raises(InputError, match="no bin of complexity has networks of all"):
        common_weights([[0, 9], [4, 5]], bins=3, range=(0, 9))
    with pytest.raises(InputError, match="no network is within the range"):
        complexity_weights([1], bins=2, range=(5, 6))
    for bins in (0, 1.5, True):
        with pytest.raises(InputError, match="bins must be a whole number"):
            complexity_weights([1], bins=bins)
    with pytest.raises(InputError, match="range of complexity"):
        complexity_weights([1], bins=2, range=(6, 5))
    for complexities in ([], [np.nan]):
        with pytest.raises(InputError, match="weights by complexity need"):
            complexity_weights(complexities, bins=2)


def test_normalising_removes_a_difference_due_only_to_complexity():
    """Two samples of one space, one at small complexities, have equal normalised EDFs."""
    rng = np.random.default_rng(0)
    small, large = rng.beta(1, 2, 4000), rng.beta(2, 1, 4000)
    errors = [50 - 20 * size + rng.normal(0, 1, size.size) for size in (small, large)]
    raw = [edf(values) for values in errors]
    normal = [
        edf(values, weights) for values, weights in zip(errors, common_weights([small, large], bins=20), strict=True)
    ]
    distances = [abs(a(np.concatenate(errors)) - b(np.concatenate(errors))).max() for a, b in (raw, normal)]
    assert distances[1] < 0.08 < 0.4 < distances[0]


@pytest.mark.parametrize("n", [5, 16, 50, 500, 100_000])
def test_the_bootstrap_band_of_continuous_errors_has_the_width_of_kolmogorovs(n):
    """Its limit for many networks is 1.358 / sqrt(n), slightly more than the exact width for few networks."""
    width = edf(np.random.default_rng(0).normal(40, 3, n)).bootstrap_band(resamples=4000).half_width
    assert width == pytest.approx(stats.kstwobign.ppf(0.95) / np.sqrt(n), rel=0.04)


def test_equal_weights_or_one_bin_do_not_change_the_band():
    errors = np.random.default_rng(0).normal(40, 3, 200)
    raw = edf(errors).bootstrap_band(resamples=20_000).half_width
    assert edf(errors, np.full(200, 7)).bootstrap_band(resamples=20_000).half_width == pytest.approx(raw, rel=0.02)
    assert edf(errors, complexity_weights(errors, 1)).bootstrap_band(resamples=20_000).half_width == pytest.approx(
        raw, rel=0.02
    )
    assert edf(errors, np.full(200, 7)).band(0.05).half_width == pytest.approx(raw, rel=0.05)


def test_failures_with_equal_errors_make_the_bootstrap_band_narrower():
    rng = np.random.default_rng(0)
    half = edf(np.concatenate([rng.normal(40, 3, 50), np.full(350, 90.0)]))
    assert half.bootstrap_band().half_width < 0.85 * half.band().half_width


@pytest.mark.parametrize("weights", [None, [2.0]])
def test_the_bootstrap_band_of_equal_errors_has_no_width(weights):
    band = edf([40.0], weights).bootstrap_band()
    assert band.half_width >= 0
    assert (band.lower <= 1).all()
    assert edf([40.0] * 9, None if weights is None else weights * 9).bootstrap_band().half_width == 0


def test_the_same_seed_gives_the_same_band():
    curve = edf(golden_errors())
    assert curve.bootstrap_band(seed=1).half_width == curve.bootstrap_band(seed=1).half_width
    assert curve.bootstrap_band(seed=1).half_width != curve.bootstrap_band(seed=2).half_width


def covers(curve, band, truth):
    """Return whether a band of constant width contains the true curve, at each step and just before it."""
    true = truth(curve.errors)
    before = np.concatenate([[0.0], curve.probabilities[:-1]])
    return max(np.abs(curve.probabilities - true).max(), np.abs(before - true).max()) <= band.half_width


@pytest.mark.parametrize("population", ["raw", "weighted", "bins"])
def test_the_bootstrap_band_has_the_nominal_coverage(population):
    """2,000 draws of 50 networks: 95% means 94 to 96%, and more within bins, with a standard error of 0.5%.

    For raw EDFs, the distance does not depend on the distribution, so normal errors represent all continuous ones.
    """
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(2000):
        size = rng.uniform(size=50)
        if population == "raw":
            curve, truth = edf(rng.normal(40, 3, 50)), stats.norm(40, 3).cdf
        elif population == "weighted":
            curve, truth = edf(rng.normal(40, 3, 50), 0.5 + size), stats.norm(40, 3).cdf
        else:  # each bin of complexity has its own errors; the truth is their mean
            weights = complexity_weights(size, 4, (0, 1))
            curve = edf(40 - 5 * weights.bins + rng.normal(0, 3, 50), weights)
            centres = 40 - 5 * np.flatnonzero(weights.used)
            truth = lambda e, centres=centres: stats.norm.cdf(e[:, None], centres, 3).mean(axis=1)  # noqa: E731
        covered += covers(curve, curve.bootstrap_band(resamples=150, seed=seed), truth)
    assert 0.935 <= covered / 2000 <= (0.985 if population == "bins" else 0.965)


@pytest.mark.parametrize("n", [50, 500])
def test_the_closed_form_band_has_the_nominal_coverage(n):
    """2,000 draws: 95% means 95 to 96% for 20 or more networks."""
    rng = np.random.default_rng(1)
    uniform = np.sort(rng.uniform(size=(2000, n)), axis=1)  # F of any continuous errors
    steps = np.arange(n + 1) / n
    farthest = np.maximum(np.abs(uniform - steps[1:]), np.abs(uniform - steps[:-1])).max(axis=1)
    covered = (farthest <= edf(np.arange(float(n))).band().half_width).mean()
    assert 0.94 <= covered <= 0.965
