from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table
from test_quantities import quickstart

from designspace.analysis.importance import importance
from designspace.analysis.results import Results
from designspace.support.errors import InputError


def population(error, n=120, seed=0, **others):
    """Return networks with random depths and widths, whose error is a function of the table."""
    rng = np.random.default_rng(seed)
    columns = {f"d{stage}": rng.integers(1, 17, n) for stage in range(1, 5)}
    columns |= {f"w{stage}": 8 * rng.integers(1, 65, n) for stage in range(1, 5)}
    errors = np.asarray(error(pd.DataFrame(columns), rng), float)
    table = make_table(errors, **others)
    for name, column in columns.items():
        table[name] = np.resize(column, len(table))
    return Results.from_table("A", table, num_classes=10)


def names(result):
    return [parameter.quantity.name for parameter in result.parameters]


def led_by_w4(n=120, **others):
    return population(lambda table, rng: 30 + table["w4"] / 50 + 0.1 * rng.random(n), n=n, **others)


@pytest.fixture(scope="module")
def decided_by_w4():
    return importance(led_by_w4(), repeats=2)


def test_a_single_decisive_parameter_has_all_the_importance(decided_by_w4):
    first, *others = decided_by_w4.parameters
    assert first.quantity.name == "w4"
    assert first.importance > 1  # a shuffled w4 makes predictions worse than the mean
    assert first.share > 0.9
    assert max(abs(parameter.importance) for parameter in others) < 0.05
    assert max(parameter.share for parameter in others) < 0.05
    assert decided_by_w4.r_squared > 0.9
    assert decided_by_w4.explains
    assert decided_by_w4.sentence().startswith("A: for the ranks of the errors w4 matters most (R^2 falls by")


def test_the_sentence_says_when_no_parameter_is_important():
    result = importance(population(lambda _, rng: 30 + 10 * rng.random(120)))
    assert result.r_squared < 0.1
    assert not result.explains
    assert "predicts almost nothing of the ranks of the errors" in result.sentence()
    assert result.sentence().endswith("n = 120). It may miss effects that two parameters have only together.")
    assert max(parameter.importance for parameter in result.parameters) < 0.2


def test_a_sweet_spot_without_correlation_is_important():
    result = importance(population(lambda table, rng: 30 + abs(table["d3"] - 8.5) + 0.1 * rng.random(120)), repeats=2)
    assert names(result)[0] == "d3"
    assert result.r_squared > 0.8


def test_an_interaction_is_the_share_of_a_pair():
    # Networks are good if both are small or both are large, so neither parameter alone is informative.
    together = importance(
        population(lambda table, _: 30 + 5 * ((table["d1"] > 8) ^ (table["w2"] > 256)), n=300), repeats=2
    )
    assert set(names(together)[:2]) == {"d1", "w2"}
    pair = together.pairs[0]
    assert {pair.first.name, pair.second.name} == {"d1", "w2"}
    assert pair.share > 0.3
    assert max(parameter.share for parameter in together.parameters) < 0.2


def test_failed_trials_count_as_the_worst_networks():
    # Every network with a failed trial has a second stage of one block.
    results = population(lambda table, rng: 30 + rng.random(60), n=60, failed=[("diverged", "")] * 20)
    table = results.table.copy()
    table["d2"] = np.where(table["status"] == "failed", 1, np.maximum(table["d2"], 2))
    results = Results.from_table("A", table, num_classes=10)
    result = importance(results, repeats=2)
    assert (names(result)[0], result.n, result.failed) == ("d2", 80, 20)
    left_out = importance(results.with_failures("exclude"), repeats=2)
    assert (left_out.n, left_out.failed) == (60, 0)
    assert not left_out.explains


def test_ranks_are_not_dominated_by_a_single_failure():
    results = led_by_w4(99, failed=[("diverged", "")])
    assert importance(results, repeats=2).r_squared > 0.8
    assert importance(results, repeats=2, ranks=False).r_squared < 0.5


def test_the_same_seed_gives_the_same_numbers_and_another_seed_similar_ones(decided_by_w4):
    pd.testing.assert_frame_equal(importance(led_by_w4(), repeats=2).table(), decided_by_w4.table())
    other = importance(led_by_w4(), repeats=2, seed=1)
    assert other.r_squared != decided_by_w4.r_squared
    assert other.r_squared == pytest.approx(decided_by_w4.r_squared, abs=0.05)


def test_the_default_parameters_are_the_sampled_ones():
    result = importance(quickstart("RegNetX"), repeats=2)
    assert sorted(names(result)) == ["b", "d", "g", "w_0", "w_a", "w_m"]
    assert len(result.pairs) == 6
    table = importance(quickstart("RegNetX"), ["d", "flops"], repeats=2).table()
    assert set(table["parameter"][:2]) == {"d", "flops"}
    assert table["importance"].isna().tolist() == [False, False, True]


def test_a_missing_stage_counts_as_a_value():
    table = make_table(np.where(np.arange(40) % 2, 30.0, 40.0) + np.arange(40) / 100)
    for letter in "dwbg":
        table[f"{letter}4"] = table[f"{letter}4"].astype(float).mask(np.arange(40) % 2 == 0)
    table["d3"] = np.arange(40) % 7
    results = Results.from_table("A", table, num_classes=10)
    result = importance(results, ["d3", "w4"], repeats=2)
    assert names(result)[0] == "w4"
    assert result.r_squared > 0.5


def test_five_hundred_networks_are_ranked():
    assert names(importance(led_by_w4(500)))[0] == "w4"


def test_populations_that_cannot_be_explained_are_rejected():
    with pytest.raises(InputError, match="needs 10 finished trials .9 of 9 trials finished"):
        importance(make_results("A", np.arange(30, 39)))
    with pytest.raises(InputError, match="all networks have the same parameters"):
        importance(make_results("A", np.arange(30, 50)))
    with pytest.raises(InputError, match="all 20 errors are the same"):
        importance(make_results("A", [30.0] * 20), ["flops"])
    with pytest.raises(InputError, match="repeats must be at least 2"):
        importance(make_results("A", np.arange(30, 50)), repeats=1)
