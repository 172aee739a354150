"""Folders that an earlier version wrote are read, resumed and loaded for ever (tests/fixtures/folders_1/README.md)."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import typed

import designspace
from designspace import analyze, launch, retry, status, train
from designspace.analysis import Results

WRITTEN = Path(__file__).parents[1] / "fixtures" / "folders_1"
BEST = "6df959dd7c2e"
UNFINISHED = "2f07f88ecc26"


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """A copy of the folders, in the working folder, with the images that they were trained on."""
    for path in WRITTEN.iterdir():
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "data"))
    (tmp_path / "small" / "data.json").write_text(json.dumps({"name": "tiny", "root": None}))
    return tmp_path


def files(folder):
    """The bytes of every file below a folder, by its path."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(model, packed):
    """Top-1 error on the packed test images, per cent."""
    facts = json.loads((packed / "packed.json").read_text())
    images = torch.from_numpy(np.load(packed / "test_images.npy")) / 255
    labels = torch.from_numpy(np.load(packed / "test_labels.npy"))
    mean, std = (torch.tensor(facts[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        return 100 * float((model((images - mean) / std).argmax(1) != labels).float().mean())


def test_results_are_those_that_were_written(here):
    results = Results.read("small")
    with (WRITTEN / "small" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert results.table["id"].tolist() == [row["id"] for row in rows]
    assert results.table["status"].tolist() == [row["status"] for row in rows]
    errors = [float(row["final_error"]) for row in rows if row["final_error"]]
    assert results.errors().tolist() == errors
    assert (results.counts.done, results.counts.failed, results.counts.unfinished) == (3, 2, 3)
    assert len(results.histories[BEST]) == 12
    assert len(results.histories[UNFINISHED]) == 2


def test_status_and_report_know_every_state(here, capsys):
    code, said, _ = typed(capsys, "status", status.run, "run=small")
    assert code == 0
    assert "time limit" in said
    code, said, _ = typed(capsys, "analyze", analyze.run, "runs=small")
    assert code == 0
    assert "5 of 8 trials finished, 2 of them failed" in (here / "small" / "figures" / "edf.svg").read_text()


def test_a_launch_resumes_what_is_unfinished_and_leaves_the_rest(here, capsys):
    done = files(here / "small" / "trials" / BEST)
    begun = (here / "small" / "trials" / UNFINISHED / "history.jsonl").read_text()
    assert typed(capsys, "launch", launch.run, "run=small", "launcher.workers=1", "launcher.device=cpu")[0] == 0
    assert files(here / "small" / "trials" / BEST) == done
    history = (here / "small" / "trials" / UNFINISHED / "history.jsonl").read_text()
    assert history.startswith(begun)
    assert len(history.splitlines()) == 12
    assert Results.read("small").counts.done == 6
    assert typed(capsys, "retry", retry.run, "run=small")[0] == 0
    assert Results.read("small").counts.waiting == 2


def test_the_best_network_is_loaded_with_its_weights(here):
    model = designspace.load("small", device="cpu")
    assert model.weights.about["selection"]["rank"] == 1
    assert error_of(model, here / "data" / "tiny") == pytest.approx(
        model.weights.about["result"]["final_error"], abs=1.6
    )
    assert designspace.load("small", id=BEST).weights.name == f"AnyNetXB {BEST}"


def test_a_finished_training_is_a_model_and_is_not_trained_again(here, capsys):
    before = files(here / "finished")
    model = designspace.load("finished", device="cpu")
    assert error_of(model, here / "data" / "tiny") == pytest.approx(6.25, abs=1.6)
    words = "run=small rank=1 data=tiny device=cpu recipe.epochs=8 recipe.batch_size=32 recipe.lr=0.05"
    words += " recipe.crop_padding=2 seed=1"
    assert typed(capsys, "train", train.run, *words.split(), "out=finished")[0] == 0
    after = files(here / "finished")
    assert {path: after[path] for path in before if path.suffix != ".txt"} == {
        path: content for path, content in before.items() if path.suffix != ".txt"
    }


def test_an_interrupted_training_is_resumed(here, capsys):
    begun = (here / "interrupted" / "history.csv").read_text()
    words = "run=small rank=1 data=tiny device=cpu recipe.epochs=8 recipe.batch_size=32 recipe.lr=0.05"
    words += " recipe.crop_padding=2 seed=1"
    assert typed(capsys, "train", train.run, *words.split(), "out=interrupted")[0] == 0
    rows = (here / "interrupted" / "history.csv").read_text().splitlines()
    assert rows[: len(begun.splitlines())] == begun.splitlines()
    losses = [
        [float(row["train_loss"]) for row in csv.DictReader(path.read_text().splitlines())]
        for path in (here / "interrupted" / "history.csv", WRITTEN / "finished" / "history.csv")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)  # the same training; other processors round in other ways
    assert designspace.load("interrupted").weights.name == f"AnyNetXB {BEST}"
