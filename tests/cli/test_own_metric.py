"""Runs with an own loss and metric, through the commands: what they write, and how they rank."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from data_sets import pack_noise, run_command
from own_objective import Focal

import designspace
from designspace import analyze, launch, sample, status, train
from designspace.cli import app
from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder
from designspace.trials.trial_folder import TrialFolder

OWN = Path(__file__).parents[1] / "own_objective.py"
RECIPE = ["recipe=quick", "recipe.epochs=2", "recipe.label_smoothing=0", "launcher.workers=1"]
OBJECTIVE = ["recipe.loss=own_objective:Focal", "recipe.metric=own_objective:Recall"]


@pytest.fixture(scope="session")
def folder(once):
    """A folder with a module of the user, a data set, and a run of networks that were trained with both."""
    return once("own_metric", make_run)


def make_run(folder):
    folder.mkdir()
    shutil.copy(OWN, folder)
    pack_noise(folder / "data", "pets")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        app.main("sample", sample.run, ["data=pets", "space=RegNetX", "n=3", "run=r"])
        app.main("launch", launch.run, ["run=r", *RECIPE, *OBJECTIVE])


def enter(patch, folder):
    """Work in a folder as a user does."""
    patch.chdir(folder)
    patch.setenv("DESIGNSPACE_DATA", str(folder / "data"))
    patch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def here(folder, monkeypatch):
    enter(monkeypatch, folder)
    return folder


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_run_knows_its_metric(here):
    fields = yaml.safe_load((here / "r" / "recipe.yaml").read_text())
    assert fields["metric"] == "own_objective:Recall"
    assert fields["measured_by"] == {
        "name": "macro recall", "unit": "", "direction": "higher", "guess": pytest.approx(1 / 3), "low": 0, "high": 1,
    }  # fmt: skip
    assert {row["status"] for row in rows(here / "r" / "results.csv")} == {"done"}
    assert all(0 <= float(row["final_error"]) <= 1 for row in rows(here / "r" / "results.csv"))
    assert all(row["train_error"] == "" for row in rows(here / "r" / "history.csv"))
    run = RunFolder(here / "r")
    for id_ in run.ids():
        history = run.trial(id_).read_history()
        assert run.trial(id_).state().result.best_error == max(record.test_error for record in history)
    assert "test macro recall 0." in run.trial(run.ids()[0]).log.read_text()
    assert Focal.__name__ in next((here / "r" / "code").glob("*/own_objective.py")).read_text()


def test_the_best_network_has_the_highest_value(here, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", "")  # reading a run imports nothing of the user
    values = {row["id"]: float(row["final_error"]) for row in rows(here / "r" / "results.csv")}
    best = max(values.values())
    model = designspace.load("r", rank=1)
    assert values[model.network.id] == best == model.weights.result.final_error
    assert model.weights.result.metric.name == "macro recall"
    code, out, _ = run_command(capsys, "status", status.run, "run=r")
    assert code == 0
    assert "macro recall" in out
    assert f"{best:.3f}" in out


def test_the_report_speaks_of_the_metric(here, tmp_path, capsys, monkeypatch):
    shutil.copytree(here / "r", tmp_path / "a")
    shutil.copytree(here / "r", tmp_path / "b")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.chdir(tmp_path)
    code, text, errors = run_command(capsys, "analyze", analyze.run, "runs=[a,b]", "out=report")
    assert code == 0, errors
    assert "trials, and macro recall" in text
    assert "no difference shown" in text
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Macro recall distributions of a and b" in page
    assert "macro recall, of which higher ones are better" in page
    assert "fraction of each population whose macro recall is at least that on the horizontal axis" in page
    assert "top-1" not in re.sub(r"(?s)<script.*?</script>", "", page)


def test_an_impossible_value_is_damage(here, tmp_path):
    shutil.copytree(here / "r", tmp_path / "r")
    run = RunFolder(tmp_path / "r")
    result = run.trial(run.ids()[0]).path / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "final_error": 1.5}))
    assert run.trial(run.ids()[0]).state().is_edited
    assert not TrialFolder(result.parent).state().is_edited  # 1.5 % is possible
    recipe = tmp_path / "r" / "recipe.yaml"
    recipe.write_text(recipe.read_text().partition("measured_by")[0])
    with pytest.raises(RunError, match="measured_by is missing, which describes the metric own_objective:Recall"):
        run = RunFolder(tmp_path / "r").plan()


def test_a_run_keeps_its_metric(here, tmp_path, capsys, monkeypatch):
    shutil.copytree(here / "r", tmp_path / "r")
    first = next((tmp_path / "r" / "trials").iterdir())
    (first / "result.json").unlink()
    (tmp_path / "own_objective.py").write_text(OWN.read_text().replace('"macro recall"', '"recall"'))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", "launcher.workers=1")
    assert (code, "is measured by {'name': 'macro recall'" in errors) == (2, True), errors
    monkeypatch.setenv("PYTHONPATH", str(here))
    monkeypatch.chdir(here)
    code, _, errors = run_command(capsys, "launch", launch.run, f"run={tmp_path / 'r'}", "launcher.workers=1")
    assert code == 0, errors
    assert rows(tmp_path / "r" / "results.csv")[0]["final_error"] == rows(here / "r" / "results.csv")[0]["final_error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe.metric=own_objective:nan"], "own_objective:nan returned nan, but a metric must return one finite"),
        (["recipe.loss=nowhere:loss"], "recipe.loss: nowhere:loss cannot be imported"),
        (["recipe.metric=top5_error"], "recipe.metric=top5_error needs 6 classes or more, but pets has 3"),
        (["recipe.metric=miou"], "recipe.metric=miou does not fit pets, whose labels are one class per image"),
    ],
)
def test_a_launch_with_an_invalid_objective_writes_nothing(arguments, message, here, capsys, tmp_path):
    assert (
        run_command(capsys, "sample", sample.run, "data=pets", "space=RegNetX", "n=1", f"run={tmp_path / 'r'}")[0] == 0
    )
    code, _, errors = run_command(capsys, "launch", launch.run, f"run={tmp_path / 'r'}", *RECIPE, *arguments)
    assert (code, len(errors.splitlines())) == (2, 1), errors
    assert message in errors
    assert RunFolder(tmp_path / "r").plan() is None


def test_one_network_is_trained_with_an_own_objective(here, capsys, tmp_path):
    out = tmp_path / "model"
    arguments = ["model=regnetx-200mf", "data=pets", f"out={out}", *RECIPE[:3], *OBJECTIVE, "recipe.epochs=1"]
    code, text, errors = run_command(capsys, "train", train.run, *arguments)
    assert code == 0, errors
    assert "macro recall 0." in text
    assert "test macro recall" in errors
    model = designspace.load(out)
    assert model.weights.result.metric.direction == "higher"
    card = (out / "README.md").read_text()
    assert "macro recall after the last epoch" in card
    assert "highest macro recall of any epoch" in card


def test_the_metric_cannot_be_written_without_its_description(tmp_path, here):
    run = RunFolder(tmp_path / "r")
    source = RunFolder(here / "r")
    run.create(source.population(), {})
    with pytest.raises(InputError, match="needs its Metric"):
        run.write_plan(source.plan().recipe, 0)
