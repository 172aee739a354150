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
    """Share of the errors that are not above, counted one by one."""
    return sum(1 for error in errors if error <= at) / len(errors)


@given(ERRORS, st.floats(-1, 101))
def test_it_is_the_share_of_errors_not_above(errors, at):
    curve = edf(errors)
    for point in (at, *errors):
        assert curve(point) == naive(errors, point)
    assert curve.probabilities.tolist() == [naive(errors, error) for error in sorted(errors)]


@given(ERRORS)
def test_it_is_scipys(errors):
    theirs = stats.ecdf(errors).cdf
    curve = edf(errors)
    np.testing.assert_allclose(curve(theirs.quantiles), theirs.probabilities, rtol=1e-12)


@given(ERRORS)
def test_it_climbs_from_0_to_1_and_is_right_continuous(errors):
    curve = edf(errors)
    assert curve(np.nextafter(curve.min, -np.inf)) == 0
    assert curve.probabilities[-1] == 1
    assert (np.diff(curve.probabilities) >= 0).all()
    for error in errors:
        assert curve(error) == curve(np.nextafter(error, np.inf)) > curve(np.nextafter(error, -np.inf))


def test_numbers_of_a_real_population():
    curve = edf(golden_errors())
    assert (curve.n, curve.min) == (32, 34.984)
    assert curve.mean == pytest.approx(37.1069, abs=1e-4)
    assert curve(34.984) == 1 / 32


def test_arrays_in_arrays_out_and_none_can_be_changed():
    curve = edf([2.0, 1.0])
    assert curve([0.0, 1.0, 1.5, 2.0]).tolist() == [0, 0.5, 0.5, 1]
    assert isinstance(curve(1.0), float)
    with pytest.raises(ValueError, match="read-only"):
        curve.errors[0] = 0


def test_what_has_no_edf_is_refused():
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
def test_the_band_is_as_wide_as_the_exact_one_or_a_little_wider(n):
    exact = stats.kstwo.ppf(0.95, n)  # the distribution of the largest distance for n values
    assert exact <= edf(np.arange(float(n))).band(0.05).half_width <= 1.08 * exact


def test_the_band_holds_the_whole_true_curve_as_often_as_it_says():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(1000):
        curve = edf(rng.normal(40, 3, 16))
        truth = stats.norm.cdf(curve.errors, 40, 3)
        band = curve.band(0.1)
        # The distance is largest at a step, just at it or just before it, where the band is that of the step before.
        upper_before = np.concatenate([[band.half_width], band.upper[:-1]])
        lower = band.lower
        missed += bool(((truth < lower) | (truth > upper_before)).any())
    assert 0.06 < missed / 1000 < 0.1 + 3 * np.sqrt(0.09 / 1000)


WEIGHTED = st.lists(st.tuples(st.integers(0, 40).map(float), st.integers(0, 5)), min_size=1, max_size=30).filter(
    lambda pairs: any(weight for _, weight in pairs)
)


@given(WEIGHTED, st.floats(-1, 41))
def test_a_weighted_one_is_the_weight_of_the_errors_not_above(pairs, at):
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
def test_whole_weights_are_networks_counted_so_often(pairs):
    repeated = edf([error for error, weight in pairs for _ in range(weight)])
    curve = edf(*zip(*pairs, strict=True))
    points = np.arange(-1.0, 42.0)
    np.testing.assert_allclose(curve(points), repeated(points), atol=1e-12)
    assert (curve.min, curve.median) == (repeated.min, repeated.median)
    assert repeated.median == np.median(repeated.errors)


def test_weights_that_do_not_fit_are_refused():
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.inf]):
        with pytest.raises(InputError, match="weight"):
            edf([1.0, 2.0], weights)


def test_complexity_weights_are_the_papers_formula():
    # Bins [0, 2), [2, 4), [4, 6], of which the second is empty; 7 lies outside.
    found = complexity_weights([0, 1, 1.9, 4, 6, 7], bins=3, range=(0, 6))
    assert found.counts.tolist() == [3, 0, 2]
    assert found.weights.tolist() == pytest.approx([1 / 6] * 3 + [1 / 4] * 2 + [0])
    assert (found.outside, found.empty, found.dropped) == (1, (1,), ())
    assert found.sentence() == "2 of 3 bins of complexity used; 1 empty; 1 of 6 networks outside the range"
    assert found.table()["networks"].tolist() == [3, 0, 2]
    curve = edf([10, 20, 30, 10, 20, 5], found)
    assert curve.n == 5
    assert curve(10) == pytest.approx(1 / 6 + 1 / 4)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 12))
def test_each_bin_that_is_not_empty_weighs_alike(complexity, bins):
    found = complexity_weights(complexity, bins)
    sums = np.bincount(found.bins, weights=found.weights, minlength=bins)
    np.testing.assert_allclose(sums[found.counts > 0], 1 / (found.counts > 0).sum())
    assert found.counts.tolist() == np.histogram(complexity, found.edges)[0].tolist()


def test_populations_to_be_compared_share_the_bins_that_all_of_them_fill():
    a, b = common_weights([[0, 1, 5, 9], [1, 2, 8, 9, 9]], bins=3, range=(0, 9))
    assert (a.edges == b.edges).all()
    assert (a.used == b.used).all()
    assert (a.dropped, b.dropped, b.empty) == ((1,), (), (1,))
    assert a.weights.tolist() == pytest.approx([1 / 4, 1 / 4, 0, 1 / 2])
    assert b.weights.tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 6, 1 / 6, 1 / 6])
    assert "1 dropped (1 network), as another population has none there" in a.sentence()
    assert common_weights([[0, 4], [2, 9]], bins=1)[0].edges.tolist() == [2, 4] == list(common_range([[0, 4], [2, 9]]))


def test_populations_without_a_complexity_in_common_are_refused():
    with pytest.raises(InputError, match="no complexity in common: one begins at 8, another ends at 2"):
        common_range([[1, 2], [8, 9]])
    with pytest.raises(InputError, match="no bin of complexity has networks of all"):
        common_weights([[0, 9], [4, 5]], bins=3, range=(0, 9))
    with pytest.raises(InputError, match="no network lies within the range"):
        complexity_weights([1], bins=2, range=(5, 6))
    for bins in (0, 1.5, True):
        with pytest.raises(InputError, match="bins must be a whole number"):
            complexity_weights([1], bins=bins)
    with pytest.raises(InputError, match="range of complexity"):
        complexity_weights([1], bins=2, range=(6, 5))
    for given_ in ([], [np.nan]):
        with pytest.raises(InputError, match="weights by complexity need"):
            complexity_weights(given_, bins=2)


def test_normalising_takes_away_a_difference_that_is_one_of_complexity_alone():
    """Two samples of one space, one of them drawn at small complexities: on equal terms their errors are equal."""
    rng = np.random.default_rng(0)
    small, large = rng.beta(1, 2, 4000), rng.beta(2, 1, 4000)
    errors = [50 - 20 * size + rng.normal(0, 1, size.size) for size in (small, large)]
    raw = [edf(one) for one in errors]
    normal = [edf(one, own) for one, own in zip(errors, common_weights([small, large], bins=20), strict=True)]
    distances = [abs(a(np.concatenate(errors)) - b(np.concatenate(errors))).max() for a, b in (raw, normal)]
    assert distances[1] < 0.08 < 0.4 < distances[0]


@pytest.mark.parametrize("n", [5, 16, 50, 500, 100_000])
def test_the_bootstrap_band_of_continuous_errors_is_kolmogorovs(n):
    """Its limit for many networks, 1.358 / sqrt(n), which is a little more than the exact width for few."""
    width = edf(np.random.default_rng(0).normal(40, 3, n)).bootstrap_band(resamples=4000).half_width
    assert width == pytest.approx(stats.kstwobign.ppf(0.95) / np.sqrt(n), rel=0.04)


def test_equal_weights_or_one_bin_change_no_band():
    errors = np.random.default_rng(0).normal(40, 3, 200)
    raw = edf(errors).bootstrap_band(resamples=20_000).half_width
    assert edf(errors, np.full(200, 7)).bootstrap_band(resamples=20_000).half_width == pytest.approx(raw, rel=0.02)
    assert edf(errors, complexity_weights(errors, 1)).bootstrap_band(resamples=20_000).half_width == pytest.approx(
        raw, rel=0.02
    )
    assert edf(errors, np.full(200, 7)).band(0.05).half_width == pytest.approx(raw, rel=0.05)


def test_failures_that_share_an_error_make_the_bootstrap_band_narrower():
    rng = np.random.default_rng(0)
    half = edf(np.concatenate([rng.normal(40, 3, 50), np.full(350, 90.0)]))
    assert half.bootstrap_band().half_width < 0.85 * half.band().half_width


@pytest.mark.parametrize("weights", [None, [2.0]])
def test_the_band_of_one_network_or_of_equal_errors_says_so(weights):
    band = edf([40.0], weights).bootstrap_band()
    assert band.half_width >= 0
    assert (band.lower <= 1).all()
    assert edf([40.0] * 9, None if weights is None else weights * 9).bootstrap_band().half_width == 0


def test_the_same_seed_gives_the_same_band():
    curve = edf(golden_errors())
    assert curve.bootstrap_band(seed=1).half_width == curve.bootstrap_band(seed=1).half_width
    assert curve.bootstrap_band(seed=1).half_width != curve.bootstrap_band(seed=2).half_width


def covers(curve, band, truth):
    """Whether a band of constant width holds the true curve, at each step and just before it."""
    true = truth(curve.errors)
    before = np.concatenate([[0.0], curve.probabilities[:-1]])
    return max(np.abs(curve.probabilities - true).max(), np.abs(before - true).max()) <= band.half_width


@pytest.mark.parametrize("population", ["raw", "weighted", "bins"])
def test_the_bootstrap_band_covers_as_often_as_it_says(population):
    """2,000 draws of 50 networks: 95% means 94 to 96%, and more within bins, seen with a standard error of 0.5%.

    Of raw EDFs the distance does not depend on the distribution, so that normal errors stand for all continuous ones.
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
def test_the_closed_band_covers_as_often_as_it_says(n):
    """2,000 draws: 95% means 95 to 96% from 20 networks on."""
    rng = np.random.default_rng(1)
    uniform = np.sort(rng.uniform(size=(2000, n)), axis=1)  # F of any continuous errors
    steps = np.arange(n + 1) / n
    farthest = np.maximum(np.abs(uniform - steps[1:]), np.abs(uniform - steps[:-1])).max(axis=1)
    covered = (farthest <= edf(np.arange(float(n))).band().half_width).mean()
    assert 0.94 <= covered <= 0.965
