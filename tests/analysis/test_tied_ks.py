from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from designspace.analysis.difference import ks_test
from designspace.analysis.tied_ks import has_ties, tied_p_values

ERRORS = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=6).map(sorted).map(np.array)


def gaps(a, b):
    """Return the largest n m (F_A - F_B) and n m (F_B - F_A) at any error, as whole numbers."""
    errors = np.concatenate([a, b])
    values = [int(np.sum(a <= error)) * b.size - int(np.sum(b <= error)) * a.size for error in errors]
    return max(0, *values), max(0, *(-value for value in values))


def enumerated(a, b):
    """Return the three p values by enumerating all splits of the pooled errors."""
    pooled = np.concatenate([a, b])
    observed = gaps(a, b)
    counts = np.zeros(3)
    splits = list(combinations(range(pooled.size), a.size))
    for chosen in splits:
        in_first = np.zeros(pooled.size, bool)
        in_first[list(chosen)] = True
        above, below = gaps(pooled[in_first], pooled[~in_first])
        counts += [max(above, below) >= max(observed), above >= observed[0], below >= observed[1]]
    return counts / len(splits)


@settings(max_examples=60)
@given(ERRORS, ERRORS)
def test_p_values_are_those_of_all_splits(a, b):
    result = tied_p_values(a, b)
    assert [result.two_sided, result.a_above, result.b_above] == pytest.approx(enumerated(a, b), rel=1e-12)
    if has_ties(a, b):
        test = ks_test(a, b)
        assert (test.p, test.a_above_p, test.b_above_p) == (result.two_sided, result.a_above, result.b_above)


@pytest.mark.parametrize(("n", "m", "shift"), [(12, 12, 1), (12, 17, 0), (60, 55, 2), (400, 400, 0.3), (5, 90, 3)])
def test_p_values_without_ties_equal_those_of_scipy(n, m, shift):
    rng = np.random.default_rng(n)
    a, b = np.sort(rng.normal(40, 1, n)), np.sort(rng.normal(40 + shift, 1, m))
    assert not has_ties(a, b)
    result = tied_p_values(a, b)
    for p, side in ((result.two_sided, "two-sided"), (result.a_above, "greater"), (result.b_above, "less")):
        assert p == pytest.approx(stats.ks_2samp(a, b, alternative=side, method="exact").pvalue, rel=1e-10)


def test_small_probabilities_keep_their_precision():
    """Two samples of 300 that do not overlap are one split of binom(600, 300) on each side."""
    a, b = np.repeat([1.0, 2.0], 150), np.full(300, 3.0)
    result = tied_p_values(a, b)
    assert result.a_above == pytest.approx(1 / math.comb(600, 300), rel=1e-9)
    assert result.two_sided == pytest.approx(2 * result.a_above, rel=1e-9)
    assert result.b_above == 1


def test_large_samples_with_ties_have_exact_p_values():
    rng = np.random.default_rng(0)
    a, b = (np.sort(np.round(rng.normal(40, 3, n), 1)) for n in (10_000, 9_000))
    result = ks_test(a, b)
    assert 0 < result.p <= 1
    assert result.p < stats.ks_2samp(a, b, method="exact").pvalue
    beyond = ks_test(np.sort(np.append(a, 40.0)), b)  # above 10,000, the p value is asymptotic
    assert beyond.p > result.p


def test_the_error_rate_with_ties_is_close_to_the_level():
    """Errors of 10% on 500 images, 50 networks: 4.1% in 4,000 draws (2.4% with tables for continuous errors)."""
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(600):
        a, b = np.sort(rng.binomial(500, rng.normal(10, 1, (2, 50)) / 100) / 5, axis=1)
        claims += ks_test(a, b).p < 0.05
    assert 0.02 < claims / 600 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
