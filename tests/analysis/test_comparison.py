from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import independent_results as make_results
from scipy import stats

from designspace.analysis.comparison import compare, compare_all, comparison_table
from designspace.analysis.p_values import holm
from designspace.analysis.results import Results
from designspace.support.errors import InputError


def errors_only(name, errors):
    """Return results of which only errors are known."""
    return Results.from_errors(name, errors, 10)


def normal(seed, mean, n, sd=2.0):
    return np.random.default_rng(seed).normal(mean, sd, n).clip(0, 100).tolist()


def test_a_shifted_population_is_better_and_the_sentence_gives_the_probability():
    worse, better = make_results("AnyNetXA", normal(1, 44, 16)), make_results("RegNetX", normal(2, 40, 16))
    comparison = compare(worse, better)
    assert comparison.better == "RegNetX"
    assert comparison.mean_low < 4 < comparison.mean_high
    assert comparison.sentence() == (
        "RegNetX is better than AnyNetXA: a random network from RegNetX has a lower error than one from AnyNetXA with "
        f"probability {1 - comparison.effect:.2f} (KS D = {comparison.ks:.2f}, p < 0.001, n = 16 and 16)."
    )
    swapped = compare(better, worse)
    assert (swapped.better, swapped.sentence()) == (comparison.better, comparison.sentence())
    assert swapped.effect == pytest.approx(1 - comparison.effect)
    assert swapped.effect_low == pytest.approx(1 - comparison.effect_high)
    assert (swapped.median_low, swapped.mean_high) == pytest.approx((-comparison.median_high, -comparison.mean_low))
    assert (comparison.dominance, swapped.dominance) == ("B", "A")
    assert comparison.needed is None
    # P(a lower) of two normals 4 apart with standard deviation 2 each is known.
    assert swapped.effect == pytest.approx(stats.norm.cdf(4 / np.sqrt(8)), abs=0.1)


def test_equal_populations_show_no_difference():
    errors = normal(1, 40, 16)
    comparison = compare(make_results("A", errors), make_results("B", errors))
    assert (comparison.ks, comparison.ks_p, comparison.effect, comparison.mean_difference, comparison.better) == (
        0,
        1,
        0.5,
        0,
        None,
    )
    assert comparison.sentence() == (
        "A and B: no difference shown at 5% (KS D = 0.00, p = 1.00). Not decided with n = 16 and 16: how many more "
        "networks would decide it cannot be estimated from fewer than 30 of each; 14 more networks of each would allow "
        f"an estimate. The means differ by +0.00 points ({comparison.mean_low:+.2f} to {comparison.mean_high:+.2f})."
    )


def test_an_undecided_comparison_estimates_how_many_more_networks_would_decide_it():
    a = stats.norm.ppf((np.arange(40) + 0.5) / 40, 40, 3)
    comparison = compare(make_results("A", a), make_results("B", a + 1.7))
    assert comparison.better is None
    assert 0 < comparison.needed.more < 400
    assert (
        f"Not decided with n = 40 and 40: about {comparison.needed.more} to {comparison.needed.most} more networks of "
        "each would decide it, if they are about as far apart as they appear."
    ) in comparison.sentence()


def test_constant_errors_can_be_compared():
    comparison = compare(make_results("A", [30.0] * 4), make_results("B", [30.0] * 5))
    assert (comparison.ks_p, comparison.effect_p, comparison.effect, comparison.mean_low, comparison.mean_high) == (
        1,
        1,
        0.5,
        0,
        0,
    )
    assert comparison.effect_low < 0.5 < comparison.effect_high
    assert comparison.sentence().startswith("A and B: no difference shown")


@pytest.mark.parametrize("n", [5, 7, 500])
def test_populations_one_step_apart_have_a_p_value_of_1_without_a_warning(n):
    """Rounding brings scipy's exact p above 1 here, and it warns."""
    errors = np.linspace(10, 20, n)
    comparison = compare(make_results("A", errors), make_results("B", [*errors[:-1], 30.0]))
    assert comparison.ks == pytest.approx(1 / n)
    assert 0.999 <= comparison.ks_p <= 1


def test_populations_that_differ_only_in_spread_are_not_called_better():
    rng = np.random.default_rng(0)
    comparison = compare(
        make_results("Wide", 40 + 8 * rng.normal(size=200)), make_results("Narrow", 40 + rng.normal(size=200))
    )
    assert comparison.differs
    assert comparison.better is None
    assert comparison.sentence().startswith("Wide and Narrow differ (KS D = ")
    assert (
        "but neither is shown to be better at 5%: the curves cross, so each is ahead at some errors"
        in comparison.sentence()
    )
    assert comparison.dominance == "cross"


def test_unequal_spreads_and_sizes_do_not_cause_false_claims():
    """If spreads and sizes differ, Mann and Whitney's test claims too often; that of Brunner and Munzel does not."""
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(200):
        wide, narrow = errors_only("W", 40 + 8 * rng.normal(size=30)), errors_only("N", 40 + rng.normal(size=200))
        claims += compare(wide, narrow).better is not None
    assert claims / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_the_sentence_says_when_there_are_too_few_networks_to_show_a_difference():
    assert compare(make_results("A", [1.0]), make_results("B", [99.0])).sentence() == (
        "A and B: no difference shown at 5% (KS D = 1.00, p = 1.00; too few networks to show any difference). "
        "Not decided with n = 1 and 1: how many more networks would decide it cannot be estimated from fewer than 30 "
        "of each; 29 more networks of each would allow an estimate."
    )
    three, four = [[1.0, 2.0, 3.0, 4.0][:n] for n in (3, 4)], [[5.0, 6.0, 7.0, 8.0][:n] for n in (3, 4)]
    could_show = [
        compare(make_results("A", a), make_results("B", b)).could_show for a, b in zip(three, four, strict=True)
    ]
    assert could_show == [False, True]  # the least p is 2 / C(6, 3) = 0.1 and 2 / C(8, 4) = 0.029


def test_failed_trials_count_at_chance_level():
    failing = make_results("A", normal(1, 40, 12), failed=[("diverged", "")] * 12)
    sound = make_results("B", normal(2, 40, 24))
    assert compare(failing, sound).better == "B"
    assert compare(failing.with_failures("exclude"), sound).better is None


def test_invalid_comparisons_are_rejected():
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
    assert [(pair.a, pair.b) for pair in all_pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert [pair.ks_p_holm for pair in all_pairs] == holm([pair.ks_p for pair in all_pairs])
    assert [pair.effect_p_holm for pair in all_pairs] == holm([pair.effect_p for pair in all_pairs])
    assert all((pair.needed is None) == pair.differs for pair in all_pairs)
    assert all("Holm-corrected over 3 pairs" in pair.sentence() for pair in all_pairs)
    frame = comparison_table(all_pairs)
    assert frame["effect"].tolist() == [pair.effect for pair in all_pairs]
    assert frame["better"].tolist() == [pair.better or "" for pair in all_pairs]
    assert set(frame["needed_verdict"]) <= {"decided", "more", "alike", "too many", "too few"}
    assert compare_all(runs[:1]) == ()


def test_a_difference_that_is_not_significant_after_correction_is_not_claimed():
    # Four and four that do not overlap: p = 2 / C(8, 4) = 0.029 alone, but 0.17 as one of six.
    runs = [make_results(f"S{i}", [10.0 * i + j for j in range(1, 5)]) for i in range(4)]
    assert compare(runs[0], runs[1]).better == "S0"
    assert {comparison.better for comparison in compare_all(runs)} == {None}


def test_the_same_seed_gives_the_same_comparison():
    a, b = make_results("A", normal(1, 40, 16)), make_results("B", normal(2, 41, 16))
    assert compare(a, b) == compare(a, b)
    assert compare(a, b).needed != compare(a, b, seed=1).needed


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_the_textbook_step_down_method(p_values):
    """Reject in order of p while p_(k) <= level / (m - k), checked at each corrected value."""
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    for level in (0.01, 0.05, 0.3):
        order = np.argsort(p_values, kind="stable")
        rejected = set()
        for rank, index in enumerate(order):
            if (len(p_values) - rank) * p_values[index] > level:
                break
            rejected.add(int(index))
        assert {index for index, q in enumerate(corrected) if q <= level} == rejected


def test_the_error_rate_for_equal_spaces_is_at_most_the_level():
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(100):
        a, b, c = (errors_only(name, rng.normal(40, 2, 12)) for name in "ABC")
        claims += any(comparison.differs for comparison in compare_all([a, b, c]))
    assert claims / 100 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


def test_two_populations_of_a_million_networks_can_be_compared():
    rng = np.random.default_rng(0)
    assert compare(*(errors_only(name, rng.normal(40, 3, 1_000_000)) for name in "AB")).n_a == 1_000_000
