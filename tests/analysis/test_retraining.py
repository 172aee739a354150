"""Tests of the ranking of retrained networks and of the intervals of their means."""

import numpy as np
import pytest
from scipy import stats

from designspace.analysis.retraining import retraining
from designspace.support.errors import InputError
from designspace.trials.plan import Plan, Repeats
from designspace.trials.recipe import Recipe
from designspace.trials.state import TrialState
from designspace.trials.trial import TrialFailure, TrialResult

A, B, C = "a00000000000", "b00000000000", "c00000000000"


def done(key, error, heldout=None):
    return TrialState(key, "done", result=TrialResult(error, error, 1, 1.0, "cpu", heldout_error=heldout))


def run_of(errors, heldout=False):
    """Return the states of a run from the error that chose each network and the errors with seeds 1, 2, ..."""
    first = [
        done(id_, 50.0 if heldout else network_errors[0], network_errors[0] if heldout else None)
        for id_, network_errors in errors.items()
    ]
    return first + [
        done(f"{id_}-s{seed}", error + 30 if heldout else error, error if heldout else None)
        for id_, network_errors in errors.items()
        for seed, error in enumerate(network_errors[1:], 1)
    ]


def test_networks_are_ranked_by_fresh_seeds_alone_with_pooled_intervals():
    errors = {A: [10.0, 14.0, 15.0, 16.0], B: [11.0, 12.0, 12.5, 13.0], C: [12.0]}
    plan = Plan(Recipe(), 0, Repeats(fresh={A: (1, 2, 3), B: (1, 2, 3)}))
    retrained = retraining(plan, run_of(errors), 10)
    assert [
        (network.id, network.chosen_rank, network.chosen_error, network.mean) for network in retrained.networks
    ] == [
        (B, 2, 11.0, 12.5),
        (A, 1, 10.0, 15.0),
    ]
    pooled = np.sqrt((np.var(errors[A][1:], ddof=1) + np.var(errors[B][1:], ddof=1)) / 2)
    assert retrained.noise == pytest.approx(pooled)
    assert retrained.freedom == 4
    half = stats.t.ppf(0.975, 4) * pooled / np.sqrt(3)
    assert [network.half_width for network in retrained.networks] == pytest.approx([half, half])
    table = retrained.table()
    assert table.title == "Networks trained again with fresh seeds; error, top-1, %"
    assert table.rows[0][:6] == ("1", B, "2", "11.00", "3", "12.50")
    assert table.rows[0][6] == f"{12.5 - half:.2f} to {12.5 + half:.2f}"
    text = " ".join(retrained.sentences())
    assert "flattered by the luck of its seed; it is 3.25 points below the fresh mean" in text
    assert "t with 4 degrees of freedom and the standard deviation over seeds, 0.79 points" in text


def test_a_single_fresh_seed_has_no_interval():
    plan = Plan(Recipe(), 0, Repeats(fresh={A: (1,)}))
    retrained = retraining(plan, run_of({A: [10.0, 14.0], B: [11.0]}), 10)
    assert (retrained.noise, retrained.networks[0].half_width, retrained.networks[0].interval) == (None, None, "")
    assert not any("degrees" in sentence or "second choice" in sentence for sentence in retrained.sentences())


def test_a_failed_training_counts_as_chance_and_has_no_interval():
    plan = Plan(Recipe(), 0, Repeats(fresh={A: (1, 2), B: (1, 2)}))
    run = run_of({A: [10.0, 14.0], B: [11.0, 12.0, 13.0]})
    run.append(TrialState(f"{A}-s2", "failed", failure=TrialFailure("diverged", "")))
    retrained = retraining(plan, run, 10)
    assert [(network.id, network.mean, network.failed) for network in retrained.networks] == [
        (B, 12.5, 0),
        (A, 52.0, 1),
    ]
    assert retrained.networks[1].half_width is None
    assert retrained.noise == pytest.approx(0.5**0.5)
    assert (retrained.table().header[-1], retrained.table().rows[1][-1]) == ("diverged", "1")


def test_unfinished_trainings_are_reported():
    plan = Plan(Recipe(), 0, Repeats(fresh={A: (1, 2), B: (1, 2)}))
    run = [*run_of({A: [10.0, 14.0], B: [11.0]}), TrialState(f"{A}-s2", "running")]
    run += [TrialState(f"{B}-s{seed}", "waiting") for seed in (1, 2)]
    retrained = retraining(plan, run, 10)
    assert [network.id for network in retrained.networks] == [A]
    assert retrained.table().title.endswith("; so far: 3 trainings unfinished")
    with pytest.raises(InputError, match="no training with a fresh seed is done yet"):
        retraining(plan, run_of({A: [10.0], B: [11.0]}), 10)


def test_held_out_errors_rank_and_test_errors_are_shown():
    plan = Plan(Recipe(), 0, Repeats(fresh={A: (1, 2)}))
    retrained = retraining(plan, run_of({A: [10.0, 14.0, 15.0]}, heldout=True), 10)
    assert (retrained.networks[0].mean, retrained.networks[0].final_mean) == (14.5, 44.5)
    header = retrained.table().header
    assert "error on held-out images" in retrained.table().title
    assert retrained.table().rows[0][header.index("test mean")] == "44.50"


def test_networks_may_be_chosen_by_several_seeds():
    plan = Plan(Recipe(), 0, Repeats((1,), {A: (2, 3)}))
    run = [done(A, 10.0), done(f"{A}-s1", 12.0), done(f"{A}-s2", 13.0), done(f"{A}-s3", 14.0)]
    retrained = retraining(plan, run, 10)
    assert (retrained.networks[0].chosen_error, retrained.networks[0].mean) == (11.0, 13.5)
    assert "the luck of its 2 seeds" in retrained.sentences()[0]
