"""Intervals of the noise of training, and the best network without the luck of its seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_sampling import repeated

from designspace.analysis import analyze
from designspace.analysis.preconditions import by_network
from designspace.analysis.reruns import reruns
from designspace.analysis.results import Results
from designspace.analysis.shrunken import noise_sentences, shrunken_best
from designspace.analysis.tables import best_table
from designspace.support.errors import InputError

SHROUT_AND_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Table 2 of "Intraclass Correlations" (1979): six targets and four judges."""
DRAWS = 150


def populations(reliability, networks=24, trainings=3):
    """Yield true errors and reruns of many populations with noise 1; ids are in the order of the errors."""
    between = math.sqrt(reliability / (1 - reliability))
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        true = rng.normal(30, between, networks)
        yield true, reruns(repeated(true[:, None] + rng.normal(0, 1, (networks, trainings))))


def test_the_intraclass_correlation_equals_that_of_shrout_and_fleiss():
    estimate = reruns(repeated(SHROUT_AND_FLEISS))
    assert estimate.reliability == pytest.approx(0.17, abs=0.005)
    interval = estimate.intervals().reliability
    assert interval.low == 0  # -0.13 in the R package psych, which allows negative values
    assert interval.high == pytest.approx(0.72, abs=0.005)


@pytest.mark.parametrize("reliability", [0.2, 0.8])
def test_intervals_and_the_shrunken_best_have_the_nominal_coverage(reliability):
    between = math.sqrt(reliability / (1 - reliability))
    covered, biases = [], []
    for true, estimate in populations(reliability):
        intervals, best = estimate.intervals(0.1), shrunken_best(estimate, 0.1)
        error = true[int(best.id[1:], 16)]  # a00...05 is the fifth
        pairs = [(intervals.noise, 1.0), (intervals.between, between), (intervals.reliability, reliability)]
        covered.append([interval.low <= value <= interval.high for interval, value in [*pairs, (best, error)]])
        biases.append([best.value - error, best.mean - error])
    # Three standard errors of 150 draws are 7.3%; the coverage of the shrunken best is 1 to 4% too low.
    assert (np.abs(np.mean(covered, axis=0) - 0.9) < 0.08).all()
    shrunken, reported = np.mean(biases, axis=0)
    assert abs(shrunken) < 0.2
    assert reported < -0.2  # the winner's curse


def test_a_network_that_was_trained_more_often_is_shrunk_less():
    errors = 30 + np.arange(6.0)[:, None] + np.random.default_rng(1).normal(0, 2, (6, 4))
    errors[0] = [25.0, 27.0, 25.0, 27.0]
    results = repeated(errors)
    four_times, twice = (
        shrunken_best(reruns(subset)) for subset in (results, results.where("id != 'a00000000000' or seed < 2"))
    )
    assert (four_times.id, four_times.trainings, four_times.mean) == ("a00000000000", 4, 26)
    assert (twice.id, twice.trainings, twice.mean) == ("a00000000000", 2, 26)
    assert 26 < four_times.value < twice.value
    assert four_times.high - four_times.low < twice.high - twice.low
    assert four_times.sentence().endswith("its 4 trainings have a mean of 26.00%.")


def test_intervals_widen_with_confidence_and_stay_above_0():
    estimate = reruns(repeated(np.random.default_rng(0).normal(30, 1, (10, 2))))
    wide, narrow = estimate.intervals(0.01), estimate.intervals(0.2)
    for name in ("noise", "between", "reliability"):
        first, second = getattr(wide, name), getattr(narrow, name)
        assert 0 <= first.low <= second.low <= second.high <= first.high
    assert wide.between.low == 0


def test_identical_trainings_have_no_noise():
    same = reruns(repeated([[30.0, 30.0], [40.0, 40.0], [50.0, 50.0], [60.0, 60.0]]))
    intervals = same.intervals()
    assert (intervals.noise.high, intervals.reliability.low, intervals.reliability.high) == (0, 1, 1)
    assert intervals.between.low < same.between < intervals.between.high
    best = shrunken_best(same)
    assert (best.value, best.low, best.high) == (30, 30, 30)
    equal = shrunken_best(reruns(repeated(np.full((4, 2), 30.0))))
    assert (equal.value, equal.low, equal.high) == (30, 30, 30)


def test_equal_means_leave_nothing_to_the_networks():
    equal = reruns(repeated([[30.0, 32.0], [29.0, 33.0], [31.0, 31.0]]))
    intervals = equal.intervals()
    assert (equal.between, equal.reliability) == (0, 0)
    assert (intervals.between.low, intervals.between.high, intervals.reliability.high) == (0, 0, 0)
    assert "0% (0% to 0%) of the variance" in equal.sentence()


def test_too_few_networks_are_rejected():
    with pytest.raises(InputError, match="need at least 2 networks that were trained more than once, not 1"):
        reruns(repeated([[30.0, 31.0]])).intervals()
    with pytest.raises(InputError, match="at least 4 networks that were trained more than once, not 3"):
        shrunken_best(reruns(repeated([[30.0, 31.0]] * 3)))
    with pytest.raises(InputError, match="level must be between 0 and 1"):
        reruns(repeated([[30.0, 31.0]] * 3)).intervals(5)


def test_the_report_includes_the_noise_of_training_if_networks_were_repeated(tmp_path):
    rng = np.random.default_rng(3)
    results = repeated(rng.normal(40, 1, (20, 1)) + rng.normal(0, 0.5, (20, 3)))
    noise, best = noise_sentences(results)
    assert noise.startswith("R: errors vary by 0.56 points (0.46 to 0.72) between seeds and by ")
    assert noise.endswith("of the variance of single trainings is due to the networks (20 networks in 60 trainings).")
    assert best.startswith("R: the best network is a0000000000")
    assert {noise, best} <= set(analyze([results], tmp_path, {}).sentences)
    assert len(noise_sentences(repeated(rng.normal(40, 1, (3, 2))))) == 1
    assert noise_sentences(repeated(rng.normal(40, 1, (3, 1)))) == ()


def test_fresh_trainings_of_chosen_networks_do_not_count_in_comparisons():
    rng = np.random.default_rng(4)
    errors = rng.normal(40, 1, (20, 3))
    all_seeds = repeated(errors)
    chosen = all_seeds.table["id"].isin(all_seeds.table["id"][:4])
    fresh = np.where(chosen & (all_seeds.table["seed"] > 0), "yes", "")
    table = all_seeds.table.assign(fresh=fresh)[chosen | (all_seeds.table["seed"] == 0)]
    retrained = Results.from_table("A", table, 10)
    assert by_network(retrained).errors().tolist() == errors[:, 0].tolist()
    assert by_network(retrained).notes == ()
    assert noise_sentences(retrained) == ()
    later = Results.from_table("A", all_seeds.table.assign(fresh=fresh), 10)  # all networks have these seeds
    assert by_network(later).errors() == pytest.approx(errors.mean(axis=1))


def test_the_table_of_the_best_networks_has_means_and_numbers_of_trainings():
    results = repeated([[30.0, 36.0], [32.0, 33.0]])
    once = best_table(repeated([[30.0], [32.0]]))
    assert once.header[:2] == ("id", "error, %")
    table = best_table(Results.from_table("A", results.table.assign(fresh="no", run="A"), 10))
    assert table.header[:4] == ("id", "mean error, %", "trainings", "error, %")
    assert [row[1:4] for row in table.rows] == [("32.50", "2", "32.00"), ("33.00", "2", "30.00")]
