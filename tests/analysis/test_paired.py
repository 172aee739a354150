from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import make_results
from scipy import stats

from designspace.analysis.paired import compare_paired, kendall, mean_paired_difference, spearman
from designspace.analysis.results import Results
from designspace.support.errors import InputError

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=20).filter(
    lambda pairs: all(len(set(values)) > 1 for values in zip(*pairs, strict=True))
)


def correlated(rng, n, rho):
    x = rng.normal(size=n)
    return 40 + 3 * x, 30 + 2 * (rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n))


@given(PAIRS)
def test_correlations_with_ties_equal_those_of_scipy(pairs):
    x, y = np.array(pairs, float).T
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman(x, y).p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=1e-12)
    assert kendall(x, y).value == pytest.approx(stats.kendalltau(x, y).statistic)
    for estimate in (spearman(x, y), kendall(x, y)):
        assert -1 <= estimate.low <= estimate.value + 1e-9
        assert estimate.value - 1e-9 <= estimate.high <= 1


@given(PAIRS)
def test_reversing_one_order_changes_the_sign(pairs):
    x, y = np.array(pairs, float).T
    for correlation in (spearman, kendall):
        estimate, other = correlation(x, y), correlation(x, -y)
        assert (other.value, other.low, other.high) == pytest.approx(
            (-estimate.value, -estimate.high, -estimate.low), abs=1e-6
        )


@pytest.mark.parametrize("correlation", [spearman, kendall])
@pytest.mark.parametrize("ties", [False, True])
def test_the_standard_error_equals_that_of_the_jackknife(correlation, ties):
    """The closed forms agree with leaving out each network in turn, up to terms of higher order in 1 / n."""
    rng = np.random.default_rng(4)
    x, y = (np.round(errors) if ties else errors for errors in correlated(rng, 300, 0.7))
    values = np.array([correlation(np.delete(x, i), np.delete(y, i)).value for i in range(300)])
    error = math.sqrt(299 / 300 * np.sum((values - values.mean()) ** 2))
    estimate = correlation(x, y)
    half = (math.atanh(estimate.high) - math.atanh(estimate.low)) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 298) * error / (1 - estimate.value**2), rel=0.02)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_intervals_have_the_nominal_coverage(rho):
    """2,000 draws of 50 networks: 95% means 94 to 96%, with a standard error of 0.5%."""
    rng = np.random.default_rng(0)
    # For normal errors, the rank correlations follow from the correlation of the errors (Kruskal, 1958).
    truths = 6 / np.pi * np.arcsin(rho / 2), 2 / np.pi * np.arcsin(rho), 10
    covered = np.zeros(3)
    for _ in range(2000):
        x, y = correlated(rng, 50, rho)
        estimates = spearman(x, y), kendall(x, y), mean_paired_difference(x, y)
        covered += [estimate.low <= truth <= estimate.high for estimate, truth in zip(estimates, truths, strict=True)]
    assert (covered / 2000 >= 0.93).all()
    assert (covered / 2000 <= 0.97).all()


def test_many_networks_can_be_compared():
    x, y = correlated(np.random.default_rng(0), 20_000, 0.9)
    estimate = kendall(x, y)
    assert estimate.low < 2 / np.pi * np.arcsin(0.9) < estimate.high
    assert estimate.high - estimate.low < 0.02


def test_10_epochs_predict_50():
    rng = np.random.default_rng(0)
    few, many = correlated(rng, 60, 0.95)
    result = compare_paired(make_results("10 epochs", few), make_results("50 epochs", many))
    assert (result.n, result.only_a, result.only_b, result.predicts) == (60, 0, 0, True)
    assert result.mean_difference.value == pytest.approx(np.mean(few - many))
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(few - many).pvalue)
    for best, count in zip(result.best, (6, 15), strict=True):
        tops = [set(np.argsort(errors)[:count]) for errors in (few, many)]
        assert (best.networks, best.kept, best.share) == (count, len(tops[0] & tops[1]), best.kept / count)
    rho = result.spearman
    assert result.sentence().startswith(
        f"The order of networks under 10 epochs predicts that under 50 epochs: Spearman {rho.value:.2f} "
        f"({rho.low:.2f} to {rho.high:.2f}), Kendall 0."
    )
    assert (
        f"n = 60. Of the best 10% under 10 epochs, {result.best[0].kept} of 6 are among the best 10%"
        in result.sentence()
    )
    assert result.sentence().endswith("Wilcoxon p < 0.001.")
    assert result.table()["error_a"].tolist() == few.tolist()
    same = compare_paired(make_results("A", few), make_results("B", rng.permutation(many)))
    assert "under A is not shown to predict that under B" in same.sentence()


def test_failed_missing_and_unfinished_networks_are_counted_and_reported():
    diverged = [("diverged", "")]
    a = make_results("A", [30.0, 31, 32, 33], failed=diverged, waiting=3)  # networks 0 to 3, 4, 5 to 7
    b = make_results("B", [29.0, 30, 31], failed=diverged * 2, running=1)  # 0 to 2, 3 and 4, 5
    result = compare_paired(a, b)
    assert (result.n, result.unfinished, result.only_a, result.only_b, result.left_out) == (5, 1, 2, 0, 0)
    assert result.errors_b.tolist() == [29, 30, 31, 90, 90]
    assert result.table()[["failed_a", "failed_b"]].sum().tolist() == [1, 2]
    assert result.sentence().endswith(
        "1 failed under A and 2 under B, counted at chance level, 90%. 2 networks are only in A, 0 only in B. "
        "1 have not finished under both."
    )
    without_failures = compare_paired(a.with_failures("exclude"), b.with_failures("exclude"))
    assert (without_failures.n, without_failures.left_out, without_failures.mean_difference.value) == (3, 2, 1)
    assert "2 that failed under one of them are left out" in without_failures.sentence()


def test_networks_are_matched_by_id_in_any_order():
    a = make_results("A", [30.0, 31, 32, 40])
    reversed_ = Results.from_table("B", make_results("B", [10.0, 11, 12, 20]).table[::-1], num_classes=10)
    assert (compare_paired(a, reversed_).errors_a - compare_paired(a, reversed_).errors_b).tolist() == [20] * 4


def test_single_networks_equal_errors_and_perfect_order():
    single = compare_paired(make_results("A", [30.0]), make_results("B", [20.0]))
    assert math.isnan(single.spearman.value)
    assert math.isnan(single.mean_difference.low)
    reason = "since all errors under one of them are equal (n = 1)"
    assert single.sentence().startswith(f"A and B: no order to compare, {reason}. Of the best 10%")
    flat = compare_paired(make_results("A", [30.0] * 5), make_results("B", [30.0] * 5))
    assert (flat.wilcoxon_p, flat.mean_difference.p) == (1, 1)
    two = compare_paired(make_results("A", [30.0, 40]), make_results("B", [30.0, 50]))
    assert two.spearman.value == pytest.approx(1)
    assert not two.predicts
    order = np.arange(20.0)
    for correlation in (spearman, kendall):
        perfect = correlation(order, order)
        assert (perfect.value, perfect.high) == pytest.approx((1, 1))
        assert 0 < perfect.low < 0.7


def test_runs_that_cannot_be_paired_are_rejected():
    a = make_results("A", [30.0])
    with pytest.raises(InputError, match="two runs have the name 'A'"):
        compare_paired(a, a)
    with pytest.raises(InputError, match="no network in common"):
        compare_paired(a, make_results("B", [30.0], tag="b"))
    with pytest.raises(InputError, match="different numbers of classes"):
        compare_paired(a, Results.from_table("B", a.table, num_classes=100))
    twice = Results("B", a.table.loc[[0, 0]], a.chance_error)
    with pytest.raises(InputError, match="is in more than one row"):
        compare_paired(a, twice)
