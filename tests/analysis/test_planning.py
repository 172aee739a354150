from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from designspace.analysis.difference import ks_test
from designspace.analysis.effects import mean_difference, probability_lower
from designspace.analysis.planning import (
    MAX_SIMULATED,
    _least_gap,
    plan_better,
    plan_not_worse,
    power_better,
    power_not_worse,
)
from designspace.support.errors import InputError

DRAWS = 500


def error_of(*probabilities, draws=DRAWS):
    """Return three standard errors of the difference of simulated probabilities."""
    return 3 * math.sqrt(sum(p * (1 - p) for p in probabilities) / draws)


def shows_better(a, b, level):
    """Return whether the tests of this package show that A is better."""
    a, b = np.sort(a), np.sort(b)
    effect = probability_lower(a, b)
    return ks_test(a, b).p < level and effect.p < level and effect.value > 0.5


@pytest.mark.parametrize(("effect", "pairs", "spread"), [(0.6, 1, "normal"), (0.75, 6, "skewed"), (0.95, 1, "normal")])
def test_the_planned_number_of_networks_has_the_planned_power(effect, pairs, spread):
    plan = plan_better(effect, pairs=pairs)
    shift = math.sqrt(2) * stats.norm.ppf(effect)
    rng = np.random.default_rng(7)
    is_shown = []
    for _ in range(DRAWS):
        a, b = rng.normal(0, 1, plan.n), rng.normal(shift, 1, plan.n)
        if spread == "skewed":
            a, b = np.exp(a), np.exp(b)
        is_shown.append(shows_better(a, b, 0.05 / pairs))
    assert np.mean(is_shown) == pytest.approx(plan.power, abs=error_of(plan.power, plan.power))
    assert plan.power >= 0.8
    assert power_better(int(0.79 * plan.n), effect, pairs=pairs) < 0.8


def test_the_effect_is_the_probability_of_a_lower_error():
    rng = np.random.default_rng(0)
    shift = math.sqrt(2) * stats.norm.ppf(0.7)
    assert np.mean(rng.normal(0, 1, 10**5) < rng.normal(shift, 1, 10**5)) == pytest.approx(0.7, abs=0.005)


def test_large_populations_are_simulated_at_a_smaller_size_with_the_same_power():
    n = 3 * MAX_SIMULATED
    shift = math.sqrt(2) * stats.norm.ppf(0.53)
    rng = np.random.default_rng(1)
    is_shown = [shows_better(rng.normal(0, 1, n), rng.normal(shift, 1, n), 0.05) for _ in range(300)]
    power = power_better(n, 0.53)
    assert np.mean(is_shown) == pytest.approx(power, abs=error_of(power, draws=300) + error_of(power, draws=2000))


@pytest.mark.parametrize(("n", "level"), [(3, 0.05), (4, 0.05), (10, 0.005), (48, 0.05), (333, 0.005)])
def test_the_least_gap_is_that_of_scipys_exact_test(n, level):
    def p(gap):
        return stats.ks_2samp(np.arange(n), np.arange(n) + gap - 0.5, method="exact").pvalue

    least = _least_gap(n, level)
    assert least == n + 1 or p(least) < level
    assert p(least - 1) >= level


def test_more_power_more_pairs_and_less_effect_need_more_networks():
    sizes = [plan_better(0.8).n, plan_better(0.8, power=0.95).n, plan_better(0.8, power=0.95, pairs=10).n]
    assert sizes == sorted(set(sizes))
    assert plan_better(0.7).n > plan_better(0.75).n > plan_better(0.8).n
    assert plan_better(0.8, seed=1) == plan_better(0.8, seed=1)


@pytest.mark.parametrize(("margin", "sd", "pairs"), [(0.5, 2.0, 1), (3.0, 3.0, 4)])
def test_the_planned_number_of_networks_shows_that_a_space_is_not_worse(margin, sd, pairs):
    one_side, both = (plan_not_worse(margin, sd, pairs=pairs, both_sides=sides) for sides in (False, True))
    rng = np.random.default_rng(2)
    above, within = [], []
    for _ in range(2000):
        estimates = [mean_difference(*rng.normal(40, sd, (2, plan.n)), 2 * 0.05 / pairs) for plan in (one_side, both)]
        above.append(estimates[0].high < margin)
        within.append(-margin < estimates[1].low and estimates[1].high < margin)
    assert np.mean(above) == pytest.approx(one_side.power, abs=error_of(one_side.power, draws=2000))
    assert np.mean(within) == pytest.approx(both.power, abs=error_of(both.power, draws=2000))
    assert 0.8 <= one_side.power < 0.9
    assert 0.8 <= both.power < 0.9
    assert power_not_worse(int(0.9 * one_side.n) - 1, margin, sd, pairs=pairs) < 0.8


def test_impossible_plans_are_rejected():
    with pytest.raises(InputError, match="effect must be above 0.5 and below 1"):
        plan_better(0.4)
    with pytest.raises(InputError, match="n must be a whole number from 2 to 10000000, not 1"):
        power_better(1, 0.6)
    with pytest.raises(InputError, match="sd must be above 0 percentage points, not -1"):
        plan_not_worse(0.5, sd=-1)
    with pytest.raises(InputError, match="margin=1e-06 with sd=2 needs more than 10,000,000"):
        plan_not_worse(1e-6, sd=2)
