"""Labels other than one class per image: sampled, trained, measured and analysed through the commands."""

import re
import sys

import pytest
from data_sets import run_command

from designspace import analyze, launch, sample

LOADERS = """
import numpy as np
from designspace.data import image_data

IMAGES = np.random.default_rng(0).integers(0, 60_000, (120, 5, 16, 16)).astype(np.uint16)

def labels():
    return image_data(*split((IMAGES.reshape(120, 5, -1).mean(2) > 30_000).astype(np.uint8)))

def numbers():
    return image_data(*split((IMAGES.reshape(120, 5, -1).mean(2)[:, :2] / 60_000).astype(np.float32)))

def pixels():
    return image_data(*split((IMAGES[:, 0] > 30_000).astype(np.int64)), num_classes=2)

def split(labels):
    return (IMAGES[:100], labels[:100]), (IMAGES[100:], labels[100:])
"""
SAMPLE = ["space=AnyNetXA", "space.flops=[2e5,2e6]", "space.stem_width=8", "n=2"]
QUICK = ["recipe=quick", "recipe.epochs=1", "launcher.workers=1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with functions that load data."""
    (tmp_path / "target_loaders.py").write_text(LOADERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "target_loaders", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("loader", "refused", "options", "words"),
    [
        (
            "labels",
            "several classes per image: choose recipe.loss=binary_cross_entropy",
            ["recipe.loss=binary_cross_entropy", "recipe.metric=mean_average_precision"],
            "trials, and mean average precision, %",
        ),
        (
            "numbers",
            "numbers: choose recipe.loss=mean_absolute_error or mean_squared_error",
            ["recipe.loss=mean_squared_error", "recipe.metric=mean_absolute_error"],
            "trials, and mean absolute error",
        ),
        (
            "pixels",
            "choose recipe.loss=cross_entropy and recipe.metric=miou",
            ["recipe.metric=miou", "recipe.flip=false"],
            "trials, and mIoU",
        ),
    ],
)
def test_labels_of_every_kind_go_from_data_to_the_analysis(capsys, here, loader, refused, options, words):
    assert run_command(capsys, "sample", sample.run, f"data=target_loaders:{loader}", *SAMPLE, "run=r")[0] == 0
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK)
    assert (code, refused in errors) == (2, True), errors
    if loader == "pixels":
        errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK, options[0], "recipe.crop_padding=2")[2]
        assert "switch them off: recipe.flip=false recipe.crop_padding=0" in errors
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK, *options)
    assert code == 0, errors
    _, output, _ = run_command(capsys, "analyze", analyze.run, "runs=r")
    assert words in output
    assert re.search(r"^r +2 +2 +0 ", output, re.M), output


def test_labels_of_pixels_need_a_dense_head(capsys, here):
    dense = ["data=target_loaders:pixels", *SAMPLE, "space.head=linear", "run=r"]
    assert run_command(capsys, "sample", sample.run, *dense)[0] == 0
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK, "recipe.metric=miou")
    assert code == 2
    assert "so networks need a dense head, not linear: sample with space.head=dense" in errors
