from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table
from test_metrics import quickstart

from designspace.analysis.importance import importance
from designspace.analysis.results import Results
from designspace.support.errors import InputError


def population(error, n=120, seed=0, **others):
    """Networks whose depths and widths are random, and whose error is a function of the table."""
    rng = np.random.default_rng(seed)
    columns = {f"d{stage}": rng.integers(1, 17, n) for stage in range(1, 5)}
    columns |= {f"w{stage}": 8 * rng.integers(1, 65, n) for stage in range(1, 5)}
    errors = np.asarray(error(pd.DataFrame(columns), rng), float)
    table = make_table(errors, **others)
    for name, column in columns.items():
        table[name] = np.resize(column, len(table))
    return Results.from_table("A", table, num_classes=10)


def names(found):
    return [one.metric.name for one in found.parameters]


def led_by_w4(n=120, **others):
    return population(lambda table, rng: 30 + table["w4"] / 50 + 0.1 * rng.random(n), n=n, **others)


@pytest.fixture(scope="module")
def decided_by_w4():
    return importance(led_by_w4(), repeats=2)


def test_a_parameter_that_alone_decides_comes_first_and_alone(decided_by_w4):
    first, *others = decided_by_w4.parameters
    assert first.metric.name == "w4"
    assert first.importance > 1  # shuffled, it misleads
    assert first.share > 0.9
    assert max(abs(one.importance) for one in others) < 0.05
    assert max(one.share for one in others) < 0.05
    assert decided_by_w4.r_squared > 0.9
    assert decided_by_w4.explains
    assert decided_by_w4.sentence().startswith("A: for the ranks of the errors w4 matters most (R^2 falls by")


def test_where_nothing_decides_it_says_so():
    found = importance(population(lambda _, rng: 30 + 10 * rng.random(120)))
    assert found.r_squared < 0.1
    assert not found.explains
    assert "tells next to nothing of the ranks of the errors" in found.sentence()
    assert found.sentence().endswith("n = 120). It may miss what two parameters do only together.")
    assert max(one.importance for one in found.parameters) < 0.2


def test_a_sweet_spot_is_seen_although_it_has_no_correlation():
    found = importance(population(lambda table, rng: 30 + abs(table["d3"] - 8.5) + 0.1 * rng.random(120)), repeats=2)
    assert names(found)[0] == "d3"
    assert found.r_squared > 0.8


def test_what_two_decide_together_is_a_share_of_the_pair():
    # Good where both are small or both are large: neither alone says anything.
    together = importance(
        population(lambda table, _: 30 + 5 * ((table["d1"] > 8) ^ (table["w2"] > 256)), n=300), repeats=2
    )
    assert set(names(together)[:2]) == {"d1", "w2"}
    pair = together.pairs[0]
    assert {pair.first.name, pair.second.name} == {"d1", "w2"}
    assert pair.share > 0.3
    assert max(one.share for one in together.parameters) < 0.2


def test_failed_trials_count_as_the_worst():
    # Every network with a failed trial has a second stage of one block.
    results = population(lambda table, rng: 30 + rng.random(60), n=60, failed=[("diverged", "")] * 20)
    table = results.table.copy()
    table["d2"] = np.where(table["status"] == "failed", 1, np.maximum(table["d2"], 2))
    results = Results.from_table("A", table, num_classes=10)
    found = importance(results, repeats=2)
    assert (names(found)[0], found.n, found.failed) == ("d2", 80, 20)
    left_out = importance(results.with_failures("exclude"), repeats=2)
    assert (left_out.n, left_out.failed) == (60, 0)
    assert not left_out.explains


def test_ranks_are_not_led_by_a_single_failure():
    results = led_by_w4(99, failed=[("diverged", "")])
    assert importance(results, repeats=2).r_squared > 0.8
    assert importance(results, repeats=2, ranks=False).r_squared < 0.5


def test_the_same_seed_gives_the_same_numbers_and_another_similar_ones(decided_by_w4):
    pd.testing.assert_frame_equal(importance(led_by_w4(), repeats=2).table(), decided_by_w4.table())
    other = importance(led_by_w4(), repeats=2, seed=1)
    assert other.r_squared != decided_by_w4.r_squared
    assert other.r_squared == pytest.approx(decided_by_w4.r_squared, abs=0.05)


def test_the_parameters_are_those_that_networks_are_drawn_by():
    found = importance(quickstart("RegNetX"), repeats=2)
    assert sorted(names(found)) == ["b", "d", "g", "w_0", "w_a", "w_m"]
    assert len(found.pairs) == 6
    table = importance(quickstart("RegNetX"), ["d", "flops"], repeats=2).table()
    assert set(table["parameter"][:2]) == {"d", "flops"}
    assert table["importance"].isna().tolist() == [False, False, True]


def test_a_stage_that_networks_lack_is_a_value_too():
    table = make_table(np.where(np.arange(40) % 2, 30.0, 40.0) + np.arange(40) / 100)
    for letter in "dwbg":
        table[f"{letter}4"] = table[f"{letter}4"].astype(float).mask(np.arange(40) % 2 == 0)
    table["d3"] = np.arange(40) % 7
    results = Results.from_table("A", table, num_classes=10)
    found = importance(results, ["d3", "w4"], repeats=2)
    assert names(found)[0] == "w4"
    assert found.r_squared > 0.5


def test_five_hundred_networks_are_ranked():
    assert names(importance(led_by_w4(500)))[0] == "w4"


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(InputError, match="needs 10 finished trials .9 of 9 trials finished"):
        importance(make_results("A", np.arange(30, 39)))
    with pytest.raises(InputError, match="all networks have the same parameters"):
        importance(make_results("A", np.arange(30, 50)))
    with pytest.raises(InputError, match="all 20 errors are the same"):
        importance(make_results("A", [30.0] * 20), ["flops"])
    with pytest.raises(InputError, match="repeats must be at least 2"):
        importance(make_results("A", np.arange(30, 50)), repeats=1)
