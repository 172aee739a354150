"""``data=mine:load`` and ``data=arrays`` in the commands, from arrays of 12 channels to the EDF."""

import json
import sys

import numpy as np
import pytest
from data_sets import run_command

import designspace
from designspace import analyze, data, launch, prepare, sample, train, verify
from designspace.analysis import Results
from designspace.cli import app
from designspace.data import own
from designspace.trials.data_note import read_note

MINE = """
import numpy as np

def load():
    random = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = random.integers(0, 20_000, (96, 12, 8, 8), np.uint16)
    images += (labels * 12_000).astype(np.uint16)[:, None, None, None]
    return {"train": (images, labels), "classes": ["water", "forest", "town"]}

def several():
    return load()["train"][0], np.arange(96 * 4).reshape(96, 4) % 2

def broken():
    images, labels = load()["train"]
    images = images.astype(np.float32)
    images[5] = np.nan
    return images, labels
"""
SMALL = ("space=RegNetX", "space.flops=[1e4,4e6]", "n=2")
QUICK = ("recipe=quick", "recipe.epochs=1", "recipe.batch_size=16", "launcher.workers=1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder with a user's module and arrays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "root"))
    (tmp_path / "mine.py").write_text(MINE)
    yield tmp_path
    sys.modules.pop("mine", None)


def save_arrays(here):
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = random.normal(280, 5, (60, 8, 8, 5)).astype(np.float32)
    for name, array in (("sat", images), ("labels", labels), ("test", images[:20]), ("test_labels", labels[:20])):
        np.save(here / f"{name}.npy", array)
    return ["data=arrays", "data.images=sat.npy", "data.labels=labels.npy"]


def test_twelve_channels_of_16_bits_from_code_to_the_edf(capsys, here):
    assert run_command(capsys, "sample", sample.run, "data=mine:load", *SMALL, "run=r")[0] == 0
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK)
    assert code == 0, errors
    note = read_note(here / "r")
    assert (note.name, note.own.counts, note.own.classes) == ("mine:load", (80, 16), ("water", "forest", "town"))
    assert note.own.describe == "images of 12 channels (uint16), 8 x 8 pixels and 3 classes"
    assert "data: mine:load" in (here / "r" / "recipe.yaml").read_text()
    assert next((here / "r" / "code").glob("*/mine.py")).read_text() == MINE
    assert run_command(capsys, "analyze", analyze.run, "runs=r")[0] == 0
    assert len(Results.read("r").errors()) == 2
    assert "top-1" in run_command(capsys, "verify", verify.run, "model=r", "device=cpu")[1]

    sys.modules.pop("mine")
    (here / "mine.py").write_text("raise SystemExit('what reads a run must not import this')")
    model = designspace.load("r")
    assert model.weights.classes == ("water", "forest", "town")
    assert (model.weights.preset.dtype, len(model.weights.preset.mean)) == ("uint16", 12)
    own._loaded.cache_clear()  # as in a new process
    (here / "mine.py").write_text(MINE.replace("np.arange(96) % 3", "np.arange(96) // 32"))
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", "seeds=2")
    assert code == 2
    assert "mine:load has changed since r was sampled for it" in errors


def test_described_arrays_are_a_data_set_for_all_commands(capsys, here):
    arguments = [*save_arrays(here), "data.test_images=test.npy", "data.test_labels=test_labels.npy"]
    assert run_command(capsys, "sample", sample.run, *arguments, *SMALL, "run=r")[0] == 0
    assert read_note(here / "r").own.files[0] == str(here / "sat.npy")
    code, output, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK, "dry_run=true")
    assert code == 0, errors
    assert "sat, in" in output
    code, _, errors = run_command(
        capsys, "train", train.run, "data=sat", "run=r", "id=" + ids(here)[0], *QUICK[:3], "device=cpu", "out=one"
    )
    assert code == 0, errors
    assert "sat" in run_command(capsys, "verify", verify.run, "model=one", "device=cpu")[1]
    assert json.loads((here / "one" / "network.json").read_text())["preset"]["dtype"] == "float32"
    assert "in the units of the training images, subtract the mean 2" in (here / "one" / "README.md").read_text()
    assert "sat is complete" in run_command(capsys, "prepare", prepare.run, "data=sat")[1]
    taken = run_command(capsys, "prepare", prepare.run, "from=images", "name=sat", "size=8")
    assert (taken[0], "sat already is a data set of arrays; choose another name=" in taken[2]) == (2, True)
    note = (here / "r" / "data.json").read_text()
    for damage in ('"size": "large"', '"size": null', '"unknown": 1'):
        (here / "r" / "data.json").write_text(note.replace('"size": 8', damage))
        code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK)
        assert (code, "data.json does not name a data set" in errors) == (1, True)
    (here / "r" / "data.json").write_text(note)
    np.save(here / "sat.npy", np.load(here / "sat.npy") + 1)
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK)
    assert code == 1
    assert "sat.npy has changed since it was described" in errors


def ids(run):
    return [line.split(",")[0] for line in (run / "r" / "population.csv").read_text().splitlines()[1:]]


def test_all_commands_take_the_options(capsys, here, monkeypatch):
    monkeypatch.syspath_prepend(here)
    arguments = [*save_arrays(here), "data.name=places"]
    for command, more in (("launch", ["run=x"]), ("train", []), ("prepare", []), ("sample", []), ("explore", [])):
        composed = app.compose(command, [*more, *arguments])
        assert composed["data"]["name"] == "places", command
        assert app.compose(command, [*more, "data=mine:load"])["data"]["name"] == "mine:load"
        if "space" in composed:
            assert (composed["space"]["in_channels"], composed["space"]["resolution"]) == (5, 8)
    assert app.compose("verify", ["model=m", *arguments])["data"] == "places"
    assert app.compose("verify", ["model=m", "data=mine:load"])["data"] == "mine:load"
    output = run_command(capsys, "train", train.run, "model=RegNetX-200MF", "data=mine:load", "dry_run=true")[1]
    assert "mine:load: 80 training and 16 test images of 12 x 8 x 8" in output
    assert "regnetx_200mf-mine-load" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=mine:missing"], "data: mine:missing cannot be imported"),
        (["data=nowhere:load"], "is it in the working folder or on PYTHONPATH"),
        (["data=mine:broken"], "mine:broken: train_images: image 5 has values that are NaN or infinite"),
        (["data=mine:load", "space.num_classes=4"], "data=mine:load has images of 12 channels (uint16), 8 x 8"),
        (["data=arrays"], "data=arrays needs data.images=... and data.labels=..., two .npy files"),
        (["data=arrays", "data.images=mine.py", "data.labels=mine.py"], "mine.py is not a .npy file of numbers"),
        (["data.images=sat.npy"], "unknown option 'data.images'; it needs data=arrays"),
    ],
)
def test_errors_before_anything_is_written(arguments, message, capsys, here):
    code, _, errors = run_command(capsys, "sample", sample.run, *arguments, *SMALL, "run=r")
    assert code == 2
    assert message in errors
    assert sorted(path.name for path in here.iterdir() if path.name != "__pycache__") == ["mine.py"]


def test_recipes_and_labels_that_do_not_fit_are_errors_before_training(capsys, here):
    run_command(capsys, "sample", sample.run, "data=mine:load", *SMALL, "run=r")
    for change, message in (
        ("recipe.policy=autoaugment", "recipe: policy is for images of 1 or 3 channels, but these have 12"),
        (
            "data=mine:several",
            "but mine:several has images of 12 channels (uint16), 8 x 8 pixels and 4 labels per image",
        ),
        ("data=mine:", "data must be package.module:name"),
    ):
        code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK, change)
        assert (code, message in errors) == (2, True), errors
    run_command(capsys, "sample", sample.run, "data=mine:several", *SMALL, "run=s")
    errors = run_command(capsys, "launch", launch.run, "run=s", *QUICK)[2]
    assert "recipe.loss=cross_entropy does not fit mine:several, whose labels are several classes per image" in errors
    assert not (here / "s" / "recipe.yaml").exists()


def test_arrays_in_memory_train_without_any_command(network, one_thread):
    random = np.random.default_rng(0)
    images, labels = random.random((40, 2, 8, 8), np.float32), np.arange(40) % 3
    made = data.image_data((images, labels), name="notebook")
    recipe = designspace.Recipe(data="notebook", epochs=1, batch_size=16)
    assert designspace.train_network(network, recipe, made, device="cpu").epochs == 1
