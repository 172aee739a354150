from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from designspace.analysis.power import FEWEST, MOST, NetworksNeeded, could_show, networks_needed, shrunken_part
from designspace.support.errors import InputError


def quantiles(mean, sd, n):
    """Errors whose EDF is the normal one but for steps: nothing in it is chance."""
    return stats.norm.ppf((np.arange(n) + 0.5) / n, mean, sd)


def power_by_draws(a, b, n, level, draws=400):
    """Part of the draws of n networks of each, with replacement, in which scipy's test is significant."""
    rng = np.random.default_rng(0)
    pairs = ((rng.choice(a, n), rng.choice(b, n)) for _ in range(draws))
    return np.mean([stats.ks_2samp(x, y, method="asymp").pvalue < level for x, y in pairs])


@pytest.mark.parametrize(("n", "shift", "pairs"), [(30, 2.0, 1), (60, 1.5, 6), (200, 0.75, 1)])
def test_so_many_networks_show_it_with_that_probability(n, shift, pairs):
    a, b = quantiles(40, 3, n), quantiles(40 + shift, 3, n)
    found = networks_needed(a, b, 0.05, pairs)
    assert found.verdict == "more"
    assert 0.72 <= power_by_draws(a, b, n + found.more, 0.05 / pairs) <= 0.9
    assert found.power == pytest.approx(power_by_draws(a, b, n, 0.05 / pairs), abs=0.1)
    assert f"about {found.more} to {found.most} more networks of each would decide it, if they" in found.sentence()


def test_the_upper_end_is_that_of_a_smaller_distance():
    a, b = quantiles(40, 3, 60), quantiles(41.5, 3, 60)
    found = networks_needed(a, b)
    part = shrunken_part(stats.ks_2samp(a, b).pvalue)
    assert 0.5 < part < 0.9
    closer = quantiles(40 + 1.5 * part, 3, 60)  # at this distance, a normal shift and its KS distance are proportional
    assert 0.7 <= power_by_draws(a, closer, 60 + found.most, 0.05) <= 0.93
    assert found.most > 1.2 * found.more


def test_an_effect_shrinks_by_its_expected_noise():
    z = np.array([1.0, 1.2, 2.0, 10.0])
    parts = [shrunken_part(p) for p in 2 * stats.norm.sf(z)]
    assert parts[0] == 0
    np.testing.assert_allclose(parts[1:], (1 + 1 - 1 / z[1:] ** 2) / 2)
    assert shrunken_part(1.0) == 0


def test_more_pairs_and_more_power_need_more_networks():
    a, b = quantiles(40, 3, 60), quantiles(41.5, 3, 60)
    numbers = [networks_needed(a, b, pairs=pairs, power=power).more for pairs, power in ((1, 0.5), (1, 0.8), (10, 0.8))]
    assert numbers == sorted(set(numbers))


def test_what_is_decided_or_alike_gets_no_number():
    a = quantiles(40, 3, 100)
    assert networks_needed(a, quantiles(45, 3, 100)).verdict == "decided"
    alike = networks_needed(a, a)
    assert (alike.verdict, alike.more) == ("alike", None)
    assert (
        alike.sentence() == "two populations of one space are often as far apart, so no number of networks can be given"
    )
    rng = np.random.default_rng(2)
    for shift in (0.2, 0.4, 0.6):  # p = 0.32 is where the shrunken distance is 0
        b = a + shift + rng.normal(0, 0.01, 100)
        p = stats.ks_2samp(a, b).pvalue
        assert networks_needed(a, b).verdict == ("alike" if p > 0.3173 else "more")


def test_a_level_out_of_reach_is_too_many():
    a, b = quantiles(40, 3, 30), quantiles(42, 3, 30)
    found = networks_needed(a, b, level=1e-200)
    assert (found.verdict, found.more, found.most) == ("too many", None, None)
    assert found.sentence().startswith(f"more than {MOST} times as many may be needed")


def test_one_network_and_equal_errors():
    assert networks_needed([30.0], [40.0]).power == 0
    assert networks_needed([30.0] * 50, [30.0] * 50).verdict == "alike"
    assert networks_needed([90.0] * 50, [30.0] + [90.0] * 50).verdict == "alike"


@pytest.mark.parametrize(("n_a", "n_b"), [(1, 1), (2, 2), (16, 16), (48, 16), (29, 200)])
def test_too_few_networks_get_no_number_of_networks_that_would_decide(n_a, n_b):
    found = networks_needed(quantiles(40, 3, n_a), quantiles(40.9, 3, n_b))
    few = min(n_a, n_b)
    assert (found.verdict, found.more, found.most) == ("too few", FEWEST - few, None)
    whose = "each" if n_a == n_b else f"the space with {few}"
    networks = "network" if FEWEST - few == 1 else "networks"
    assert found.sentence() == (
        "how many more networks would decide it cannot be told from fewer than 30 of each; "
        f"{FEWEST - few} more {networks} of {whose} would allow an estimate"
    )


@pytest.mark.parametrize(
    ("n_a", "n_b", "more", "most", "told"),
    [
        (40, 40, 1, 1, "about 1 more network of each would"),
        (40, 40, 1, 2, "about 1 to 2 more networks of each would"),
        (40, 40, 7, 7, "about 7 more networks of each would"),
        (90, 40, 6, 50, "about 6 to 50 more networks of the space with 40 would"),
        (40, 90, 6, 60, "about 6 to 60 more networks of the space with 40, and up to 10 of the other, would"),
    ],
)
def test_the_range_in_words(n_a, n_b, more, most, told):
    assert NetworksNeeded("more", more, 0.3, n_a, n_b, most).sentence().startswith(told)


def test_of_two_sizes_the_smaller_population_grows_first():
    a, b = quantiles(40, 3, 200), quantiles(41.6, 3, 32)
    found = networks_needed(a, b)
    assert found.verdict == "more"
    assert 32 + found.most < 200
    assert "of the space with 32 would decide it" in found.sentence()
    rng = np.random.default_rng(0)
    pairs = [(rng.choice(a, 200), rng.choice(b, 32 + found.more)) for _ in range(400)]
    assert 0.7 <= np.mean([stats.ks_2samp(x, y, method="asymp").pvalue < 0.05 for x, y in pairs]) <= 0.92
    turned = networks_needed(b, a)
    assert (turned.n_a, turned.n_b, turned.more) == (32, 200, pytest.approx(found.more, rel=0.15))


def test_the_least_p_is_that_of_populations_apart():
    for n, m in ((3, 3), (4, 4), (3, 5), (1, 38), (1, 40)):
        least = stats.ks_2samp(np.arange(n), 100 + np.arange(m), method="exact").pvalue
        assert could_show(n, m, 0.05) == (least < 0.05)
    assert could_show(1_000_000, 1_000_000, 0.05, 1000)


def test_the_same_seed_gives_the_same_number_and_bad_input_is_refused():
    rng = np.random.default_rng(0)
    a, b = rng.normal(40, 3, 60), rng.normal(41, 3, 60)
    assert networks_needed(a, b, seed=3) == networks_needed(a, b, seed=3)
    with pytest.raises(InputError, match="power must be"):
        networks_needed(a, b, power=80)
    with pytest.raises(InputError, match="at least one error"):
        networks_needed([], b)


def test_the_range_decides_most_pairs_of_spaces_that_differ():
    """A small part of experiments/benchmark_more_networks, which measures 90% for this one."""
    rng = np.random.default_rng(0)
    decided = []
    for seed in range(60):
        a, b = rng.normal(40, 3, 48), rng.normal(41.5, 3, 48)
        found = networks_needed(a, b, seed=seed)
        if found.verdict == "more":
            further = rng.normal(40, 3, found.most), rng.normal(41.5, 3, found.most)
            a, b = np.concatenate([a, further[0]]), np.concatenate([b, further[1]])
            decided.append(stats.ks_2samp(a, b, method="asymp").pvalue < 0.05)
    assert len(decided) > 15
    assert np.mean(decided) > 0.7  # 90% less three standard errors
