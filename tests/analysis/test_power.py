from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from designspace.analysis.power import MOST, could_show, networks_needed
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
    assert f"about {found.more} more networks of each would decide it, if they are as far" in found.sentence()


def test_more_pairs_and_more_power_need_more_networks():
    a, b = quantiles(40, 3, 60), quantiles(41.5, 3, 60)
    numbers = [networks_needed(a, b, pairs=pairs, power=power).more for pairs, power in ((1, 0.5), (1, 0.8), (10, 0.8))]
    assert numbers == sorted(set(numbers))


def test_what_is_decided_or_alike_gets_no_number():
    a = quantiles(40, 3, 100)
    assert networks_needed(a, quantiles(45, 3, 100)).verdict == "decided"
    alike = networks_needed(a, a)
    assert (alike.verdict, alike.more) == ("alike", None)
    assert alike.sentence() == "the curves are no further apart than two populations of one space would be"


def test_a_level_out_of_reach_is_too_many():
    a, b = quantiles(40, 3, 12), quantiles(43, 3, 12)
    found = networks_needed(a, b, level=1e-60)
    assert (found.verdict, found.more) == ("too many", None)
    assert found.sentence().startswith(f"more than {MOST} times as many would be needed")


def test_one_network_and_equal_errors():
    assert networks_needed([30.0], [40.0]).power == 0
    assert networks_needed([30.0] * 5, [30.0] * 5).verdict == "alike"
    assert networks_needed([90.0] * 5, [30.0] + [90.0] * 5).verdict == "alike"


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


def test_it_is_rather_too_small_where_spaces_differ_little():
    """The winner's curse, as its documentation warns: few networks look further apart than their spaces are."""
    a, b = quantiles(40, 3, 999), quantiles(40.5, 3, 999)
    assert power_by_draws(a, b, 400, 0.05) < 0.8  # so more than 400 are needed
    rng = np.random.default_rng(0)
    found = [networks_needed(rng.normal(40, 3, 50), rng.normal(40.5, 3, 50), seed=i) for i in range(60)]
    numbers = [50 + one.more for one in found if one.verdict == "more"]
    assert len(numbers) > 10
    assert np.median(numbers) < 250
