"""Ranking of networks that are trained with several seeds, and the choice of networks to train again."""

import dataclasses

import pytest

from designspace.support.errors import InputError
from designspace.trials.metric import Metric
from designspace.trials.plan import Plan, Repeats
from designspace.trials.ranking import best_first, order_of_choice, ranking
from designspace.trials.recipe import Recipe
from designspace.trials.retraining import with_fresh_seeds
from designspace.trials.state import TrialState
from designspace.trials.trial import TrialFailure, TrialResult

A, B, C, D = (f"{letter}00000000000" for letter in "abcd")


def states(**errors):
    """Return states of trials: letter of the network, and seed if it is not the first -> error or status."""
    trials = []
    for name, error in errors.items():
        key = f"{name[0]}00000000000" + (f"-s{name[1:]}" if name[1:] else "")
        if error == "out of memory":
            trials.append(TrialState(key, "failed", failure=TrialFailure("out of memory", "")))
        elif error == "failed":
            trials.append(TrialState(key, "failed", failure=TrialFailure("diverged", "")))
        elif error == "waiting":
            trials.append(TrialState(key, "waiting"))
        else:
            trials.append(TrialState(key, "done", result=TrialResult(error, error, 1, 1.0, "cpu")))
    return trials


def test_a_run_with_one_seed_is_ranked_by_its_errors():
    run = states(a=30.0, b=20.0, c="failed", d=30.0)
    networks = ranking(run, Plan(Recipe(), 0), 10)
    assert [network.state for network in networks] == best_first(run)
    assert [network.errors for network in networks] == [(20.0,), (30.0,), (30.0,)]
    assert ranking(run, None, 10) == networks


def test_networks_are_ranked_by_their_means_over_seeds():
    plan = Plan(Recipe(), 0, Repeats((1, 2)))
    run = states(a=10.0, b=20.0, c="failed", d="failed", a1=40.0, b1=21.0, c1=24.0, d1="failed", a2="waiting", b2=22.0)
    networks = ranking(run, plan, 10)
    # A diverged trial counts as one that guesses.
    assert [(network.id, network.mean) for network in networks] == [(B, 21.0), (A, 25.0), (C, 57.0)]
    assert [network.state.key for network in networks] == [B, A, f"{C}-s1"]
    assert networks[0].kind() == "mean over 3 seeds"
    assert networks[0].deviation == 1.0


def test_a_metric_of_which_higher_values_are_better_reverses_the_order():
    recall = Metric("recall", "", "higher", 5.0)
    run = states(a=10.0, b=20.0, c="failed", a1=40.0, b1=22.0, c1=30.0)
    assert [state.key for state in best_first(run, recall)] == [f"{A}-s1", f"{C}-s1", f"{B}-s1", B, A]
    once = Plan(Recipe(metric="a.b:recall"), 0, metric=recall)
    assert [network.id for network in ranking(run[:3], once, 10)] == [B, A]
    twice = dataclasses.replace(once, repeats=Repeats((1,)))
    networks = ranking(run, twice, 10)
    assert [(network.id, network.mean) for network in networks] == [(A, 25.0), (B, 21.0), (C, 17.5)]  # 5 for a guess
    assert [network.id for network in order_of_choice(run, twice, 10)] == [A, B, C]
    assert with_fresh_seeds(twice, run, 1, 1, 10).metric == recall


def test_networks_with_fresh_seeds_come_first_and_only_these_seeds_count():
    plan = Plan(Recipe(), 0, Repeats((1,), {A: (5, 6), B: (5, 6), C: (5,)}))
    run = states(a=10.0, b=11.0, c=12.0, d=13.0, a1=10.0, b1=11.0, c1=12.0, d1=13.0, a5=19.0, b5=16.0, a6=17.0, b6=18.0)
    networks = ranking(run + states(c5="waiting"), plan, 10)
    assert [(network.id, network.mean, network.is_fresh) for network in networks] == [
        (B, 17.0, True),
        (A, 18.0, True),
        (C, 12.0, False),  # its fresh seed has no result yet
        (D, 13.0, False),
    ]
    assert networks[0].state.key == f"{B}-s5"  # the first one, not the best
    assert [network.id for network in order_of_choice(run, plan, 10)] == [A, B, C, D]


def test_the_best_networks_are_trained_again_with_unused_seeds():
    run = states(a=10.0, b=11.0, c=12.0, d="failed")
    plan = with_fresh_seeds(Plan(Recipe(), 3), run, 2, 3, 10)
    assert plan.repeats == Repeats(fresh={A: (4, 5, 6), B: (4, 5, 6)})
    assert with_fresh_seeds(plan, run, 2, 3, 10) == plan  # it resumes
    assert with_fresh_seeds(plan, run, 1, 2, 10) == plan
    more = with_fresh_seeds(plan, run, 2, 4, 10)
    assert more.repeats == Repeats(fresh={A: (4, 5, 6, 7), B: (4, 5, 6, 7)})
    larger = with_fresh_seeds(plan, run, 9, 3, 10)
    assert larger.repeats.fresh == {A: (4, 5, 6), B: (4, 5, 6), C: (4, 5, 6)}  # a failed one is not the best
    with pytest.raises(InputError, match="top must be a whole number from 1"):
        with_fresh_seeds(plan, run, 0, 3, 10)
    with pytest.raises(InputError, match="seeds must be a whole number from 1"):
        with_fresh_seeds(plan, run, 1, 0, 10)
    with pytest.raises(InputError, match="no trial of the run is done"):
        with_fresh_seeds(Plan(Recipe(), 0), states(a="failed"), 1, 1, 10)


def test_chosen_networks_stay_chosen_when_better_ones_are_found():
    plan = Plan(Recipe(), 0, Repeats(fresh={B: (1, 2)}))
    run = states(a=10.0, b=11.0, b1=12.0, b2="waiting")
    assert with_fresh_seeds(plan, run, 1, 2, 10) == plan
    assert with_fresh_seeds(plan, run, 2, 2, 10).repeats.fresh == {B: (1, 2), A: (1, 2)}


def test_a_seed_that_chose_a_network_is_not_fresh_for_it():
    """A fresh seed that is later used for all networks stays fresh for the networks that were chosen before."""
    plan = Plan(Recipe(), 0, Repeats((1,), {A: (1, 2)}))
    run = states(a=10.0, b=11.0, a1=12.0, b1=9.0, a2=12.0)
    assert [(network.id, network.mean) for network in order_of_choice(run, plan, 10)] == [(A, 10.0), (B, 10.0)]
    assert with_fresh_seeds(plan, run, 2, 2, 10).repeats.fresh == {A: (1, 2), B: (2, 3)}


def test_trials_that_ran_out_of_memory_do_not_count_for_means():
    plan = Plan(Recipe(), 0, Repeats((1,)))
    run = states(a=10.0, b=11.0, a1="out of memory", b1=12.0)
    assert [(network.id, network.mean) for network in ranking(run, plan, 10)] == [(A, 10.0), (B, 11.5)]
