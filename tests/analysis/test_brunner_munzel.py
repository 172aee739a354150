from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from designspace.analysis.brunner_munzel import permutation_p
from designspace.analysis.effects import probability_lower

ERRORS = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=5).map(sorted).map(np.array)


def statistic(a, b):
    """Return the statistic of Brunner and Munzel from all pairs; infinite if the samples do not overlap."""
    wins = (a[:, None] < b) + (a[:, None] == b) / 2
    value = wins.mean()
    variance = wins.mean(axis=1).var(ddof=1) / a.size + wins.mean(axis=0).var(ddof=1) / b.size
    if abs(value - 0.5) < 1e-12:
        return 0.0
    return (value - 0.5) / math.sqrt(variance) if variance > 1e-14 else math.copysign(math.inf, value - 0.5)


def enumerated(a, b):
    """Return twice the smaller fraction of splits whose statistic is at least, or at most, the observed one."""
    pooled, indices = np.concatenate([a, b]), range(a.size + b.size)
    splits = [list(chosen) for chosen in combinations(indices, a.size)]
    values = np.array([statistic(pooled[chosen], np.delete(pooled, chosen)) for chosen in splits])
    observed = statistic(a, b)
    sides = np.mean(values >= observed - 1e-9), np.mean(values <= observed + 1e-9)
    return min(1.0, 2 * min(sides))


@settings(max_examples=60)
@given(ERRORS, ERRORS)
def test_the_p_value_is_that_of_all_splits(a, b):
    assert permutation_p(a, b) == pytest.approx(enumerated(a, b))
    assert permutation_p(a, b) == permutation_p(b, a)
    assert probability_lower(a, b).p == permutation_p(a, b)


@pytest.mark.parametrize(("n", "m"), [(7, 60), (14, 14), (14, 500)])
def test_random_splits_are_close_to_the_t_approximation_for_larger_samples(n, m):
    rng = np.random.default_rng(4)
    a, b = np.sort(rng.normal(40, 3, n)), np.sort(np.round(rng.normal(41.5, 3, m), 1))
    p = permutation_p(a, b)
    assert p == permutation_p(b, a)  # the same splits each time
    assert p == pytest.approx(stats.brunnermunzel(a, b).pvalue, rel=0.35)


def test_samples_that_do_not_overlap_have_the_least_p_value():
    a, b = np.arange(10.0), np.arange(20.0, 34.0)
    assert permutation_p(a, b) == permutation_p(b, a) == pytest.approx(2 / math.comb(24, 10))
    assert permutation_p(np.array([1.0, 1.0]), np.array([1.0, 1.0, 1.0])) == 1


@pytest.mark.parametrize(("n", "m", "ratio", "rate"), [(8, 8, 1, 0.054), (8, 32, 3, 0.065), (32, 8, 3, 0.030)])
def test_error_rates_are_those_of_the_documentation(n, m, ratio, rate):
    """Normal errors with equal means, where the deviation of the first sample is ``ratio`` times that of the second.

    The rates are from 4,000 and 6,000 draws; the t approximation has 6.1, 6.2 and 5.0% (docs/claims.md).
    """
    rng = np.random.default_rng(n)
    claims = sum(
        permutation_p(np.sort(rng.normal(40, 3 * ratio, n)), np.sort(rng.normal(40, 3, m))) < 0.05 for _ in range(1000)
    )
    assert claims / 1000 == pytest.approx(rate, abs=3 * math.sqrt(rate * (1 - rate) / 1000))
