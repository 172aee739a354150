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
from designspace.trials.trial import TrialFailure, TrialResult

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


def test_results_can_be_made_from_plain_errors(tmp_path):
    """The table of another program has 32 RegNetX: their errors and parameters."""
    table = pd.read_csv(GOLDEN)
    known = {name: table[name] for name in ("depth", "w_0", "w_a", "w_m", "lr")}
    real = Results.from_errors("RegNetX-400MF", table["top1_error"], 1000, known)
    assert (real.counts, real.chance_error) == (Counts(32, 0, 0, 0), 99.9)
    best = {value.quantity.name: value.best for value in best_values(real)}
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
