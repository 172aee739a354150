from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from populations import GOLDEN, make_results, make_table

from designspace.analysis.best_values import best_values
from designspace.analysis.comparison import compare
from designspace.analysis.edf import edf
from designspace.analysis.results import COLUMNS, Counts, Results, read_table
from designspace.analysis.study import analyze
from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, TrialFailure, TrialResult

FAILED = [("diverged", "loss is nan in epoch 2"), ("out of memory", "")]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "results.csv"
    make_table([30.5, 20.25], failed=FAILED, running=1, waiting=2).to_csv(file, index=False)
    return file


def test_counts_and_progress():
    counts = make_results("A", [30, 20], failed=FAILED, running=1, waiting=2).counts
    assert counts == Counts(done=2, failed=2, running=1, waiting=2)
    assert (counts.total, counts.finished, counts.unfinished) == (7, 4, 3)
    assert counts.sentence() == "4 of 7 trials finished, 2 of them failed"
    assert Counts(12, 0, 4, 0).sentence() == "12 of 16 trials finished"


def test_failed_trials_count_by_cause_by_default():
    results = make_results("A", [30, 20], failed=FAILED, running=1)
    assert results.errors().tolist() == [30, 20, 90]  # the diverged trial counts at chance level
    assert results.left_out().tolist() == [False, False, False, True, False]
    assert results.failed_as_text() == "1 of these counted at chance level and 1 left out"
    assert results.errors("best_error").tolist() == [29.75, 19.75, 90]
    at_chance = results.with_failures("chance")
    assert at_chance.errors().tolist() == [30, 20, 90, 90]
    assert at_chance.failed_as_text() == "counted at chance level"
    none = results.with_failures("exclude")
    assert none.errors().tolist() == [30, 20]
    assert none.failed_as_text() == "left out"
    assert none.where("final_error < 25").failures == "exclude"
    with pytest.raises(InputError, match="choose from: by_cause, chance, exclude"):
        results.with_failures("drop")
    with pytest.raises(InputError, match="choose from: final_error, best_error"):
        results.errors(column="train_s")


def test_chance_error_follows_from_number_of_classes():
    assert Results.from_table("A", make_table([1.0]), num_classes=1000).chance_error == pytest.approx(99.9)
    for wrong in (1, 0, 2.5, True):
        with pytest.raises(InputError, match="num_classes"):
            Results.from_table("A", make_table([1.0]), num_classes=wrong)


def test_best_networks_break_ties_by_id():
    best = make_results("A", [30, 20, 10, 20], failed=FAILED).best(3)
    assert best["id"].str[-1].tolist() == ["2", "1", "3"]


def test_reading_a_table_returns_what_was_written(path):
    written = make_table([30.5, 20.25], failed=FAILED, running=1, waiting=2)
    pd.testing.assert_frame_equal(read_table(path), written, check_dtype=False)
    assert Results.from_table("A", read_table(path), 10).errors().tolist() == [30.5, 20.25, 90]


def test_ids_that_look_like_numbers_stay_text(path):
    ids = ["123456789012", "1234567890e5", "000000000001", "nan"]
    table = read_table(path).head(4).assign(id=ids)
    table.to_csv(path, index=False)
    assert read_table(path)["id"].tolist() == ids
    with pytest.raises(InputError, match="ids must be text"):
        Results.from_table("A", table.assign(id=[1, 2, 3, 4]), 10)


def test_a_table_may_have_fewer_stages_in_some_rows_and_regnet_columns(path):
    table = read_table(path)
    table.loc[0, ["d4", "w4", "b4", "g4"]] = np.nan
    table.assign(depth=22, w_0=24, w_a=24.48, w_m=2.54).to_csv(path, index=False)
    results = Results.from_table("A", read_table(path), 10)
    assert results.num_stages == 4
    assert results.table["w_a"].tolist()[0] == 24.48


@pytest.mark.parametrize("bytes_lost", [1, 5, 20, 60])
def test_a_file_that_was_cut_off_is_refused(path, bytes_lost):
    path.write_bytes(path.read_bytes()[:-bytes_lost])
    with pytest.raises(RunError, match=r"results\.csv"):
        read_table(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("30.5", "30,5"), r"line 2: 36 fields where the header has 35|line 2: .* fields"),
        (lambda text: text.replace("30.5", "3O.5"), r"line 2, column final_error: '3O\.5' is not a number"),
        (lambda text: text.replace("30.5", "inf"), "line 2, column final_error: 'inf' is not a number"),
        (lambda text: text.replace(",4000001,", ",4000001.5,"), r"line 3, column flops: .* is not a whole number"),
        (lambda text: text.replace(",4000001,", ",,"), "line 3: flops is blank"),
        (lambda text: text.replace("a00000000001", "a00000000000"), "line 3: id a00000000000 is already in line 2"),
        (lambda text: text.replace("status", "state"), "line 1: no column status"),
        (lambda text: text.replace("d2", "d1"), "line 1: the column d1 occurs twice"),
        (lambda text: text.splitlines()[0] + "\n", "no row below the header"),
        (lambda text: text.rstrip("\n") + '"open\n', "line"),
        (lambda text: "", "the file is empty"),
        (lambda text: "\n", "line 1: no column id"),
        (lambda text: "\0" * 500 + "\n", "line 1: no column"),
    ],
)
def test_corrupt_files_are_refused_with_file_and_line(path, change, message):
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match=r"a\.csv is not UTF-8"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(RunError, match=r"cannot read .*b\.csv"):
        read_table(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns=["status", "w1"]), "lacks the columns w1, status"),
        (lambda table: table.drop(columns=["w4"]), r"stage columns are incomplete \(4 x d, 3 x w"),
        (lambda table: table.head(0), "has no rows"),
        (lambda table: table.assign(status="gone"), "unknown status 'gone'"),
        (
            lambda table: table.assign(final_error=np.nan),
            "is done, so final_error must be from 0 to 100 percent, not nan",
        ),
        (lambda table: table.assign(final_error=101.0), "from 0 to 100"),
        (lambda table: table.assign(reason=np.nan), "failed, but has no reason"),
        (lambda table: table.assign(params="many"), "column params must hold numbers"),
        (lambda table: table.assign(params=np.nan), "params must be a number >= 0"),
        (lambda table: table.assign(flops=np.inf), "flops must be a number >= 0, not inf"),
        (lambda table: table.assign(activations=-1), "activations must be a number >= 0, not -1"),
        (lambda table: table.assign(heldout_error=200.0), "so heldout_error must be from 0 to 100 percent, not 200"),
        (lambda table: table.assign(trial="same"), "the trial same is in more than one row"),
        (lambda table: table.assign(id=""), "ids must be text, not ''"),
        (lambda table: table.assign(id="same"), "the id same is in more than one row"),
    ],
)
def test_inconsistent_tables_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Results.from_table("A", change(make_table([30.0], failed=FAILED)), 10)


def test_names_must_be_one_printable_line():
    for wrong in ("", "a\nb", "a\0"):
        with pytest.raises(InputError, match="name of a run"):
            Results.from_table(wrong, make_table([30.0]), 10)


def test_reading_a_run_folder_does_not_change_it(tmp_path):
    folder = RunFolder(tmp_path / "RegNetX")
    folder.create(catalog.space("RegNetX", flops=(200e6, 400e6), num_classes=20).sample(4), {})
    folder.write_plan(Recipe(epochs=3), 0)
    done, failed, *_ = folder.population().ids
    folder.trial(done).write_result(TrialResult(12.5, 12.25, 3, 3.5, "cpu"))
    folder.trial(failed).write_failure(TrialFailure("diverged", 'loss is "nan",\nin epoch 2', epochs=1))
    before = sorted(folder.path.rglob("*"))
    results = Results.read(folder)
    assert sorted(folder.path.rglob("*")) == before
    assert (results.name, results.counts, results.chance_error) == ("RegNetX", Counts(1, 1, 0, 2), 95)
    assert results.errors().tolist() == [12.5, 95]
    gathered = Results.from_table("RegNetX", read_table(folder.write_results()), 20).table
    pd.testing.assert_frame_equal(results.table[gathered.columns], gathered)
    assert results.table[["lr", "weight_decay", "batch_size"]].drop_duplicates().values.tolist() == [[0.1, 5e-5, 128]]


def test_the_callers_table_is_not_modified():
    table = make_table([30.0], failed=FAILED).assign(device=[np.nan, "cpu", "cpu"])
    before = table.copy(deep=True)
    results = Results.from_table("A", table, 10)
    results.table.loc[0, "final_error"] = 1.0
    pd.testing.assert_frame_equal(table, before)
    assert set(COLUMNS) <= set(table.columns)


def test_the_first_wrong_row_is_named():
    table = make_table([30.0, 101.0, 20.0]).assign(flops=[1, 2, -3])
    with pytest.raises(InputError, match="trial a00000000001 is done, so final_error"):
        Results.from_table("A", table, 10)


def test_errors_on_held_out_images():
    table = make_table([30.0, 20.0], failed=FAILED)
    results = Results.from_table("A", table.assign(heldout_error=[31.0, 22.0, np.nan, np.nan]), 10)
    assert results.errors("heldout_error").tolist() == [31, 22, 90]
    assert results.with_failures("exclude").errors("heldout_error").tolist() == [31, 22]
    with pytest.raises(InputError, match="A: 2 of 2 done trials have no heldout_error"):
        Results.from_table("A", table, 10).errors(column="heldout_error")
    with pytest.raises(InputError, match="A: 1 of 2 done trials have no heldout_error"):
        Results.from_table("A", table.assign(heldout_error=[31.0, np.nan, 1.0, 1.0]), 10).errors(column="heldout_error")


def test_networks_may_lack_stages_and_activations():
    table = make_table([30.0, 20.0])
    table = table.drop(columns=[c for c in table.columns if c[0] in "dwbg" and c[1:].isdigit()])
    results = Results.from_table("NASNet", table.assign(activations=np.nan), 10)
    assert results.num_stages == 0
    assert results.errors().tolist() == [30, 20]


def test_columns_of_nullable_integers_may_lack_values():
    table = make_table([30, 20], vary=1).astype({"flops": "Int64", "activations": "Int64"})
    table["activations"] = pd.array([pd.NA, 3_000], dtype="Int64")
    results = Results.from_table("A", table, 10)
    assert compare(results, make_results("B", [25, 35], vary=2)).n_a == 2
    table.loc[0, "flops"] = pd.NA
    with pytest.raises(InputError, match="flops must be a number >= 0"):
        Results.from_table("A", table, 10)


def test_unfinished_and_failed_trials_may_lack_complexity():
    table = make_table([], failed=FAILED, running=1).assign(flops=np.nan, params=np.nan, activations=np.nan)
    assert Results.from_table("A", table, 10).counts == Counts(0, 2, 1, 0)


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


def test_results_can_be_made_from_plain_errors(tmp_path):
    """The table of another program has 32 RegNetX: their errors and parameters."""
    table = pd.read_csv(GOLDEN)
    known = {name: table[name] for name in ("depth", "w_0", "w_a", "w_m", "lr")}
    real = Results.from_errors("RegNetX-400MF", table["top1_error"], 1000, known)
    assert (real.counts, real.chance_error) == (Counts(32, 0, 0, 0), 99.9)
    best = {value.metric.name: value.best for value in best_values(real)}
    winner = table.loc[table["top1_error"].idxmin()]
    assert best == {"d": winner["depth"], "w_0": winner["w_0"], "w_a": winner["w_a"], "w_m": winner["w_m"]}
    bare = Results.from_errors("bare", [*(table["top1_error"] + 3), np.nan], 1000)
    assert bare.counts == Counts(32, 1, 0, 0)
    assert bare.errors()[-1] == 99.9
    analysis = analyze([real, bare], tmp_path, {}, figures="all")
    assert analysis.comparisons[0].better == "RegNetX-400MF"
    assert not (tmp_path / "figures" / "pareto.csv").exists()  # multiply-adds are unknown
    with pytest.raises(InputError, match=r"the column flops must have 2 values, not \(1,\)"):
        Results.from_errors("A", [1.0, 2.0], 10, {"flops": [1]})
    with pytest.raises(InputError, match="from 0 to 100"):
        Results.from_errors("A", [101.0], 10)


def test_draws_are_the_weights_of_an_edf():
    table = make_table([30.0, 20.0], failed=FAILED, running=1).assign(draws=[3, 1, 2, 2, 9])
    results = Results.from_table("A", table, num_classes=10)
    assert results.draws().tolist() == [3, 1, 2]
    assert edf(results.errors(), results.draws())(30.0) == 4 / 6
    without = results.with_failures("exclude")
    assert without.draws().tolist() == [3, 1]
    assert edf(without.errors(), without.draws())(20.0) == 0.25


@pytest.mark.parametrize("columns", [{}, {"draws": [1, np.nan]}, {"draws": [0, 1]}], ids=["none", "blank", "zero"])
def test_unknown_draws_are_refused(columns):
    results = Results.from_table("A", make_table([30.0, 20.0]).assign(**columns), num_classes=10)
    with pytest.raises(InputError, match=r"A: the draws of [12] of 2 networks are not known, .*sample again"):
        results.draws()


def test_draws_survive_writing_and_reading_results(tmp_path):
    run = RunFolder(tmp_path / "run")
    population = catalog.space("RegNetX", stem="cifar", resolution=28, flops=[2e6, 2.2e6], regime="auto").sample(60)
    run.create(population, {})
    table = Results.read(run).table
    assert table["draws"].tolist() == population.columns["draws"].tolist()
    assert table["draws"].dtype == np.int64
    run.write_results()
    pd.testing.assert_series_equal(read_table(run.results)["draws"], table["draws"])
