"""``data=pets``: the same option for data sets in all commands, and its record in the run."""

import json
import shlex

import pytest
from data_sets import pack_noise, run_command

from designspace import launch, sample, train, verify
from designspace.cli import app
from designspace.cli.data_option import budget
from designspace.spaces.population_files import read_space
from designspace.trials.data_note import DataNote, read_note

QUICK = ["recipe=quick", "recipe.epochs=1", "launcher.workers=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of data sets: two with the same shape, of which one has a number as its name, and one with one class."""
    root = tmp_path_factory.mktemp("root")
    for name in ("pets", "2020"):
        pack_noise(root, name)
    pack_noise(root, "cars", size=8, classes=2)
    pack_noise(root, "one", classes=1, train=4, test=4)
    return root


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(root))
    return tmp_path


def test_all_forms_of_the_option_are_equivalent():
    for command, more in (("launch", ["run=x"]), ("train", []), ("prepare", []), ("sample", []), ("explore", [])):
        short = app.compose(command, [*more, "data=pets"])
        assert short == app.compose(command, ["data=folder", *more, "data.name=pets"]), command
        assert short["data"]["name"] == "pets"
        assert app.compose(command, [*more, "data=cifar10"])["data"]["name"] == "cifar10"
        assert app.compose(command, [*more, "data=2020"])["data"]["name"] == "2020"
    assert app.compose("verify", ["model=m", "data=folder", "data.name=pets", "data.root=a"])["data"] == "pets"
    assert app.compose("verify", ["model=m", "data=folder"])["data"] == "folder"
    assert app.compose("sample", ["input=cifar10"]) == app.compose("sample", ["data=cifar10"])
    assert app.compose("sample", [])["data"]["name"] == "imagenet"
    assert app.compose("explore", ["data=pets"])["space"]["num_classes"] == 3
    assert app.compose("sample", ["data=pets", "space.flops=null"])["space"]["flops"] is None
    described = app.compose("sample", ["input=folder", "space.resolution=16", "space.num_classes=3"])
    assert described["data"]["name"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["data=dogs"],
            "unknown data set 'dogs'; choose from: fashion_mnist, cifar10, cifar100, 2020, cars, one, pets",
        ),
        (["data=pets", "data.name=cars"], "data=pets and data.name=cars are two data sets"),
        (["data=pets", "input=cifar10"], "data=pets and input=cifar10 are two data sets; leave out input=cifar10"),
        (["data=folder"], "data.name=... must be given"),
        (["data=one"], "images of a single class cannot be used for training"),
        (["data=pets", "space.resolution=32"], "data=pets has images of 3 channels, 16 x 16 pixels and 3 classes, but"),
    ],
)
def test_sample_rejects_invalid_data_sets(arguments, message, capsys, here):
    code, _, errors = run_command(capsys, "sample", sample.run, *arguments, "n=2")
    assert code == 2
    assert message in errors
    assert not list(here.iterdir())


def test_networks_are_adapted_to_small_images(capsys, here):
    assert run_command(capsys, "sample", sample.run, "data=pets", "space=RegNetX", "n=3", "run=r")[0] == 0
    space = read_space(here / "r" / "space.yaml")
    template = space.template
    assert (template.resolution, template.num_classes, template.in_channels) == (16, 3, 3)
    assert (template.stem.kind, template.stem.width) == ("cifar", 16)
    assert [(band.low, band.high) for band in space.constraints] == [tuple(budget(16))]
    described = ["input=folder", "space.resolution=16", "space.num_classes=3", "space=RegNetX", "n=2", "run=s"]
    output = run_command(capsys, "sample", sample.run, *described)[1]
    assert "the imagenet stem shrinks images that are already small; space.stem=cifar" in output
    assert "space.flops=[0.65e6,1.1e6] would suit" in output
    chosen = ["space.stem=resnet", "space.flops=[1e5,9e6]", "n=2", "run=t"]
    output = run_command(capsys, "sample", sample.run, "data=pets", *chosen)[1]
    assert not any(hint in output for hint in ("shrinks images", "would suit"))
    assert read_space(here / "t" / "space.yaml").template.stem.kind == "resnet"


@pytest.mark.parametrize(
    "arguments",
    [
        ["data=pets"],
        ["data=2020"],
        ["input=folder", "space.resolution=8", "space.num_classes=2", "space.stem=cifar", "space.flops=[1e5,1e6]"],
    ],
)
def test_the_command_that_sample_prints_works(arguments, capsys, here):
    code, output, errors = run_command(capsys, "sample", sample.run, *arguments, "space=RegNetX", "n=2", "run=runs/r")
    assert code == 0, errors
    *_, line = output.splitlines()
    assert line == "train them: python -m designspace.launch run=runs/r"
    code, output, errors = run_command(capsys, "launch", launch.run, *shlex.split(line)[5:], "dry_run=true")
    assert code == 0, errors
    assert "2 trials on " in output


def test_sample_prints_how_to_prepare_missing_images(capsys):
    output = run_command(capsys, "sample", sample.run, "data=cifar10", "n=2", "run=a")[1]
    assert "prepare the images first: python -m designspace.prepare data=cifar10\n" in output
    output = run_command(capsys, "sample", sample.run, "space=AnyNetXB", "n=2", "run=b")[1]
    assert "prepare the images first: python -m designspace.prepare data=imagenet from=" in output
    code, _, errors = run_command(capsys, "launch", launch.run, "run=b")
    assert code == 2
    assert "imagenet is not prepared in" in errors
    assert "fashion_mnist" not in errors
    described = ["input=folder", "space.resolution=20", "space.num_classes=7", "n=2", "run=c"]
    output = run_command(capsys, "sample", sample.run, *described)[1]
    assert "no data set in" in output
    assert "python -m designspace.prepare from=<folder of images> name=pets size=20" in output


def test_a_run_without_a_recorded_data_set(capsys, here):
    """Like runs of earlier versions: the only matching data set is used; if there are several, one must be given."""
    described = ["input=folder", "space.stem=cifar", "space.flops=[1e5,1e6]", "n=1"]
    run_command(capsys, "sample", sample.run, *described, "space.resolution=16", "space.num_classes=3", "run=several")
    run_command(capsys, "sample", sample.run, *described, "space.resolution=8", "space.num_classes=2", "run=single")
    assert read_note(here / "single") is None
    code, _, errors = run_command(capsys, "launch", launch.run, "run=several", "dry_run=true")
    assert code == 2
    assert "several data sets have images of 3 x 16 x 16, 3 classes: 2020, pets. Choose one of them" in errors
    code, output, _ = run_command(capsys, "launch", launch.run, "run=single", "dry_run=true")
    assert code == 0
    assert "note: using cars, the only data set here that fits the networks of single" in output


def test_a_run_records_its_data_set_and_its_folder(capsys, here, monkeypatch, root):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(here / "empty"))
    assert run_command(capsys, "sample", sample.run, "data=pets", f"data.root={root}", "n=1", "run=r")[0] == 0
    assert read_note(here / "r") == DataNote("pets", str(root))
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK)
    assert code == 0, errors
    output = run_command(capsys, "train", train.run, "run=r", "dry_run=true", "device=cpu")[1]
    assert "pets: 60 training and 30 test images of 3 x 16 x 16" in output
    assert "pets" in run_command(capsys, "verify", verify.run, "model=r", "device=cpu")[1]
    (here / "r" / "data.json").write_text("[]")
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r")
    assert code == 1
    assert "data.json does not name a data set" in errors


def test_extending_a_run_keeps_the_recorded_data_set(capsys, here):
    run_command(capsys, "sample", sample.run, "data=pets", "n=1", "run=r")
    assert run_command(capsys, "sample", sample.run, "data=pets", "n=2", "run=r")[0] == 0
    assert json.loads((here / "r" / "data.json").read_text()) == {"name": "pets", "root": None}


def test_a_note_is_printed_for_a_large_stem_on_small_images(capsys):
    arguments = ["model=regnetx_200mf", "data=pets", "dry_run=true", "recipe=quick", "device=cpu"]
    output = run_command(capsys, "train", train.run, *arguments)[1]
    assert "note: at 16 x 16 pixels the imagenet stem and the stages leave maps of 1 x 1 pixels; stem=cifar" in output
    assert "note: pets has fewer images than recipe.train_images=2000, recipe.test_images=2000" in output
    assert "stem=cifar" not in run_command(capsys, "train", train.run, *arguments, "stem=imagenet")[1]
