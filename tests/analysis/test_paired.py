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
    lambda pairs: all(len(set(one)) > 1 for one in zip(*pairs, strict=True))
)


def correlated(rng, n, rho):
    x = rng.normal(size=n)
    return 40 + 3 * x, 30 + 2 * (rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n))


@given(PAIRS)
def test_the_correlations_are_scipys_ties_included(pairs):
    x, y = np.array(pairs, float).T
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert kendall(x, y).value == pytest.approx(stats.kendalltau(x, y).statistic)
    for one in (spearman(x, y), kendall(x, y)):
        assert -1 <= one.low <= one.value + 1e-9
        assert one.value - 1e-9 <= one.high <= 1


@given(PAIRS)
def test_they_turn_their_sign_with_one_order(pairs):
    x, y = np.array(pairs, float).T
    for correlation in (spearman, kendall):
        one, other = correlation(x, y), correlation(x, -y)
        assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low), abs=1e-6)


@pytest.mark.parametrize("correlation", [spearman, kendall])
@pytest.mark.parametrize("ties", [False, True])
def test_the_standard_error_is_the_jackknifes(correlation, ties):
    """Leave out each network in turn. The closed forms agree with it but for terms of higher order in 1 / n."""
    rng = np.random.default_rng(4)
    x, y = (np.round(one) if ties else one for one in correlated(rng, 300, 0.7))
    values = np.array([correlation(np.delete(x, i), np.delete(y, i)).value for i in range(300)])
    error = math.sqrt(299 / 300 * np.sum((values - values.mean()) ** 2))
    one = correlation(x, y)
    half = (math.atanh(one.high) - math.atanh(one.low)) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 298) * error / (1 - one.value**2), rel=0.02)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_the_intervals_cover_as_often_as_they_say(rho):
    """2,000 draws of 50 networks: 95% means 94 to 96%, seen with a standard error of 0.5%."""
    rng = np.random.default_rng(0)
    # Of normal errors the rank correlations follow from that of the errors (Kruskal, 1958).
    truths = 6 / np.pi * np.arcsin(rho / 2), 2 / np.pi * np.arcsin(rho), 10
    covered = np.zeros(3)
    for _ in range(2000):
        x, y = correlated(rng, 50, rho)
        found = spearman(x, y), kendall(x, y), mean_paired_difference(x, y)
        covered += [one.low <= truth <= one.high for one, truth in zip(found, truths, strict=True)]
    assert (covered / 2000 >= 0.93).all()
    assert (covered / 2000 <= 0.97).all()


def test_many_networks_are_no_trouble():
    x, y = correlated(np.random.default_rng(0), 20_000, 0.9)
    one = kendall(x, y)
    assert one.low < 2 / np.pi * np.arcsin(0.9) < one.high
    assert one.high - one.low < 0.02


def test_do_10_epochs_predict_50():
    rng = np.random.default_rng(0)
    few, many = correlated(rng, 60, 0.95)
    found = compare_paired(make_results("10 epochs", few), make_results("50 epochs", many))
    assert (found.n, found.only_a, found.only_b, found.predicts) == (60, 0, 0, True)
    assert found.mean_difference.value == pytest.approx(np.mean(few - many))
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(few - many).pvalue)
    for one, count in zip(found.best, (6, 15), strict=True):
        tops = [set(np.argsort(errors)[:count]) for errors in (few, many)]
        assert (one.networks, one.kept, one.share) == (count, len(tops[0] & tops[1]), one.kept / count)
    rho = found.spearman
    assert found.sentence().startswith(
        f"The order of networks under 10 epochs predicts that under 50 epochs: Spearman {rho.value:.2f} "
        f"({rho.low:.2f} to {rho.high:.2f}), Kendall 0."
    )
    assert (
        f"n = 60. Of the best 10% under 10 epochs, {found.best[0].kept} of 6 are among the best 10%" in found.sentence()
    )
    assert found.sentence().endswith("Wilcoxon p < 0.001.")
    assert found.table()["error_a"].tolist() == few.tolist()
    same = compare_paired(make_results("A", few), make_results("B", rng.permutation(many)))
    assert "under A is not shown to predict that under B" in same.sentence()


def test_failed_missing_and_unfinished_networks_are_counted_and_said():
    diverged = [("diverged", "")]
    a = make_results("A", [30.0, 31, 32, 33], failed=diverged, waiting=3)  # networks 0 to 3, 4, 5 to 7
    b = make_results("B", [29.0, 30, 31], failed=diverged * 2, running=1)  # 0 to 2, 3 and 4, 5
    found = compare_paired(a, b)
    assert (found.n, found.unfinished, found.only_a, found.only_b, found.left_out) == (5, 1, 2, 0, 0)
    assert found.errors_b.tolist() == [29, 30, 31, 90, 90]
    assert found.table()[["failed_a", "failed_b"]].sum().tolist() == [1, 2]
    assert found.sentence().endswith(
        "1 failed under A and 2 under B, counted at chance level, 90%. 2 networks are only in A, 0 only in B. "
        "1 have not ended in both."
    )
    kept = compare_paired(a.with_failures("exclude"), b.with_failures("exclude"))
    assert (kept.n, kept.left_out, kept.mean_difference.value) == (3, 2, 1)
    assert "2 that failed under one of them are left out" in kept.sentence()


def test_networks_are_joined_by_id_whatever_their_order():
    a = make_results("A", [30.0, 31, 32, 40])
    turned = Results.from_table("B", make_results("B", [10.0, 11, 12, 20]).table[::-1], num_classes=10)
    assert (compare_paired(a, turned).errors_a - compare_paired(a, turned).errors_b).tolist() == [20] * 4


def test_one_network_equal_errors_and_perfect_order():
    one = compare_paired(make_results("A", [30.0]), make_results("B", [20.0]))
    assert math.isnan(one.spearman.value)
    assert math.isnan(one.mean_difference.low)
    assert one.sentence().startswith("A and B: no order to compare among 1 network with equal errors. Of the best 10%")
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


def test_what_cannot_be_paired_is_refused():
    a = make_results("A", [30.0])
    with pytest.raises(InputError, match="two runs have the name 'A'"):
        compare_paired(a, a)
    with pytest.raises(InputError, match="no network in common"):
        compare_paired(a, make_results("B", [30.0], tag="b"))
    with pytest.raises(InputError, match="different numbers of classes"):
        compare_paired(a, Results.from_table("B", a.table, num_classes=100))
    twice = Results("B", a.table.loc[[0, 0]], a.chance_error)
    with pytest.raises(InputError, match="stands in more than one row"):
        compare_paired(a, twice)
