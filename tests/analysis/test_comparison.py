from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import independent_results as make_results
from scipy import stats

from designspace.analysis.comparison import compare, compare_all, holm, numbers
from designspace.analysis.results import Results
from designspace.support.errors import InputError


def own(name, errors):
    """Return results of which nothing but errors is known."""
    return Results.from_errors(name, errors, 10)


def normal(seed, mean, n, sd=2.0):
    return np.random.default_rng(seed).normal(mean, sd, n).clip(0, 100).tolist()


def test_a_shifted_population_is_better_and_the_sentence_says_by_how_much():
    worse, better = make_results("AnyNetXA", normal(1, 44, 16)), make_results("RegNetX", normal(2, 40, 16))
    one = compare(worse, better)
    assert one.better == "RegNetX"
    assert one.mean_low < 4 < one.mean_high
    assert one.sentence() == (
        "RegNetX is better than AnyNetXA: a random network of it has the lower error with probability "
        f"{1 - one.effect:.2f} (KS D = {one.ks:.2f}, p < 0.001, n = 16 and 16)."
    )
    other = compare(better, worse)
    assert (other.better, other.sentence()) == (one.better, one.sentence())
    assert other.effect == pytest.approx(1 - one.effect)
    assert other.effect_low == pytest.approx(1 - one.effect_high)
    assert (other.median_low, other.mean_high) == pytest.approx((-one.median_high, -one.mean_low))
    assert (one.dominance, other.dominance) == ("B", "A")
    assert one.needed is None
    # P(a lower) of two normals 4 apart with standard deviation 2 each is known.
    assert other.effect == pytest.approx(stats.norm.cdf(4 / np.sqrt(8)), abs=0.1)


def test_equal_populations_show_no_difference():
    errors = normal(1, 40, 16)
    one = compare(make_results("A", errors), make_results("B", errors))
    assert (one.ks, one.ks_p, one.effect, one.mean_difference, one.better) == (0, 1, 0.5, 0, None)
    assert one.sentence() == (
        "A and B: no difference shown at 5% (KS D = 0.00, p = 1.00). Not decided with n = 16 and 16: how many more "
        "networks would decide it cannot be told from fewer than 30 of each; 14 more networks of each would allow an "
        f"estimate. The means differ by +0.00 points ({one.mean_low:+.2f} to {one.mean_high:+.2f})."
    )


def test_what_is_not_decided_says_how_many_more_networks_would_decide():
    a = stats.norm.ppf((np.arange(40) + 0.5) / 40, 40, 3)
    one = compare(make_results("A", a), make_results("B", a + 1.7))
    assert one.better is None
    assert 0 < one.needed.more < 400
    assert (
        f"Not decided with n = 40 and 40: about {one.needed.more} to {one.needed.most} more networks of each "
        "would decide it, if they are about as far apart as they look."
    ) in one.sentence()


def test_a_constant_error_breaks_no_test():
    one = compare(make_results("A", [30.0] * 4), make_results("B", [30.0] * 5))
    assert (one.ks_p, one.effect_p, one.effect, one.mean_low, one.mean_high) == (1, 1, 0.5, 0, 0)
    assert one.effect_low < 0.5 < one.effect_high
    assert one.sentence().startswith("A and B: no difference shown")


@pytest.mark.parametrize("n", [5, 7, 500])
def test_populations_one_step_apart_have_a_p_of_1_without_a_warning(n):
    """Rounding brings scipy's exact p above 1 here, and it warns."""
    errors = np.linspace(10, 20, n)
    one = compare(make_results("A", errors), make_results("B", [*errors[:-1], 30.0]))
    assert one.ks == pytest.approx(1 / n)
    assert 0.999 <= one.ks_p <= 1


def test_populations_that_differ_in_spread_only_are_not_called_better():
    rng = np.random.default_rng(0)
    one = compare(
        make_results("Wide", 40 + 8 * rng.normal(size=200)), make_results("Narrow", 40 + rng.normal(size=200))
    )
    assert one.differs
    assert one.better is None
    assert one.sentence().startswith("Wide and Narrow differ (KS D = ")
    assert "but neither is shown to be better at 5%: the curves cross, each is ahead somewhere" in one.sentence()
    assert one.dominance == "cross"


def test_a_space_of_a_wider_spread_is_not_called_better_by_the_sizes_of_the_populations():
    """Where spreads and sizes differ, Mann and Whitney's test claims too often; that of Brunner and Munzel does not."""
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(200):
        wide, narrow = own("W", 40 + 8 * rng.normal(size=30)), own("N", 40 + rng.normal(size=200))
        claims += compare(wide, narrow).better is not None
    assert claims / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_it_says_when_so_few_networks_could_not_have_shown_a_difference():
    assert compare(make_results("A", [1.0]), make_results("B", [99.0])).sentence() == (
        "A and B: no difference shown at 5% (KS D = 1.00, p = 1.00; so few networks could not have shown one). "
        "Not decided with n = 1 and 1: how many more networks would decide it cannot be told from fewer than 30 of "
        "each; 29 more networks of each would allow an estimate."
    )
    three, four = [[1.0, 2.0, 3.0, 4.0][:n] for n in (3, 4)], [[5.0, 6.0, 7.0, 8.0][:n] for n in (3, 4)]
    can = [compare(make_results("A", a), make_results("B", b)).could_show for a, b in zip(three, four, strict=True)]
    assert can == [False, True]  # the least p is 2 / C(6, 3) = 0.1 and 2 / C(8, 4) = 0.029


def test_failed_trials_count_at_chance_level():
    failing = make_results("A", normal(1, 40, 12), failed=[("diverged", "")] * 12)
    sound = make_results("B", normal(2, 40, 24))
    assert compare(failing, sound).better == "B"
    assert compare(failing.with_failures("exclude"), sound).better is None


def test_what_cannot_be_compared_is_refused():
    a, none = make_results("A", [30.0]), make_results("None", [], waiting=2)
    with pytest.raises(InputError, match="None has no trial to compare: 0 of 2 trials finished"):
        compare(a, none)
    with pytest.raises(InputError, match="two runs have the name 'A'"):
        compare(a, a)
    with pytest.raises(InputError, match="level must be between 0 and 1"):
        compare(a, make_results("B", [30.0]), level=5)


def test_all_pairs_are_compared_with_holms_correction():
    runs = [
        make_results(name, normal(seed, mean, 16))
        for seed, (name, mean) in enumerate((("A", 44), ("B", 41), ("C", 40)))
    ]
    runs.append(make_results("Waiting", [], waiting=3))
    all_pairs = compare_all(runs)
    assert [(one.a, one.b) for one in all_pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert [one.ks_p_holm for one in all_pairs] == holm([one.ks_p for one in all_pairs])
    assert [one.effect_p_holm for one in all_pairs] == holm([one.effect_p for one in all_pairs])
    assert all((one.needed is None) == one.differs for one in all_pairs)
    assert all("Holm-corrected over 3 pairs" in one.sentence() for one in all_pairs)
    frame = numbers(all_pairs)
    assert frame["effect"].tolist() == [one.effect for one in all_pairs]
    assert frame["better"].tolist() == [one.better or "" for one in all_pairs]
    assert set(frame["needed_verdict"]) <= {"decided", "more", "alike", "too many", "too few"}
    assert compare_all(runs[:1]) == ()


def test_a_difference_that_correction_takes_away_is_not_claimed():
    # Four and four that do not overlap: p = 2 / C(8, 4) = 0.029 alone, but 0.17 as one of six.
    runs = [make_results(f"S{i}", [10.0 * i + j for j in range(1, 5)]) for i in range(4)]
    assert compare(runs[0], runs[1]).better == "S0"
    assert {one.better for one in compare_all(runs)} == {None}


def test_the_same_seed_gives_the_same_comparison():
    a, b = make_results("A", normal(1, 40, 16)), make_results("B", normal(2, 41, 16))
    assert compare(a, b) == compare(a, b)
    assert compare(a, b).needed != compare(a, b, seed=1).needed


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_textbooks_step_down(p_values):
    """Reject in order of p while p_(k) <= level / (m - k), checked at each corrected value."""
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    for level in (0.01, 0.05, 0.3):
        order = np.argsort(p_values, kind="stable")
        rejected = set()
        for rank, place in enumerate(order):
            if (len(p_values) - rank) * p_values[place] > level:
                break
            rejected.add(int(place))
        assert {place for place, q in enumerate(corrected) if q <= level} == rejected


def test_the_test_of_one_space_against_itself_is_wrong_as_seldom_as_it_says():
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(200):
        a, b, c = (own(name, rng.normal(40, 2, 12)) for name in "ABC")
        claims += any(one.differs for one in compare_all([a, b, c]))
    assert claims / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_two_populations_of_a_million_networks_compare():
    rng = np.random.default_rng(0)
    assert compare(*(own(name, rng.normal(40, 3, 1_000_000)) for name in "AB")).n_a == 1_000_000
