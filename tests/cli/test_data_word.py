"""``data=pets``: one word for a data set in every command, and a run that remembers it."""

import json
import shlex

import pytest
from data_sets import pack_noise, typed

from designspace import launch, sample, train, verify
from designspace.cli import app
from designspace.cli.data_words import budget
from designspace.spaces.population_files import read_space
from designspace.trials.data_note import DataNote, read_note

QUICK = ["recipe=quick", "recipe.epochs=1", "launcher.workers=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of data sets with two of the same shape, one with a number for a name, and one of one class."""
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


def test_what_spellings_mean():
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
    ("words", "message"),
    [
        (
            ["data=dogs"],
            "unknown data set 'dogs'; choose from: fashion_mnist, cifar10, cifar100, 2020, cars, one, pets",
        ),
        (["data=pets", "data.name=cars"], "data=pets and data.name=cars are two data sets"),
        (["data=pets", "input=cifar10"], "data=pets and input=cifar10 are two data sets; leave input=cifar10 out"),
        (["data=folder"], "data.name=... must be given"),
        (["data=one"], "nothing can be learned from images of one class"),
        (["data=pets", "space.resolution=32"], "data=pets has images of 3 channels, 16 x 16 pixels and 3 classes, but"),
    ],
)
def test_bad_data_is_refused_by_sample(words, message, capsys, here):
    code, _, errors = typed(capsys, "sample", sample.run, *words, "n=2")
    assert code == 2
    assert message in errors
    assert not list(here.iterdir())


def test_networks_suit_small_images(capsys, here):
    assert typed(capsys, "sample", sample.run, "data=pets", "space=RegNetX", "n=3", "run=r")[0] == 0
    space = read_space(here / "r" / "space.yaml")
    template = space.template
    assert (template.resolution, template.num_classes, template.in_channels) == (16, 3, 3)
    assert (template.stem.kind, template.stem.width) == ("cifar", 16)
    assert [(band.low, band.high) for band in space.constraints] == [tuple(budget(16))]
    described = ["input=folder", "space.resolution=16", "space.num_classes=3", "space=RegNetX", "n=2", "run=s"]
    told = typed(capsys, "sample", sample.run, *described)[1]
    assert "the imagenet stem shrinks images that are small already: space.stem=cifar" in told
    assert "space.flops=[0.65e6,1.1e6] would suit" in told
    chosen = ["space.stem=resnet", "space.flops=[1e5,9e6]", "n=2", "run=t"]
    told = typed(capsys, "sample", sample.run, "data=pets", *chosen)[1]
    assert not any(hint in told for hint in ("shrinks images", "would suit"))
    assert read_space(here / "t" / "space.yaml").template.stem.kind == "resnet"


@pytest.mark.parametrize(
    "words",
    [
        ["data=pets"],
        ["data=2020"],
        ["input=folder", "space.resolution=8", "space.num_classes=2", "space.stem=cifar", "space.flops=[1e5,1e6]"],
    ],
)
def test_the_command_that_sample_prints_works(words, capsys, here):
    code, told, errors = typed(capsys, "sample", sample.run, *words, "space=RegNetX", "n=2", "run=runs/r")
    assert code == 0, errors
    *_, line = told.splitlines()
    assert line == "train them: python -m designspace.launch run=runs/r"
    code, told, errors = typed(capsys, "launch", launch.run, *shlex.split(line)[5:], "dry_run=true")
    assert code == 0, errors
    assert "2 trials on " in told


def test_images_that_are_not_prepared(capsys):
    told = typed(capsys, "sample", sample.run, "data=cifar10", "n=2", "run=a")[1]
    assert "prepare the images first: python -m designspace.prepare data=cifar10\n" in told
    told = typed(capsys, "sample", sample.run, "space=AnyNetXB", "n=2", "run=b")[1]
    assert "prepare the images first: python -m designspace.prepare data=imagenet from=" in told
    code, _, errors = typed(capsys, "launch", launch.run, "run=b")
    assert code == 2
    assert "imagenet is not prepared in" in errors
    assert "fashion_mnist" not in errors
    described = ["input=folder", "space.resolution=20", "space.num_classes=7", "n=2", "run=c"]
    told = typed(capsys, "sample", sample.run, *described)[1]
    assert "no data set in" in told
    assert "python -m designspace.prepare from=<folder of images> name=pets size=20" in told


def test_a_run_without_a_note(capsys, here):
    """As runs of earlier versions are: the data set is the only one that fits, or must be typed."""
    described = ["input=folder", "space.stem=cifar", "space.flops=[1e5,1e6]", "n=1"]
    typed(capsys, "sample", sample.run, *described, "space.resolution=16", "space.num_classes=3", "run=several")
    typed(capsys, "sample", sample.run, *described, "space.resolution=8", "space.num_classes=2", "run=single")
    assert read_note(here / "single") is None
    code, _, errors = typed(capsys, "launch", launch.run, "run=several", "dry_run=true")
    assert code == 2
    assert "several data sets have images of 3 x 16 x 16, 3 classes: 2020, pets. Choose one of them" in errors
    code, told, _ = typed(capsys, "launch", launch.run, "run=single", "dry_run=true")
    assert code == 0
    assert "note: cars is the only data set here that fits the networks of single" in told


def test_a_run_remembers_its_data_and_where_it_lies(capsys, here, monkeypatch, root):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(here / "empty"))
    assert typed(capsys, "sample", sample.run, "data=pets", f"data.root={root}", "n=1", "run=r")[0] == 0
    assert read_note(here / "r") == DataNote("pets", str(root))
    code, _, errors = typed(capsys, "launch", launch.run, "run=r", *QUICK)
    assert code == 0, errors
    told = typed(capsys, "train", train.run, "run=r", "dry_run=true", "device=cpu")[1]
    assert "pets: 60 training and 30 test images of 3 x 16 x 16" in told
    assert "pets" in typed(capsys, "verify", verify.run, "model=r", "device=cpu")[1]
    (here / "r" / "data.json").write_text("[]")
    code, _, errors = typed(capsys, "launch", launch.run, "run=r")
    assert code == 1
    assert "data.json does not name a data set" in errors


def test_more_networks_keep_the_note(capsys, here):
    typed(capsys, "sample", sample.run, "data=pets", "n=1", "run=r")
    assert typed(capsys, "sample", sample.run, "data=pets", "n=2", "run=r")[0] == 0
    assert json.loads((here / "r" / "data.json").read_text()) == {"name": "pets", "root": None}


def test_a_large_stem_on_small_images_is_remarked_on(capsys):
    words = ["model=regnetx_200mf", "data=pets", "dry_run=true", "recipe=quick", "device=cpu"]
    told = typed(capsys, "train", train.run, *words)[1]
    assert "note: at 16 x 16 pixels the imagenet stem and the stages leave maps of 1 x 1 pixels; stem=cifar" in told
    assert "note: pets has fewer images than recipe.train_images=2000, recipe.test_images=2000" in told
    assert "stem=cifar" not in typed(capsys, "train", train.run, *words, "stem=imagenet")[1]
