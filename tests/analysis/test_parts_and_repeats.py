"""Tests of the parts of results (`where`, `split`), and of means over repeats."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table

from designspace.analysis.results import Counts, Results
from designspace.support.errors import InputError
from designspace.trials.trial import EpochRecord

FAILED = [("diverged", "loss is nan in epoch 2"), ("out of memory", "")]


# Parts


def test_conditions_select_trials():
    results = make_results("A", [30, 20, 10, 5], failed=FAILED, running=1, vary=3)
    table = results.table
    for condition, expected in {
        "d4 >= 3 and flops < 4000003": (table["d4"] >= 3) & (table["flops"] < 4_000_003),
        "not (d1 > 8) or status == 'failed'": ~(table["d1"] > 8) | (table["status"] == "failed"),
        "d1 + d2 > 2 * d3": table["d1"] + table["d2"] > 2 * table["d3"],
        "2 < d1 <= 14": (table["d1"] > 2) & (table["d1"] <= 14),
        "status in ['done', 'running'] & final_error != 10": table["status"].isin(["done", "running"])
        & (table["final_error"] != 10),
        "reason not in ('diverged', '')": table["reason"] == "out of memory",
        " final_error\n< 15": table["final_error"] < 15,
        "~(w1 > 64)": ~(table["w1"] > 64),
    }.items():
        chosen = results.where(condition)
        assert chosen.table["id"].tolist() == table["id"][expected].tolist(), condition
        assert 0 < len(chosen.table) < len(table), condition
        assert chosen.chance_error == results.chance_error
    assert results.where("d1 > 0", name="deep").name == "deep"
    assert results.where(" d1\n> 0").name == "A (d1 > 0)"


def test_masks_and_functions_select_trials():
    results = make_results("A", [30, 20, 10, 5], running=1)
    low = results.table["final_error"] < 15
    for condition in (low, low.to_numpy(), low.tolist(), lambda table: table["final_error"] < 15):
        assert results.where(condition).table["final_error"].tolist() == [10, 5]
        assert results.where(condition).name == "A (2 of 5 trials)"
        assert results.where(condition, name="low").name == "low"
    highest = 15  # noqa: F841
    assert results.where("final_error < @highest").table["final_error"].tolist() == [10, 5]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            [True],
            r"A: the condition gives bool of shape \(1,\), not a truth value \(True or False\) for each of 2 trials",
        ),
        ([1, 0], "the condition gives int64 of shape"),
        ([False, False], "A: no trial meets the condition"),
        (lambda table: table["d1"], "the condition gives int64 of shape"),
        (pd.Series([True, False], index=[1, 0]), "the rows of the mask are not those of the table"),
    ],
)
def test_masks_that_do_not_fit_are_refused(condition, message):
    with pytest.raises(InputError, match=message):
        make_results("A", [30, 20]).where(condition)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("d9 > 3", "unknown column 'd9' in 'd9 > 3'; choose from: id, d1"),
        ("d1 >", "A: 'd1 >' cannot be evaluated"),
        ("", "cannot be evaluated"),
        ("(" * 5000 + "d1" + ")" * 5000, "cannot be evaluated"),
        ("d1 = 3", "'d1 = 3' gives object of shape"),
        ("d1 > 3; d2 > 3", "cannot be evaluated"),
        ("@d1 > 3", "A: no variable d1 for '@d1 > 3' in the calling code"),
        ("d1 @ d2 > 3", "cannot be evaluated"),
        ("__import__('os').system('true')", "cannot be evaluated"),
        ("[d1 for d1 in (1,)] == 1", "cannot be evaluated"),
        ("(lambda: d1)() == 1", "cannot be evaluated"),
        ("d1[0] == 1", "not a truth value"),
        ("(d1 := 3) > 1", "cannot be evaluated"),
        ("d1 > 1 if d2 else d3", "cannot be evaluated"),
        ("d1 + 1", "'d1 \\+ 1' gives int64 of shape .* for each of 2 trials; write it as d4 >= 3 and flops < 1e6"),
        ("d1", "not a truth value"),
        ("3 > 2", "not a truth value"),
        ("status > 3", "cannot be evaluated"),
        ("d1 and d2", "not a truth value|cannot be evaluated"),
        ("__builtins__ == 1", "unknown column '__builtins__'"),
        ("d1 > 1e6", "no trial meets 'd1 > 1e6'"),
    ],
)
def test_invalid_conditions_are_refused(condition, message):
    with pytest.raises(InputError, match=message):
        make_results("A", [30, 20]).where(condition)


def test_split_groups_trials_by_a_column():
    tables = [make_table([30.0, 20.0], seed=seed, tag=f"{seed}") for seed in (2, 0)]
    results = Results.from_table("A", pd.concat([*tables, make_table([10.0]).assign(seed=np.nan)]), 10)
    parts = results.split("seed")
    assert list(parts) == [0, 2, None]
    assert [part.name for part in parts.values()] == ["A, seed 0", "A, seed 2", "A, seed blank"]
    assert [part.errors().tolist() for part in parts.values()] == [[30, 20], [30, 20], [10]]
    assert list(results.split("status")) == ["done"]
    with pytest.raises(InputError, match="unknown column of A 'sed'"):
        results.split("sed")


def test_parts_keep_the_histories_of_their_trials():
    epochs = (EpochRecord(1, 0.1, 1.0, 50.0, 30.0, 1.0),)
    table = make_table([30.0, 20.0])
    histories = {"a00000000000": epochs, "a00000000001": epochs, "a00000000001 EMA": epochs}
    results = Results.from_table("A", table, 10, histories, ("noted",))
    part = results.where("final_error < 25")
    assert set(part.histories) == {"a00000000001", "a00000000001 EMA"}
    assert part.notes == ("noted",)
    assert set(results.split("final_error")[30.0].histories) == {"a00000000000"}


# Repeats


def repeats(columns):
    """Return results of three networks trained with seeds 2, 0 and 1 (in that order), with some cells replaced."""
    tables = [make_table([30.0 + seed, 20.0 - seed, 10.0], seed=seed) for seed in (2, 0, 1)]
    table = pd.concat(tables, ignore_index=True).assign(trial=[f"t{row}" for row in range(9)])
    for column, values in columns.items():
        for row, value in values.items():
            table.loc[row, column] = value
    return Results.from_table("A", table, 10)


def test_repeats_are_averaged_in_the_order_of_their_seeds():
    results = repeats({})
    first, two, three = (results.mean_of_repeats(count) for count in (1, 2, 3))
    assert first.errors().tolist() == [30, 20, 10]
    assert two.errors().tolist() == [30.5, 19.5, 10]
    assert three.errors().tolist() == [31, 19, 10]
    assert three.errors(column="best_error").tolist() == [30.75, 18.75, 9.75]
    assert three.table["id"].tolist() == results.table["id"][:3].tolist()
    assert three.table["train_s"].tolist() == [180] * 3
    assert three.table["repeats"].tolist() == [3] * 3
    assert (first.name, three.name) == ("A, 1 repeat", "A, 3 repeats")
    assert three.mean_of_repeats(1, name="again").errors().tolist() == three.errors().tolist()


def test_failed_repeats_count_at_chance_level_unless_excluded():
    failed = {"status": "failed", "reason": "diverged", "final_error": np.nan, "best_error": np.nan}
    results = repeats({column: {0: value, 4: value, 1: value, 7: value} for column, value in failed.items()})
    # The first network failed once, the second all three times.
    mean = results.mean_of_repeats(3)
    assert mean.table["status"].tolist() == ["done", "failed", "done"]
    assert mean.table["reason"].tolist() == ["", "diverged", ""]
    assert mean.table["detail"].tolist() == ["3 of 3 trials finished, 2 done", "3 of 3 trials finished, 0 done", ""]
    assert mean.errors().tolist() == [(30 + 31 + 90) / 3, 90, 10]
    assert results.with_failures("exclude").mean_of_repeats(3).errors().tolist() == [30.5, 10]


def test_repeats_that_failed_without_diverging_are_left_out():
    failed = {"status": "failed", "reason": "worker died", "final_error": np.nan, "best_error": np.nan}
    results = repeats({column: {0: value, 1: value, 4: value, 7: value} for column, value in failed.items()})
    results.table.loc[7, "reason"] = "diverged"
    mean = results.mean_of_repeats(3)
    assert mean.table["status"].tolist() == ["done", "failed", "done"]
    assert mean.table["repeats"].tolist() == [2, 1, 3]
    assert mean.table["reason"].tolist() == ["", "diverged", ""]
    assert mean.errors().tolist() == [30.5, 90, 10]


def test_networks_without_enough_repeats_are_unfinished_rows():
    unfinished = {"status": "waiting", "final_error": np.nan, "best_error": np.nan, "train_s": np.nan}
    results = repeats({column: {0: value, 1: value, 4: value, 7: value} for column, value in unfinished.items()})
    mean = results.mean_of_repeats(3)
    assert mean.table["status"].tolist() == ["running", "waiting", "done"]
    assert mean.table["detail"].tolist()[:2] == ["2 of 3 trials finished, 2 done", "0 of 3 trials finished, 0 done"]
    assert mean.errors().tolist() == [10]
    assert results.mean_of_repeats(2).errors().tolist() == [30.5, 10]
    assert results.mean_of_repeats(4).counts.done == 0


def test_trainings_with_other_recipes_are_not_repeats():
    table = repeats({}).table.assign(lr=[0.1] * 6 + [0.2] * 3, heldout_error=50.0)
    mean = Results.from_table("A", table, 10).mean_of_repeats(2)
    assert mean.table["lr"].tolist() == [0.1] * 3 + [0.2] * 3
    assert mean.table["trial"].tolist()[2:4] == ["a00000000002", "a00000000000@2"]
    assert mean.counts == Counts(done=3, failed=0, running=3, waiting=0)
    assert mean.errors(column="heldout_error").tolist() == [50] * 3
    for wrong in (0, 1.5, True):
        with pytest.raises(InputError, match="number of repeats must be a whole number >= 1"):
            mean.mean_of_repeats(wrong)
