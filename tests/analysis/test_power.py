from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from designspace.analysis.power import (
    MAX_MULTIPLE,
    MIN_NETWORKS,
    NetworksNeeded,
    could_show,
    networks_needed,
    shrunken_part,
)
from designspace.support.errors import InputError


def quantiles(mean, sd, n):
    """Return quantiles of a normal distribution, so that the EDF is free of chance."""
    return stats.norm.ppf((np.arange(n) + 0.5) / n, mean, sd)


def power_by_draws(a, b, n, level, draws=400):
    """Return the fraction of draws of n networks each, with replacement, in which SciPy's test is significant."""
    rng = np.random.default_rng(0)
    pairs = ((rng.choice(a, n), rng.choice(b, n)) for _ in range(draws))
    return np.mean([stats.ks_2samp(x, y, method="asymp").pvalue < level for x, y in pairs])


@pytest.mark.parametrize(("n", "shift", "pairs"), [(30, 2.0, 1), (60, 1.5, 6), (200, 0.75, 1)])
def test_the_estimated_number_of_networks_has_the_desired_power(n, shift, pairs):
    a, b = quantiles(40, 3, n), quantiles(40 + shift, 3, n)
    needed = networks_needed(a, b, 0.05, pairs)
    assert needed.verdict == "more"
    assert 0.72 <= power_by_draws(a, b, n + needed.more, 0.05 / pairs) <= 0.9
    assert needed.power == pytest.approx(power_by_draws(a, b, n, 0.05 / pairs), abs=0.1)
    assert f"about {needed.more} to {needed.most} more networks of each would decide it, if they" in needed.sentence()


def test_the_upper_end_assumes_a_smaller_distance():
    a, b = quantiles(40, 3, 60), quantiles(41.5, 3, 60)
    needed = networks_needed(a, b)
    fraction = shrunken_part(stats.ks_2samp(a, b).pvalue)
    assert 0.5 < fraction < 0.9
    # At this distance, a normal shift and its KS distance are proportional.
    closer = quantiles(40 + 1.5 * fraction, 3, 60)
    assert 0.7 <= power_by_draws(a, closer, 60 + needed.most, 0.05) <= 0.93
    assert needed.most > 1.2 * needed.more


def test_an_effect_shrinks_by_its_expected_noise():
    z = np.array([1.0, 1.2, 2.0, 10.0])
    fractions = [shrunken_part(p) for p in 2 * stats.norm.sf(z)]
    assert fractions[0] == 0
    np.testing.assert_allclose(fractions[1:], (1 + 1 - 1 / z[1:] ** 2) / 2)
    assert shrunken_part(1.0) == 0


def test_more_pairs_and_more_power_need_more_networks():
    a, b = quantiles(40, 3, 60), quantiles(41.5, 3, 60)
    numbers = [networks_needed(a, b, pairs=pairs, power=power).more for pairs, power in ((1, 0.5), (1, 0.8), (10, 0.8))]
    assert numbers == sorted(set(numbers))


def test_decided_and_similar_pairs_get_no_number():
    a = quantiles(40, 3, 100)
    assert networks_needed(a, quantiles(45, 3, 100)).verdict == "decided"
    alike = networks_needed(a, a)
    assert (alike.verdict, alike.more) == ("alike", None)
    assert (
        alike.sentence()
        == "two populations of the same space often differ as much, so no number of networks can be estimated"
    )
    rng = np.random.default_rng(2)
    for shift in (0.2, 0.4, 0.6):  # p = 0.32 is where the shrunken distance is 0
        b = a + shift + rng.normal(0, 0.01, 100)
        p = stats.ks_2samp(a, b).pvalue
        assert networks_needed(a, b).verdict == ("alike" if p > 0.3173 else "more")


def test_a_level_that_cannot_be_reached_needs_too_many_networks():
    a, b = quantiles(40, 3, 30), quantiles(42, 3, 30)
    needed = networks_needed(a, b, level=1e-200)
    assert (needed.verdict, needed.more, needed.most) == ("too many", None, None)
    assert needed.sentence().startswith(f"more than {MAX_MULTIPLE} times as many may be needed")


def test_single_networks_and_equal_errors_get_no_number():
    assert networks_needed([30.0], [40.0]).power == 0
    assert networks_needed([30.0] * 50, [30.0] * 50).verdict == "alike"
    assert networks_needed([90.0] * 50, [30.0] + [90.0] * 50).verdict == "alike"


@pytest.mark.parametrize(("n_a", "n_b"), [(1, 1), (2, 2), (16, 16), (48, 16), (29, 200)])
def test_too_few_networks_get_no_estimate(n_a, n_b):
    needed = networks_needed(quantiles(40, 3, n_a), quantiles(40.9, 3, n_b))
    few = min(n_a, n_b)
    assert (needed.verdict, needed.more, needed.most) == ("too few", MIN_NETWORKS - few, None)
    of_what = "each" if n_a == n_b else f"the space with {few}"
    networks = "network" if MIN_NETWORKS - few == 1 else "networks"
    assert needed.sentence() == (
        "how many more networks would decide it cannot be estimated from fewer than 30 of each; "
        f"{MIN_NETWORKS - few} more {networks} of {of_what} would allow an estimate"
    )


@pytest.mark.parametrize(
    ("n_a", "n_b", "more", "most", "beginning"),
    [
        (40, 40, 1, 1, "about 1 more network of each would"),
        (40, 40, 1, 2, "about 1 to 2 more networks of each would"),
        (40, 40, 7, 7, "about 7 more networks of each would"),
        (90, 40, 6, 50, "about 6 to 50 more networks of the space with 40 would"),
        (40, 90, 6, 60, "about 6 to 60 more networks of the space with 40, and up to 10 of the other, would"),
    ],
)
def test_the_sentence_gives_the_range(n_a, n_b, more, most, beginning):
    assert NetworksNeeded("more", more, 0.3, n_a, n_b, most).sentence().startswith(beginning)


def test_the_smaller_population_grows_first():
    a, b = quantiles(40, 3, 200), quantiles(41.6, 3, 32)
    needed = networks_needed(a, b)
    assert needed.verdict == "more"
    assert 32 + needed.most < 200
    assert "of the space with 32 would decide it" in needed.sentence()
    rng = np.random.default_rng(0)
    pairs = [(rng.choice(a, 200), rng.choice(b, 32 + needed.more)) for _ in range(400)]
    assert 0.7 <= np.mean([stats.ks_2samp(x, y, method="asymp").pvalue < 0.05 for x, y in pairs]) <= 0.92
    swapped = networks_needed(b, a)
    assert (swapped.n_a, swapped.n_b, swapped.more) == (32, 200, pytest.approx(needed.more, rel=0.15))


def test_the_least_p_value_is_that_of_populations_that_do_not_overlap():
    for n, m in ((3, 3), (4, 4), (3, 5), (1, 38), (1, 40)):
        least = stats.ks_2samp(np.arange(n), 100 + np.arange(m), method="exact").pvalue
        assert could_show(n, m, 0.05) == (least < 0.05)
    assert could_show(1_000_000, 1_000_000, 0.05, 1000)


def test_the_same_seed_gives_the_same_number_and_bad_input_is_rejected():
    rng = np.random.default_rng(0)
    a, b = rng.normal(40, 3, 60), rng.normal(41, 3, 60)
    assert networks_needed(a, b, seed=3) == networks_needed(a, b, seed=3)
    with pytest.raises(InputError, match="power must be"):
        networks_needed(a, b, power=80)
    with pytest.raises(InputError, match="at least one error"):
        networks_needed([], b)


def test_the_range_decides_most_pairs_of_spaces_that_differ():
    """A small part of experiments/benchmark_more_networks, which measures 90% for this case."""
    rng = np.random.default_rng(0)
    decided = []
    for seed in range(60):
        a, b = rng.normal(40, 3, 48), rng.normal(41.5, 3, 48)
        needed = networks_needed(a, b, seed=seed)
        if needed.verdict == "more":
            further = rng.normal(40, 3, needed.most), rng.normal(41.5, 3, needed.most)
            a, b = np.concatenate([a, further[0]]), np.concatenate([b, further[1]])
            decided.append(stats.ks_2samp(a, b, method="asymp").pvalue < 0.05)
    assert len(decided) > 15
    assert np.mean(decided) > 0.7  # 90% less three standard errors
