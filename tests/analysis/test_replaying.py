"""Replays of finished sweeps under a stopping rule."""

import dataclasses

import numpy as np
import pytest

from designspace.analysis.comparison import compare_all
from designspace.analysis.replaying import replay, run_course
from designspace.analysis.results import Results
from designspace.analysis.stopping import StoppingRule
from designspace.support.errors import InputError

RULE = StoppingRule()


def spaces(means, n=100, seed=0):
    return [
        Results.from_errors(f"S{k}", np.random.default_rng([seed, k]).normal(mean, 2, n), 10)
        for k, mean in enumerate(means)
    ]


def test_clear_differences_save_most_trainings_with_the_same_conclusions():
    replayed = replay(spaces([40, 37, 34]), RULE, orders=3)
    assert [pair.better for pair in replayed.full] == ["S1", "S2", "S2"]
    assert all(replayed.same(each) for each in replayed.verdicts)
    assert replayed.saved_in_order > 0.5
    assert min(replayed.saved) > 0.5
    assert replayed.agreement == (1, 1, 1)
    assert replayed.contradictions == 0
    first, second = replayed.sentences()
    assert "same conclusion for 3 of 3 pairs" in first
    assert "In 3 random orders" in second
    assert replayed.table()["verdict"].tolist() == ["better"] * 3


def test_equal_spaces_are_given_up():
    replayed = replay(spaces([40, 40]), RULE, orders=0)
    assert replayed.verdicts[0].verdict == "hopeless"
    assert replayed.saved_in_order > 0.2
    assert len(replayed.sentences()) == 1


def test_a_space_goes_on_while_any_of_its_pairs_is_open():
    course = run_course(spaces([40, 34, 39.9], n=60), StoppingRule(hopeless=0))
    assert course.trained["S0"] == course.trained["S2"] == 60
    assert course.trained["S1"] < 60


def test_one_look_is_the_whole_sweep():
    results = spaces([40, 39])
    replayed = replay(results, StoppingRule(looks=1), orders=2)
    assert replayed.saved_in_order == 0
    assert replayed.saved == (0, 0)
    assert [each.comparison.better for each in replayed.verdicts] == [pair.better for pair in compare_all(results)]


def test_a_budget_limits_the_networks():
    replayed = replay(spaces([40, 39]), RULE, orders=0, n=20)
    assert replayed.total == 40


def test_what_cannot_be_replayed_is_refused():
    first, second = spaces([40, 38])
    with pytest.raises(InputError, match="needs the runs of at least two spaces"):
        replay([first], RULE)
    with pytest.raises(InputError, match="S1 is a given list"):
        replay([first, dataclasses.replace(second, is_drawn=False)], RULE)
    table = second.table.assign(status="waiting", final_error=np.nan, best_error=np.nan)
    with pytest.raises(InputError, match="S1 is not finished"):
        replay([first, dataclasses.replace(second, table=table)], RULE)
