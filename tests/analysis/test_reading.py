from __future__ import annotations

import csv
import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import make_table

from designspace.analysis import columns as table_columns
from designspace.analysis import results_csv
from designspace.analysis.reading import merge
from designspace.analysis.results import Results
from designspace.analysis.results_csv import read_table
from designspace.analysis.source import Source
from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, TrialFailure, TrialResult

FAILED = [("diverged", "loss is nan in epoch 2"), ("error", 'said "no", and\nleft')]


def by_field(path):
    """Return the columns of a table, read with csv, int and float only."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = filter(None, csv.reader(file))
    columns = {}
    for name, texts in zip(header, zip(*rows, strict=True), strict=True):
        if table_columns.is_number(name):
            numbers = [float(text or "nan") for text in texts]
            is_whole = all(number.is_integer() for number in numbers) and not table_columns.REAL_COLUMN.fullmatch(name)
            columns[name] = [int(number) for number in numbers] if is_whole else numbers
        else:
            columns[name] = list(texts)
    return pd.DataFrame(columns)


def source(name, errors, recipe=None, num_classes=10, **others):
    table = make_table(errors, **others)
    columns = table_columns.recipe_columns((recipe or Recipe()).to_dict())
    return Source(name, table.assign(trial=table["id"], run=name, **columns), num_classes)


def make_run(path, errors, seed=0, n=4, epochs=2, **recipe):
    """Return a run folder whose first trials are done with given final errors; None makes a failed trial."""
    folder = RunFolder(path)
    folder.create(catalog.space("RegNetX", flops=(200e6, 400e6), num_classes=10).sample(n), {})
    folder.write_plan(Recipe(epochs=epochs, **recipe), seed)
    for id_, error in zip(folder.population().ids, errors, strict=False):
        if error is None:
            folder.trial(id_).write_failure(TrialFailure("diverged", "", epochs=1))
            continue
        history = tuple(EpochRecord(epoch, 0.1, 1.0, 50.0, error, 2.0) for epoch in range(1, epochs + 1))
        folder.trial(id_).write_history(history)
        folder.trial(id_).write_result(TrialResult.of_history(history, "cpu"))
    return folder


# results.csv


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_numbers_are_read_exactly_as_by_python(tmp_path, start, end):
    path = tmp_path / "results.csv"
    rng = np.random.default_rng(0)
    table = make_table(list(rng.random(300) * 90), failed=FAILED, waiting=3, vary=1)
    table.loc[::7, ["d4", "w4", "b4", "g4"]] = np.nan
    table = table.assign(w_a=rng.random(len(table)), memory_bytes=np.where(table["epochs"] > 0, 2**33 + 1, np.nan))
    text = table.to_csv(index=False)
    path.write_bytes((start + text.replace("\n", end)).encode())
    read = read_table(path)
    pd.testing.assert_frame_equal(read, by_field(path), check_exact=True)
    assert read["final_error"][:300].tolist() == table["final_error"][:300].tolist()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (",30.5,", ",nan,"),
        (",30.5,", ",NaN,"),
        (",30.5,", ",-Inf,"),
        (",30.5,", ", 30.5,"),
        (",30.5,", ",30.5 ,"),
        (",30.5,", ",3_0.5,"),
        (",30.5,", ",1e999,"),
        (",30.5,", ",0x1p3,"),
        (",30.5,", ",\uff13,"),
        (",60.0,cpu,,\n", ",60.0,cpu,\n"),
        (",60.0,cpu,,\n", ",60.0,cpu,,,\n"),
        ("a00000000001", "a00000000000"),
        ("a00000000001", ""),
        (",4000001,", ",4000001.5,"),
        (",4000001,", ",True,"),
        (",done,", ",,"),
        (",done,", ',"done,'),
    ],
)
def test_files_that_pandas_would_accept_are_refused_with_their_line(tmp_path, old, new):
    path = tmp_path / "results.csv"
    text = make_table([30.5, 20.25]).to_csv(index=False)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RunError, match=r"results\.csv, line \d"):
        read_table(path)


def test_rows_of_wrong_lengths_that_cancel_out_are_refused(tmp_path):
    path = tmp_path / "results.csv"
    header, first, second = make_table([30.5, 20.25]).to_csv(index=False).splitlines()
    path.write_text("\n".join([header, first + ",", second.removesuffix(","), ""]))
    with pytest.raises(RunError, match="line 2: "):
        read_table(path)


def test_unusual_texts_are_kept(tmp_path):
    path = tmp_path / "results.csv"
    table = make_table([30.5, 20.25], failed=[("error", "nan, it said")]).assign(device=["", "nan", "cpu"])
    path.write_text(table.to_csv(index=False) + "\n")
    pd.testing.assert_frame_equal(read_table(path), by_field(path))
    assert read_table(path)["device"].tolist() == ["", "nan", "cpu"]


def test_blocks_of_rows_are_concatenated(tmp_path, monkeypatch):
    monkeypatch.setattr(results_csv, "_BLOCK", 3)
    path = tmp_path / "results.csv"
    table = make_table([30.5] * 7, waiting=1)
    table.loc[7, "d1"] = np.nan
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_table(path), by_field(path))
    path.write_text(path.read_text().replace("a00000000006", "a00000000001"))
    with pytest.raises(RunError, match="line 8: id a00000000001 is already in line 3"):
        read_table(path)
    path.write_text(path.read_text().replace(",cpu,,\n", ',cpu,,"two\nlines"\n', 2).replace("30.5", "3O.5"))
    with pytest.raises(RunError, match="line 3, column final_error: '3O.5' is not a number"):
        read_table(path)
    path.write_text(path.read_text().replace("3O.5", "30.5", 6))
    with pytest.raises(RunError, match="line 10, column final_error: '3O.5' is not a number"):
        read_table(path)


def test_a_table_saved_by_a_spreadsheet_reads_the_same(tmp_path):
    table = make_table([30.5, 20.25], failed=[("error", "a; b")])
    table.to_csv(tmp_path / "plain.csv", index=False)
    table.to_csv(tmp_path / "saved.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig", lineterminator="\r\n")
    pd.testing.assert_frame_equal(read_table(tmp_path / "saved.csv"), read_table(tmp_path / "plain.csv"))
    table.assign(id=["a00000000000", "1,2E+10", "a00000000002"]).to_csv(tmp_path / "saved.csv", index=False, sep=";")
    with pytest.raises(RunError, match="saved.csv, line 3: '1,2E[+]10' is not an id, .*; a spreadsheet changes ids"):
        read_table(tmp_path / "saved.csv")


def test_large_whole_numbers_are_exact(tmp_path):
    path = tmp_path / "results.csv"
    make_table([30.5, 20.25]).assign(seed=[2**53 + 1, 2**62 + 1]).to_csv(path, index=False)
    assert read_table(path)["seed"].tolist() == [2**53 + 1, 2**62 + 1]
    path.write_text(path.read_text().replace(str(2**62 + 1), str(2**64)))
    with pytest.raises(RunError, match="line 3, column seed: '18446744073709551616' is not a whole number"):
        read_table(path)


def test_a_merged_table_can_be_written_and_read_again(tmp_path):
    merged = merge([source("A", [30.0, 20.0]), source("B", [31.0, 21.0], seed=1)])
    merged.table.to_csv(tmp_path / "both.csv", index=False)
    again = read_table(tmp_path / "both.csv")
    pd.testing.assert_frame_equal(again, merged.table, check_dtype=False)
    assert Results.from_table("both", again, 10).counts.done == 4


# Merging


def test_trials_with_other_seeds_stay_and_equal_trials_count_once():
    merged = merge([source("A", [30.0, 20.0]), source("B", [31.0, 21.0], seed=1), source("C", [30.0], waiting=1)])
    assert merged.name == "A + B + C"
    assert merged.table["trial"].tolist() == [
        "a00000000000@A",
        "a00000000001@A",
        "a00000000000@B",
        "a00000000001@B",
    ]
    assert merged.table["run"].tolist() == ["A", "A", "B", "B"]
    assert merged.notes == ()


def test_done_trials_take_precedence_over_failed_and_unfinished_ones():
    a = source("A", [], failed=[("diverged", "")], running=1, waiting=1)
    b = source("B", [30.0], failed=[("error", "")], running=1)
    merged = merge([a, b]).table
    assert merged["status"].tolist() == ["done", "failed", "running"]
    assert merged["run"].tolist() == ["B", "B", "B"]
    assert merge([b, a]).table["run"].tolist() == ["B", "B", "B"]


def test_different_errors_of_one_trial_are_noted():
    merged = merge([source("A", [30.0, 20.0]), source("B", [30.5, 20.0])])
    assert merged.table["final_error"].tolist() == [30, 20]
    assert merged.notes == (
        "1 trial has different errors in several runs, by up to 0.50 percentage points (a00000000000); the first run's "
        "errors count.",
    )
    assert Results.from_table("A", merged.table, 10, notes=merged.notes).notes == merged.notes


def test_a_repeated_trial_of_one_run_is_not_dropped():
    table = make_table([30.0, 31.0]).assign(id="same", trial=["same", "same#2"], run="A")
    a = Source("A", table, 10)
    b = Source("B", table.assign(run="B").head(1), 10)
    assert merge([a, b]).table["trial"].tolist() == ["same@A", "same#2@A"]


def test_recipes_that_differ_get_columns():
    first, second = Recipe(lr=0.1, epochs=10), Recipe(lr=0.2, epochs=20, train_images=1000, nesterov=False)
    alone = merge([source("A", [30.0], first)]).table
    assert [c for c in table_columns.RECIPE_COLUMNS.values() if c in alone] == ["batch_size", "lr", "weight_decay"]
    table = merge([source("A", [30.0], first), source("B", [20.0], second)]).table
    assert table["recipe_epochs"].tolist() == [10, 20]
    assert table["lr"].tolist() == [0.1, 0.2]
    assert table["nesterov"].tolist() == [True, False]
    assert math.isnan(table["train_images"][0])
    assert table["train_images"][1] == 1000
    assert not {"momentum", "crop_padding", "data"} & set(table.columns)


def test_every_field_of_a_recipe_distinguishes_trials():
    numbers = {"epochs": 20, "batch_size": 64, "lr": 0.2, "momentum": 0.8, "weight_decay": 0.0, "warmup_epochs": 1.0}
    numbers |= {"train_images": 7, "test_images": 7, "label_smoothing": 0.1, "crop_padding": 4, "devices": 2}
    numbers |= {"crop_area": 0.5, "crop_size": 7, "test_size": 7, "colour_jitter": 0.4, "lighting": 0.1, "mixup": 0.2}
    numbers |= {"randaugment_ops": 3, "randaugment_magnitude": 5.0, "erasing": 0.5, "dropout": 0.2, "drop_path": 0.1}
    numbers |= {"drop_block": 0.1, "ema_decay": 0.9, "heldout_images": 7, "accumulate": 2}
    numbers |= {"layer_decay": 0.7, "frozen_stages": 1, "beta2": 0.99}
    switches = {"nesterov": False, "zero_init_residual": True, "flip": False, "sync_norm": True}
    names = {"data": "cifar10", "trainer": "a.b:c", "policy": "autoaugment", "precision": "bfloat16"}
    names |= {"optimiser": "adamw", "loss": "a.b:c", "metric": "cross_entropy"}
    other = {**names, **numbers, **switches}
    for field in dataclasses.fields(Recipe):
        changed = Recipe(**{field.name: other[field.name]})
        table = merge([source("A", [30.0]), source("B", [30.0], changed)]).table
        assert len(table) == 2, field.name
        assert table[table_columns.RECIPE_COLUMNS[field.name]].nunique(dropna=False) == 2


def test_runs_with_different_classes_cannot_be_merged():
    with pytest.raises(InputError, match=r"numbers of classes cannot be merged \(A 10, B 100\)"):
        merge([source("A", [1.0]), source("B", [1.0], num_classes=100)])
    with pytest.raises(InputError, match="no run to read"):
        merge([])


def test_many_runs_have_a_short_name():
    assert merge([source(name, [1.0]) for name in "ABCDE"]).name == "A and 4 more runs"


RUNS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["done", "failed", "running", "waiting"])), max_size=8)


@given(st.lists(RUNS, min_size=1, max_size=4))
def test_merging_keeps_the_best_known_state_of_every_trial(runs):
    runs = [dict(run) for run in runs if run]
    if not runs:
        return
    order = ["done", "failed", "running", "waiting"]
    sources = []
    for number, run in enumerate(runs):
        table = make_table([1.0]).loc[[0] * len(run)].reset_index(drop=True)
        states = list(run.values())
        table = table.assign(
            id=[f"n{network}" for network in run],
            status=states,
            final_error=[float(number) if state == "done" else math.nan for state in states],
            run=f"R{number}",
        )
        sources.append(Source(f"R{number}", table.assign(trial=table["id"]), 10))
    merged = merge(sources).table
    best = {
        network: min((order.index(run[network]), number) for number, run in enumerate(runs) if network in run)
        for network in {network for run in runs for network in run}
    }
    states = {row["id"]: (order.index(row["status"]), int(row["run"][1:])) for row in merged.to_dict("records")}
    assert states == {f"n{network}": state for network, state in best.items()}
    assert merged["trial"].is_unique
    first_seen = list(dict.fromkeys(f"n{network}" for run in runs for network in run))
    assert merged["id"].tolist() == first_seen


# Run folders


def test_run_folders_merge_with_their_epochs(tmp_path):
    make_run(tmp_path / "A", [30.0, None])
    make_run(tmp_path / "B", [31.0, 21.0, 11.0], seed=1)
    before = sorted(tmp_path.rglob("*"))
    results = Results.read(tmp_path / "A", str(tmp_path / "B"))
    assert sorted(tmp_path.rglob("*")) == before
    assert results.name == "A + B"
    assert (results.counts.done, results.counts.failed, results.counts.waiting) == (4, 1, 3)
    assert results.errors().tolist() == [30, 90, 31, 21, 11]
    first = results.table["id"][0]
    assert set(results.histories) == set(results.table["trial"][results.table["status"] == "done"])
    assert [record.test_error for record in results.histories[f"{first}@B"]] == [31, 31]
    assert results.table["lr"].unique().tolist() == [0.1]
    assert results.table["seed"].tolist() == [0] * 4 + [1] * 4


def test_trials_of_a_run_and_its_copy_count_once(tmp_path):
    a = make_run(tmp_path / "A", [30.0, 20.0])
    b = make_run(tmp_path / "copy" / "A", [30.0, 20.0, 10.0])
    results = Results.read(a, b)
    assert results.name == f"{tmp_path.name}/A + copy/A"
    assert results.errors().tolist() == [30, 20, 10]
    assert results.table["run"].tolist() == [f"{tmp_path.name}/A"] * 2 + ["copy/A", f"{tmp_path.name}/A"]
    assert sorted(trial.rpartition("@")[2] for trial in results.histories) == ["copy/A", *[f"{tmp_path.name}/A"] * 2]


def test_one_run_twice_is_refused(tmp_path):
    run = make_run(tmp_path / "A", [30.0])
    with pytest.raises(InputError, match="is given twice"):
        Results.read(run, tmp_path / "A")


def test_a_single_run_keeps_its_ids_and_can_have_another_name(tmp_path):
    run = make_run(tmp_path / "A", [30.0])
    results = Results.read(run, name="ours")
    assert results.name == "ours"
    assert results.table["trial"].tolist() == list(run.ids())
    assert results.table["run"].unique().tolist() == ["A"]


def test_a_run_published_without_trials_is_read_from_its_table(tmp_path):
    run = make_run(tmp_path / "A", [30.0, None])
    whole = Results.read(run)
    run.write_results()
    for trial in run.ids():
        for file in (run.path / "trials" / trial).glob("*"):
            file.unlink()
        if (run.path / "trials" / trial).exists():
            (run.path / "trials" / trial).rmdir()
    published = Results.read(tmp_path / "A")
    pd.testing.assert_frame_equal(published.table, whole.table)
    assert published.histories == whole.histories


def test_runs_before_their_launch_have_no_recipe(tmp_path):
    folder = RunFolder(tmp_path / "A")
    folder.create(catalog.space("RegNetX", flops=(200e6, 400e6), num_classes=10).sample(2), {})
    make_run(tmp_path / "B", [30.0], n=2)
    assert "lr" not in Results.read(folder).table
    results = Results.read(folder, tmp_path / "B")
    assert results.table["lr"].isna().tolist() == [True, True, False, False]
    assert results.errors().tolist() == [30]


def test_paths_that_are_not_runs_are_refused(tmp_path):
    with pytest.raises(RunError, match="there is no run at"):
        Results.read(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt is not a run"):
        Results.read(tmp_path / "notes.txt")
    with pytest.raises(RunError):
        Results.read(tmp_path)


def test_a_result_without_a_valid_number_is_a_failed_trial(tmp_path):
    run = make_run(tmp_path / "A", [30.0, 20.0])
    file = run.path / "trials" / run.ids()[0] / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"final_error": "low"}))
    results = Results.read(run)
    assert results.table["status"].tolist()[:2] == ["failed", "done"]
    assert "final_error must be a number" in results.table["detail"][0]
