"""Folders of an earlier version can always be read, resumed and loaded (tests/fixtures/folders_1/README.md)."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import run_command

import designspace
from designspace import analyze, launch, retry, status, train
from designspace.analysis import Results

FIXTURES = Path(__file__).parents[1] / "fixtures" / "folders_1"
BEST = "6df959dd7c2e"
UNFINISHED = "2f07f88ecc26"


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """A working directory with a copy of the folders and the images that they were trained on."""
    for path in FIXTURES.iterdir():
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "data"))
    (tmp_path / "small" / "data.json").write_text(json.dumps({"name": "tiny", "root": None}))
    return tmp_path


def files(folder):
    """Return path -> content for all files below a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(model, packed):
    """Return the top-1 error on the packed test images in percent."""
    facts = json.loads((packed / "packed.json").read_text())
    images = torch.from_numpy(np.load(packed / "test_images.npy")) / 255
    labels = torch.from_numpy(np.load(packed / "test_labels.npy"))
    mean, std = (torch.tensor(facts[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        return 100 * float((model((images - mean) / std).argmax(1) != labels).float().mean())


def test_results_are_read_unchanged(here):
    results = Results.read("small")
    with (FIXTURES / "small" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert results.table["id"].tolist() == [row["id"] for row in rows]
    assert results.table["status"].tolist() == [row["status"] for row in rows]
    errors = [float(row["final_error"]) for row in rows if row["final_error"]]
    assert results.errors().tolist() == errors
    assert (results.counts.done, results.counts.failed, results.counts.unfinished) == (3, 2, 3)
    assert len(results.histories[BEST]) == 12
    assert len(results.histories[UNFINISHED]) == 2


def test_status_and_report_show_all_states(here, capsys):
    code, output, _ = run_command(capsys, "status", status.run, "run=small")
    assert code == 0
    assert "time limit" in output
    code, output, _ = run_command(capsys, "analyze", analyze.run, "runs=small")
    assert code == 0
    assert "5 of 8 trials finished, 2 of them failed" in (here / "small" / "figures" / "edf.svg").read_text()


def test_a_launch_resumes_unfinished_trials_and_keeps_the_others(here, capsys):
    done = files(here / "small" / "trials" / BEST)
    begun = (here / "small" / "trials" / UNFINISHED / "history.jsonl").read_text()
    assert run_command(capsys, "launch", launch.run, "run=small", "launcher.workers=1", "launcher.device=cpu")[0] == 0
    assert files(here / "small" / "trials" / BEST) == done
    history = (here / "small" / "trials" / UNFINISHED / "history.jsonl").read_text()
    assert history.startswith(begun)
    assert len(history.splitlines()) == 12
    assert Results.read("small").counts.done == 6
    assert run_command(capsys, "retry", retry.run, "run=small")[0] == 0
    assert Results.read("small").counts.waiting == 2


def test_the_best_network_is_loaded_with_its_weights(here):
    model = designspace.load("small", device="cpu")
    assert model.weights.about["selection"]["rank"] == 1
    assert error_of(model, here / "data" / "tiny") == pytest.approx(
        model.weights.about["result"]["final_error"], abs=1.6
    )
    assert designspace.load("small", id=BEST).weights.name == f"AnyNetXB {BEST}"


def test_a_finished_training_can_be_loaded_and_is_not_trained_again(here, capsys):
    before = files(here / "finished")
    model = designspace.load("finished", device="cpu")
    assert error_of(model, here / "data" / "tiny") == pytest.approx(6.25, abs=1.6)
    arguments = "run=small rank=1 data=tiny device=cpu recipe.epochs=8 recipe.batch_size=32 recipe.lr=0.05"
    arguments += " recipe.crop_padding=2 seed=1"
    assert run_command(capsys, "train", train.run, *arguments.split(), "out=finished")[0] == 0
    after = files(here / "finished")
    assert {path: after[path] for path in before if path.suffix != ".txt"} == {
        path: content for path, content in before.items() if path.suffix != ".txt"
    }


def test_an_interrupted_training_is_resumed(here, capsys):
    begun = (here / "interrupted" / "history.csv").read_text()
    arguments = "run=small rank=1 data=tiny device=cpu recipe.epochs=8 recipe.batch_size=32 recipe.lr=0.05"
    arguments += " recipe.crop_padding=2 seed=1"
    assert run_command(capsys, "train", train.run, *arguments.split(), "out=interrupted")[0] == 0
    rows = (here / "interrupted" / "history.csv").read_text().splitlines()
    assert rows[: len(begun.splitlines())] == begun.splitlines()
    losses = [
        [float(row["train_loss"]) for row in csv.DictReader(path.read_text().splitlines())]
        for path in (here / "interrupted" / "history.csv", FIXTURES / "finished" / "history.csv")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)  # the same training, but processors round differently
    assert designspace.load("interrupted").weights.name == f"AnyNetXB {BEST}"
