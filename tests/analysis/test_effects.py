from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from designspace.analysis.effects import best_of_k, mean_difference, median_difference, probability_lower
from designspace.support.errors import InputError

ERRORS = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=7)
EFFECTS = (mean_difference, median_difference, probability_lower)


def normal(rng, n):
    return rng.normal(40, 3, n)


def skewed(rng, n):
    return 35 + rng.lognormal(1.5, 0.6, n)


def naive_best_of(a, b, k):
    """Return the probability by enumerating all choices of k networks of each population."""
    first, second = ([min(choice) for choice in combinations(errors, k)] for errors in (a, b))
    return np.mean([(x < y) + (x == y) / 2 for x, y in product(first, second)])


@given(ERRORS, ERRORS)
def test_the_probability_is_the_count_over_all_pairs(a, b):
    result = probability_lower(a, b)
    assert result.value == pytest.approx(naive_best_of(a, b, 1))
    u = stats.mannwhitneyu(b, a, method="asymptotic").statistic if len({*a, *b}) > 1 else len(a) * len(b) / 2
    assert result.value == pytest.approx(u / (len(a) * len(b)))
    assert 0 <= result.low <= result.value <= result.high <= 1
    other = probability_lower(b, a)
    assert (other.value, other.low, other.high) == pytest.approx((1 - result.value, 1 - result.high, 1 - result.low))
    assert other.p == pytest.approx(result.p)


@given(ERRORS, ERRORS, st.integers(1, 5))
def test_the_best_of_k_is_the_average_over_all_choices(a, b, k):
    if k > min(len(a), len(b)):
        return
    result = best_of_k(a, b, k)
    assert result.probability[0] == pytest.approx(naive_best_of(a, b, k), abs=1e-12)
    assert best_of_k(b, a, k).probability[0] == pytest.approx(1 - result.probability[0], abs=1e-12)
    assert not result.with_replacement[0]


def test_more_draws_than_networks_are_with_replacement():
    result = best_of_k([1.0, 4.0], [2.0, 3.0], [1, 2, 3, 4])
    assert result.with_replacement.tolist() == [False, False, True, True]
    # A wins unless all of its draws are the 4.
    assert result.probability.tolist() == pytest.approx([0.5, 1, 1 - 0.5**3, 1 - 0.5**4])
    assert np.isnan(result.low).all()
    assert list(result.table().columns) == ["k", "probability", "low", "high", "with_replacement"]


def test_the_intervals_of_the_best_of_k_end_at_a_tenth_of_the_networks():
    rng = np.random.default_rng(0)
    result = best_of_k(normal(rng, 100), normal(rng, 80), [1, 8, 9, 80])
    assert np.isfinite(result.low).tolist() == [True, True, False, False]
    direct = probability_lower(*(normal(np.random.default_rng(seed), 50) for seed in (1, 2)))
    same = best_of_k(*(normal(np.random.default_rng(seed), 50) for seed in (1, 2)), 1)
    assert (same.probability[0], same.low[0], same.high[0]) == pytest.approx((direct.value, direct.low, direct.high))


def test_the_variance_equals_that_of_an_explicit_jackknife():
    """Leave out each network in turn; the closed form is compared by the width on the logit scale."""
    rng = np.random.default_rng(3)
    a, b, k = np.round(normal(rng, 41), 0), np.round(normal(rng, 33), 0), 3
    result = best_of_k(a, b, k)
    value = result.probability[0]
    parts = []
    for which, errors in enumerate((a, b)):
        without = [np.delete(errors, index) for index in range(errors.size)]
        values = [best_of_k(*((reduced, b) if which == 0 else (a, reduced)), k).probability[0] for reduced in without]
        parts.append((errors.size - 1) / errors.size * np.sum((np.array(values) - value) ** 2))
    freedom = sum(parts) ** 2 / sum(v**2 / (n / k - 1) for v, n in zip(parts, (41, 33), strict=True))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts)) / (value * (1 - value))
    logits = [math.log(p / (1 - p)) for p in (result.low[0], value, result.high[0])]
    assert np.diff(logits) == pytest.approx([half, half])


def test_a_million_networks_and_any_k_stay_exact():
    """Errors 0 to n - 1 against the same errors have probability 1/2."""
    n = 1_000_000
    errors = np.arange(float(n))
    result = best_of_k(errors, errors, [1, 30, 1000, n])
    assert result.probability == pytest.approx([0.5] * 4, abs=1e-9)
    assert (result.low[:3] < 0.5).all()
    assert (result.high[:3] > 0.5).all()
    assert best_of_k(errors[::2], errors[1::2], n // 2).probability[0] == 1


def test_the_mean_difference_equals_welchs_test_of_scipy():
    rng = np.random.default_rng(0)
    a, b = normal(rng, 12), skewed(rng, 30)
    result = mean_difference(a, b, 0.1)
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.9)
    assert (result.low, result.high, result.p) == pytest.approx((interval.low, interval.high, expected.pvalue))
    assert result.value == pytest.approx(a.mean() - b.mean())


def test_the_p_value_equals_that_of_scipys_brunner_munzel_test():
    rng = np.random.default_rng(0)
    for a, b in ((normal(rng, 15), skewed(rng, 30)), (np.round(normal(rng, 20)), np.round(normal(rng, 20) + 2))):
        assert probability_lower(a, b).p == pytest.approx(stats.brunnermunzel(a, b).pvalue)


def test_the_median_has_the_interval_of_price_and_bonett():
    """By hand: for 25 values c = 13 - 5 = 8; the 8th and 18th miss the median with 2 P(Bin(25, 1/2) <= 7)."""
    a, b = np.arange(1.0, 26.0), 3 * np.arange(1.0, 26.0)
    z = -stats.norm.ppf(stats.binom.cdf(7, 25, 0.5))
    error = math.hypot(10 / (2 * z), 30 / (2 * z))
    result = median_difference(a, b)
    assert result.value == 13 - 39
    assert (result.low, result.high) == pytest.approx((-26 - 1.959964 * error, -26 + 1.959964 * error))


@pytest.mark.parametrize("effect", EFFECTS)
def test_effects_handle_single_networks_equal_errors_and_failures(effect):
    for a, b in (([30.0], [40.0]), ([30.0], [30.0, 40.0]), ([30.0] * 4, [30.0] * 9), ([90.0] * 5, [30.0, 90.0])):
        result = effect(a, b)
        assert math.isnan(result.low) or result.low <= result.value <= result.high
    assert effect([30.0] * 4, [30.0] * 9).p == 1
    for bad in ([], [np.nan]):
        with pytest.raises(InputError, match="at least one error each"):
            effect(bad, [1.0])
    with pytest.raises(InputError, match="level must be"):
        effect([1.0], [1.0], level=95)


def test_populations_that_do_not_overlap_have_an_interval():
    result = probability_lower(np.arange(20.0), np.arange(50.0, 70.0))
    assert (result.value, result.high) == (1, 1)
    assert result.low == pytest.approx(0.025 ** (1 / 20))  # Clopper and Pearson of 20 of 20
    ties = probability_lower([90.0] * 20, [90.0] * 20)
    assert (ties.low, ties.high) == pytest.approx((0.025**0.05 / 2, 1 - 0.025**0.05 / 2))
    for k in (0, -1, 1.5, []):
        with pytest.raises(InputError, match="k must be whole numbers"):
            best_of_k([1.0], [2.0], k)


# The true value is computed from the densities.
def true_best_of(distribution, shift, k):
    x = np.linspace(distribution.ppf(1e-9), distribution.ppf(1 - 1e-9), 200_001)
    density = k * distribution.pdf(x) * distribution.sf(x) ** (k - 1)
    return np.trapezoid(density * distribution.sf(x - shift) ** k, x)


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [(normal, stats.norm(40, 3)), (skewed, stats.lognorm(0.6, 35, np.exp(1.5)))],
    ids=["normal", "skewed"],
)
def test_intervals_have_the_nominal_coverage(draw, distribution):
    """2,000 draws of 50 networks each: 95% means 94 to 96%, with a standard error of 0.5%.

    The interval of the best of 2 covers more often than 95%, because 25 independent pairs are few.
    """
    rng = np.random.default_rng(5)
    shift = 1.5
    truth = (-shift, -shift, true_best_of(distribution, shift, 1), true_best_of(distribution, shift, 2))
    covered = np.zeros(4)
    for _ in range(2000):
        a, b = draw(rng, 50), draw(rng, 50) + shift
        best = best_of_k(a, b, 2)
        ends = [
            (estimate.low, estimate.high)
            for estimate in (mean_difference(a, b), median_difference(a, b), probability_lower(a, b))
        ]
        covered += [
            low <= true <= high for (low, high), true in zip([*ends, (best.low[0], best.high[0])], truth, strict=True)
        ]
    covered /= 2000
    assert (covered[:3] >= 0.935).all()
    assert (covered[:3] <= 0.965).all()
    assert 0.945 <= covered[3] <= 0.985
