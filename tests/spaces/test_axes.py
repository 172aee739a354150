import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from designspace.spaces.axes import GUIDE_BITS, Axis, choice, log_uniform, powers_of_two, uniform
from designspace.spaces.streams import Streams
from designspace.support.errors import InputError

AXES = {
    "depth": log_uniform(1, 16),
    "width": log_uniform(8, 1024, 8),
    "depth of pycls": log_uniform(1, 16, law="pycls"),
    "width of pycls": log_uniform(8, 1024, 8, law="pycls"),
    "from above its step": log_uniform(24, 64, 8, law="pycls"),
    "tenths": uniform(1.5, 3, 0.1),
    "ratio": choice([1, 2, 4]),
    "group": powers_of_two(1, 32),
    "weighted": choice([1, 1, 1, 2, 3, 3]),
}


def words(name, count, seed=0):
    return Streams(seed).next(name, count)


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_draws_follow_the_probabilities(axis):
    drawn = axis.draw(words("w", 200_000))
    observed = [np.sum(drawn == value) for value in axis.values]
    assert sum(observed) == 200_000
    assert stats.chisquare(observed, axis.probabilities * 200_000).pvalue > 1e-3


def test_log_uniform_is_a_rounded_log_uniform_number():
    axis = log_uniform(8, 1024, 8)
    real = np.exp(np.random.default_rng(0).uniform(math.log(4), math.log(1028), 200_000))
    rounded = np.floor(real / 8 + 0.5) * 8
    observed = [np.sum(rounded == value) for value in axis.values]
    assert stats.chisquare(observed, axis.probabilities * 200_000).pvalue > 1e-3


def quantized_by_pycls(low, high, step, count):
    """Draw with the `log_uniform` of pycls's sweep/random.py."""
    ends = -math.log(high), -math.log(low - min(step, low / 2))
    return np.ceil(np.exp(-np.random.default_rng(0).uniform(*ends, count)) / step) * step


@pytest.mark.parametrize("bounds", [(1, 16, 1), (8, 1024, 8), (24, 64, 8), (0.5, 16, 0.5)])
def test_pycls_law_equals_pycls(bounds):
    axis = log_uniform(*bounds, law="pycls")
    drawn = quantized_by_pycls(*bounds, 200_000)
    observed = [np.sum(drawn == value) for value in axis.values]
    assert sum(observed) == 200_000
    assert stats.chisquare(observed, axis.probabilities * 200_000).pvalue > 1e-3


@pytest.mark.parametrize(
    ("bounds", "pycls", "rounded"), [((1, 16), 0.2, 0.314), ((8, 1024, 8), 0.125, 0.198), ((8, 256, 8), 1 / 6, 0.263)]
)
def test_lowest_value_is_rarer_with_the_pycls_law(bounds, pycls, rounded):
    assert log_uniform(*bounds, law="pycls").probabilities[0] == pytest.approx(pycls, abs=1e-12)
    assert log_uniform(*bounds).probabilities[0] == pytest.approx(rounded, abs=5e-4)


def test_only_a_law_other_than_the_default_is_described():
    default, pycls = log_uniform(8, 64, 8), log_uniform(8, 64, 8, law="pycls")
    assert default.to_dict() == {"kind": "log_uniform", "low": 8, "high": 64, "step": 8}
    assert pycls.to_dict() == {**default.to_dict(), "law": "pycls"}
    assert Axis.from_dict({**default.to_dict(), "law": None}) == default == pycls.with_law(None) != pycls
    assert repr(pycls) == "Axis(log_uniform from 8 to 64 by 8, law pycls)"


def test_decimal_grids_are_exact():
    axis = log_uniform(1.5, 3, 0.001)
    assert len(axis) == 1501
    assert axis.values[[0, 1, 3, -1]].tolist() == [1.5, 1.501, 1.503, 3.0]


def test_lowest_and_highest_words_map_to_the_ends_of_the_axis():
    axis = log_uniform(1, 16)
    assert axis.draw(np.array([0, 2**64 - 1], np.uint64)).tolist() == [1, 16]
    assert [int(c[0]) for c in axis.draw_non_decreasing([np.array([2**64 - 1], np.uint64)] * 3)] == [16, 16, 16]
    assert [int(c[0]) for c in axis.draw_non_decreasing([np.zeros(1, np.uint64)] * 3)] == [1, 1, 1]


@pytest.mark.parametrize(
    "axis",
    [*AXES.values(), log_uniform(8, 256, 0.1), log_uniform(1.5, 3, 0.001), choice([0]), uniform(1, 70_000)],
    ids=[*AXES, "w_a", "w_m", "one", "more_values_than_guides"],
)
def test_guide_agrees_with_the_thresholds(axis):
    """Checked at every threshold, at every change of the first bits, and beside both."""
    guides = [i << (64 - GUIDE_BITS) for i in range(2**GUIDE_BITS)]
    edges = np.array([*axis._thresholds.tolist(), *guides], np.uint64)
    at = np.concatenate([edges - np.uint64(1), edges, edges + np.uint64(1)])  # 0 - 1 wraps to 2**64 - 1
    drawn = axis.draw(at)
    assert np.array_equal(drawn, axis.values[np.searchsorted(axis._thresholds, at, side="right")])
    assert drawn.dtype == axis.values.dtype


@pytest.mark.parametrize("axis", [log_uniform(1, 4), choice([1, 2, 4])], ids=["log_uniform", "choice"])
def test_non_decreasing_draws_are_independent_draws_conditioned_on_the_order(axis):
    """All triples of the support, against the definition: p(a) p(b) p(c) for a <= b <= c, ties included, normalised."""
    p = dict(zip(axis.values.tolist(), axis.probabilities, strict=True))
    triples = [t for t in itertools.product(p, repeat=3) if t[0] <= t[1] <= t[2]]
    weights = np.array([math.prod(p[v] for v in t) for t in triples])
    n = 100_000
    columns = axis.draw_non_decreasing([words(str(i), n) for i in range(3)])
    counts = Counter(zip(*(c.tolist() for c in columns), strict=True))
    assert set(counts) == set(triples)
    assert stats.chisquare([counts[t] for t in triples], weights / weights.sum() * n).pvalue > 1e-3


def test_non_decreasing_draws_equal_rejection():
    """Four widths of AnyNetXD: exact sampling and plain rejection are compared on each marginal."""
    axis, n = log_uniform(8, 128, 8), 400_000
    exact = axis.draw_non_decreasing([words(f"exact{i}", 20_000) for i in range(4)])
    free = np.stack([axis.draw(words(f"free{i}", n)) for i in range(4)])
    accepted = free[:, np.all(free[1:] >= free[:-1], axis=0)]
    for pair in zip(exact, accepted, strict=True):
        table = [[np.sum(column == value) for value in axis.values] for column in pair]
        table = np.array(table)[:, np.sum(table, axis=0) > 0]
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_sorting_gives_another_distribution():
    """Sorted draws have fewer ties than conditioned ones."""
    axis, n = log_uniform(1, 4), 50_000
    conditioned = np.stack(axis.draw_non_decreasing([words(str(i), n) for i in range(3)]))
    by_sorting = np.sort(np.stack([axis.draw(words(str(i), n)) for i in range(3)]), axis=0)
    ties = [np.mean(np.all(rows == rows[0], axis=0)) for rows in (conditioned, by_sorting)]
    assert ties[0] > 1.5 * ties[1]


@given(st.sampled_from(list(AXES)), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_stream_does_not_depend_on_the_sizes_of_reads(name, pieces):
    whole = Streams(7).next(name, sum(pieces))
    streams = Streams(7)
    assert np.array_equal(whole, np.concatenate([streams.next(name, piece) for piece in pieces]))


def test_words_are_pinned():
    """PCG64's raw words for seed 0: a change here changes every population."""
    assert Streams(0).next("d1", 2).tolist() == [16069766155662595073, 11570459112539803661]


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_axis_survives_a_round_trip_through_its_description(axis):
    assert Axis.from_dict(axis.to_dict()) == axis


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: log_uniform(8, 4), "low <= high"),
        (lambda: log_uniform(1, 16, 4), "a whole number of steps apart, not 1 to 16 by 4"),
        (lambda: log_uniform(0, 16), "low > step / 2"),
        (lambda: log_uniform(0, 16, law="pycls"), "needs low > 0, not low=0"),
        (
            lambda: log_uniform(1, 16, law="pycsl"),
            "the law of a log_uniform axis must be pycls, or null for rounding, not 'pycsl'",
        ),
        (lambda: uniform(1, 16).with_law("pycls"), "the law of a uniform axis must be null, not 'pycls'"),
        (
            lambda: Axis.from_dict({"kind": "uniform", "low": 1, "high": 2, "law": "pycls"}),
            "uniform axis: unknown key 'law'",
        ),
        (lambda: choice([]), "at least one value"),
        (lambda: Axis.from_dict({"kind": "normal"}), "unknown kind of axis 'normal'; choose from: log_uniform"),
        (lambda: Axis.from_dict({"kind": "uniform", "lo": 3}), "uniform axis: unknown key 'lo'; did you mean 'low'"),
        (lambda: Streams(-1), "seed must be a whole number >= 0, not -1"),
    ],
)
def test_invalid_axes_are_rejected(make, message):
    with pytest.raises(InputError, match=message):
        make()
