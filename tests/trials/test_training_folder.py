import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designspace.networks import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials.open import find_runs, run_at
from designspace.trials.recipe import Recipe
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import EpochRecord, Trial, TrialFailure, TrialResult

TRIAL = Trial(catalog.get("regnetx_200mf"), Recipe())
START = {"name": "regnetx_200mf", "folder": None, "id": None, "weights": None}
numbers = st.floats(0, 100)


@pytest.fixture
def folder(tmp_path):
    return TrainingFolder(tmp_path / "out")


def test_the_same_training_is_recorded_once(folder):
    folder.check(TRIAL)
    assert not folder.path.exists()
    folder.record(TRIAL, START, {"command": "the first"})
    written = (folder.path / "train.json").read_bytes()
    folder.record(TRIAL, START, {"command": "the second"})
    assert (folder.path / "train.json").read_bytes() == written
    assert folder.provenance() == {"command": "the first"}
    assert json.loads(written)["recipe"] == Recipe().to_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"weights": "timm"}, "weights is 'first weights' there and 'timm' here"),
        ({"network": catalog.get("resnet50")}, f"network is '{TRIAL.network.id}' there and"),
        ({"recipe": Recipe(lr=0.2, epochs=3)}, r"recipe.epochs is 10 there and 3 here; recipe.lr is 0.1 there"),
    ],
)
def test_another_training_is_refused(folder, change, words):
    folder.record(TRIAL, START, {})
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(InputError, match=f"holds another training .*{words}"):
        folder.record(dataclasses.replace(TRIAL, **change), START, {})
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_recipe_of_an_earlier_version_equals_one_with_defaults(folder):
    folder.record(TRIAL, START, {})
    path = folder.path / "train.json"
    fields = json.loads(path.read_text())
    del fields["recipe"]["ema_decay"]
    path.write_text(json.dumps(fields))
    folder.check(TRIAL)
    with pytest.raises(InputError, match=r"recipe.ema_decay is 0.0 there and 0.9 here"):
        folder.check(dataclasses.replace(TRIAL, recipe=Recipe(ema_decay=0.9)))


def test_a_folder_with_other_files_is_refused(folder):
    folder.path.mkdir()
    (folder.path / "claim.1.json").write_text("{}")  # of a process that is about to record its training
    folder.check(TRIAL)
    (folder.path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds no training but other files; choose another folder with out="):
        folder.record(TRIAL, START, {})
    with pytest.raises(InputError, match="is a file"):
        TrainingFolder(folder.path / "thesis.tex").check(TRIAL)
    assert sorted(path.name for path in folder.path.iterdir()) == ["claim.1.json", "thesis.tex"]


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 2, "recipe": {}}', "nonsense"])
def test_an_edited_training_file_is_an_error(folder, text):
    folder.path.mkdir()
    (folder.path / "train.json").write_text(text)
    with pytest.raises(RunError, match=r"train\.json"):
        folder.check(TRIAL)


def test_invalid_seeds_are_refused():
    with pytest.raises(InputError, match="seed must be a whole number >= 0, not -1"):
        dataclasses.replace(TRIAL, seed=-1)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers, st.none() | numbers)))
def test_epochs_are_read_back_unchanged(tmp_path_factory, rows):
    folder = TrainingFolder(tmp_path_factory.mktemp("out"), TRIAL)
    history = tuple(EpochRecord(epoch, *row) for epoch, row in enumerate(rows, start=1))
    folder.write_table(history)
    assert folder.read_table() == history
    assert folder.trial_folder.read_history() == history  # as in a folder of an earlier version
    folder.trial_folder.write_history(history[:1])
    assert folder.trial_folder.read_history() == history[:1]


def test_an_edited_table_is_an_error_if_there_is_no_other_history(folder):
    folder.record(TRIAL, START, {})
    assert folder.trial_folder.read_history() == ()
    (folder.path / "history.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(RunError, match=r"history\.csv is not whole"):
        folder.trial_folder.read_history()
    assert folder.read_table() == ()


def test_a_folder_is_the_run_of_one_trial(folder):
    folder.record(TRIAL, START, {"command": "python -m designspace.train model=regnetx_200mf"})
    run = run_at(folder.path)
    key = TRIAL.id
    assert (run.trial_keys(), run.started_keys()) == ((key,), {key})
    assert run.read_trials()(key) == TRIAL
    assert (run.plan().recipe, run.plan().seed) == (TRIAL.recipe, 0)
    assert run.resume_command() == "python -m designspace.train model=regnetx_200mf"
    assert [state.status for state in run.states([key])] == ["waiting"]
    with pytest.raises(RunError, match="has no trial '60e881614052'; its only one is"):
        run.trial("60e881614052")
    run.trial(key).write_result(TrialResult(50.0, 50.0, 10, 1.0, "cpu"))
    assert [state.status for state in run.states([key])] == ["waiting"]  # the model is still missing
    (folder.path / "network.json").write_text("{}")
    assert [(state.key, state.status) for state in run.states([key])] == [(key, "done")]


@pytest.mark.parametrize(
    "line",
    ["rm -rf ~", "python -m designspace.train out=x; rm -rf ~", "python -m designspace.train 'out=x", "\x1b[2J", 5],
)
def test_a_foreign_command_line_is_not_shown(folder, line):
    folder.record(TRIAL, START, {"command": line})
    assert folder.resume_command() == f"python -m designspace.train out={folder.path}"


def test_a_train_json_of_another_program_is_not_a_run(folder, tmp_path):
    folder.record(TRIAL, START, {})
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train.json").write_text('{"images": [], "annotations": []}')
    assert [run.path for run in find_runs(tmp_path)] == [folder.path]
    (folder.path / "train.json").write_text("{")
    with pytest.raises(InputError, match="holds none"):
        find_runs(tmp_path)
    (run,) = find_runs(folder.path)
    with pytest.raises(RunError, match="not valid JSON"):
        run.trial_keys()


def test_the_same_network_with_other_weights_is_another_trial(folder):
    folder.record(TRIAL, START, {})
    fine_tuned = dataclasses.replace(TRIAL, weights="its published weights")
    assert fine_tuned.fingerprint != TRIAL.fingerprint
    folder.trial_folder.write_failure(TrialFailure("error", "no"))
    assert folder.trial_folder.state().status == "failed"
    with pytest.raises(RunError, match="is of another recipe or seed than this run's"):
        TrainingFolder(folder.path, fine_tuned).trial_folder.state()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 0},
        {"epoch": True},
        {"epoch": 1.0},
        {"lr": -0.1},
        {"lr": False},
        {"train_loss": math.inf},
        {"train_error": False},
        {"train_error": ""},
        {"train_error": 100.5},
        {"train_error": -1},
        {"test_error": None},
        {"wall_s": -1.0},
        {"heldout_error": "5"},
        {"heldout_error": math.nan},
    ],
)
def test_impossible_epochs_are_rejected(wrong):
    usual = {"epoch": 1, "lr": 0.1, "train_loss": 2.3, "train_error": 88.0, "test_error": 70.5, "wall_s": 1.5}
    EpochRecord(**usual)
    with pytest.raises(InputError, match=next(iter(wrong))):
        EpochRecord(**{**usual, **wrong})


def test_numbers_of_an_epoch_may_be_whole_or_unknown():
    record = EpochRecord(np.int64(1), 0, 2, None, np.float32(70.5), 1, 0)
    assert dataclasses.astuple(record) == (1, 0, 2, None, 70.5, 1, 0)
    assert all(type(value) in (int, float, type(None)) for value in dataclasses.astuple(record))
    assert math.isnan(EpochRecord(1, math.nan, math.nan, math.nan, math.nan, 1.0).lr)


def test_an_epoch_as_text():
    record = EpochRecord(3, 0.1, 1.25, 40.0, 50.0, 2.0)
    assert record.describe(10) == "epoch 3/10: loss 1.2500, train error 40.00%, test error 50.00%, 2.0 s"
    assert "train error 40.00%, held-out error 45.00%, test" in dataclasses.replace(record, heldout_error=45).describe(
        10
    )
