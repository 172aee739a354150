from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table

from designspace.analysis.results import COLUMNS, Counts, Results, read_table
from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe, TrialFailure, TrialResult

FAILED = [("diverged", "loss is nan in epoch 2"), ("out of memory", "")]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "results.csv"
    make_table([30.5, 20.25], failed=FAILED, running=1, waiting=2).to_csv(file, index=False)
    return file


def test_counts_and_progress():
    counts = make_results("A", [30, 20], failed=FAILED, running=1, waiting=2).counts
    assert counts == Counts(done=2, failed=2, running=1, waiting=2)
    assert (counts.asked, counts.finished, counts.unfinished) == (7, 4, 3)
    assert counts.sentence() == "4 of 7 trials finished, 2 of them failed"
    assert Counts(12, 0, 4, 0).sentence() == "12 of 16 trials finished"


def test_failed_trials_count_at_chance_level_unless_excluded():
    results = make_results("A", [30, 20], failed=FAILED, running=1)
    assert results.errors().tolist() == [30, 20, 90, 90]
    assert results.errors(failures="exclude").tolist() == [30, 20]
    assert results.errors(column="best_error").tolist() == [29.75, 19.75, 90, 90]
    with pytest.raises(InputError, match="there is: chance, exclude"):
        results.errors(failures="drop")
    with pytest.raises(InputError, match="there is: final_error, best_error"):
        results.errors(column="train_s")


def test_chance_level_follows_from_the_classes():
    assert Results.from_table("A", make_table([1.0]), num_classes=1000).chance_error == pytest.approx(99.9)
    for wrong in (1, 0, 2.5, True):
        with pytest.raises(InputError, match="num_classes"):
            Results.from_table("A", make_table([1.0]), num_classes=wrong)


def test_best_networks_break_ties_by_id():
    best = make_results("A", [30, 20, 10, 20], failed=FAILED).best(3)
    assert best["id"].str[-1].tolist() == ["2", "1", "3"]


def test_reading_gives_back_what_was_written(path):
    written = make_table([30.5, 20.25], failed=FAILED, running=1, waiting=2)
    pd.testing.assert_frame_equal(read_table(path), written, check_dtype=False)
    assert Results.from_table("A", read_table(path), 10).errors().tolist() == [30.5, 20.25, 90, 90]


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
        (lambda text: text.replace("a00000000001", "a00000000000"), "line 3: id a00000000000 stands in line 2"),
        (lambda text: text.replace("status", "state"), "line 1: no column status"),
        (lambda text: text.replace("d2", "d1"), "line 1: the column d1 stands there twice"),
        (lambda text: text.splitlines()[0] + "\n", "no row below the header"),
        (lambda text: text.rstrip("\n") + '"open\n', "line"),
        (lambda text: "", "the file is empty"),
        (lambda text: "\n", "line 1: no column id"),
        (lambda text: "\0" * 500 + "\n", "line 1: no column"),
    ],
)
def test_corrupt_files_are_refused_with_file_and_place(path, change, message):
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_text_or_not_there_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match=r"a\.csv is not UTF-8"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(RunError, match=r"cannot read .*b\.csv"):
        read_table(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns=["status", "w1"]), "lacks the columns w1, status"),
        (lambda table: table.drop(columns=["w4"]), r"stage columns are not whole \(4 x d, 3 x w"),
        (lambda table: table.head(0), "has no rows"),
        (lambda table: table.assign(status="gone"), "unknown status 'gone'"),
        (
            lambda table: table.assign(final_error=np.nan),
            "is done, so final_error must be from 0 to 100 per cent, not nan",
        ),
        (lambda table: table.assign(final_error=101.0), "from 0 to 100"),
        (lambda table: table.assign(reason=np.nan), "failed, but has no reason"),
        (lambda table: table.assign(params="many"), "column params must hold numbers"),
        (lambda table: table.assign(params=np.nan), "params must be a number >= 0"),
        (lambda table: table.assign(id="same"), "the id same stands in more than one row"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Results.from_table("A", change(make_table([30.0], failed=FAILED)), 10)


def test_names_are_one_printable_line():
    for wrong in ("", "a\nb", "a\0"):
        with pytest.raises(InputError, match="name of a run"):
            Results.from_table(wrong, make_table([30.0]), 10)


def test_a_run_folder_is_read_as_it_stands_and_left_as_it_is(tmp_path):
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


def test_the_callers_table_stays_as_it_is():
    table = make_table([30.0], failed=FAILED).assign(device=[np.nan, "cpu", "cpu"])
    before = table.copy(deep=True)
    results = Results.from_table("A", table, 10)
    results.table.loc[0, "final_error"] = 1.0
    pd.testing.assert_frame_equal(table, before)
    assert set(COLUMNS) <= set(table.columns)
