"""Custom images on the command line, from their folder to a trained network."""

import os

import numpy as np
import pytest
from PIL import Image
from test_commands import designspace, fails

from designspace import prepare
from designspace.cli import app
from designspace.data import classes as class_names
from designspace.data import imagenet, packed
from designspace.data.packing import pack
from designspace.data.splits import find_splits
from designspace.library import load


@pytest.fixture
def flowers(tmp_path):
    """A folder of three classes of 20 images, each of its own colour."""
    for label, name in enumerate(("daisy", "rose", "tulip")):
        for i in range(20):
            pixels = np.random.default_rng(20 * label + i).integers(0, 100, (24, 30, 3), np.uint8)
            pixels[:, :, label] += 120
            path = tmp_path / "flowers" / name / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path / "flowers"


def run(root, *arguments):
    """Run the command in this process."""
    prepare.run(app.options(prepare.Options, "prepare", [*arguments, f"data.root={root}"]))


def test_from_a_folder_to_a_trained_network(flowers, tmp_path):
    (flowers / "rose" / "20.jpg").write_bytes(b"no image")
    root = f"data.root={tmp_path / 'root'}"
    packing = ["data=folder", f"from={flowers}", "name=flowers", "size=16", "heldout=0.25", "workers=2", root]
    finished = designspace("prepare", *packing, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    for text in (
        "flowers is complete in",
        "45 training and 15 test images of 16 x 16 pixels in 3 classes",
        "warning: 1 image is left out",
        "rose/20.jpg: it is not an image that Pillow can read",
        "sample data=flowers",
        "train data=flowers",
    ):
        assert text in finished.stdout
    assert "images packed 61/61" in finished.stderr
    sample = ["space=RegNetX", "input=folder", "space.resolution=16", "space.num_classes=3", "n=1", "run=r"]
    finished = designspace("sample", *sample, "space.stem=cifar", "space.flops=[1e5,4e6]", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    launch = [
        "run=r",
        "data=folder",
        "data.name=flowers",
        root,
        "recipe=quick",
        "recipe.epochs=2",
        "launcher.workers=1",
    ]
    sizes = ["recipe.train_images=null", "recipe.test_images=null", "recipe.batch_size=16", "launcher.device=cpu"]
    finished = designspace("launch", *launch, *sizes, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    model = load(tmp_path / "r")  # finds the data set where the launch found it
    assert model.weights.classes == ("daisy", "rose", "tulip")
    assert model.weights.preset.mean == packed.read_packed(tmp_path / "root" / "flowers").mean
    finished = designspace("launch", "run=r", root, cwd=tmp_path)  # the run has recorded its data set
    assert finished.returncode == 0, finished.stderr
    finished = designspace("launch", "run=r", "data=cifar100", root, cwd=tmp_path)
    fails(finished, 2, "cifar100 has images of 3 channels, 32 x 32 pixels and 100 classes", "data=cifar100")


def test_files_left_out_and_class_numbers_are_printed(flowers, tmp_path, capsys):
    for name, number in (("daisy", "1"), ("rose", "2"), ("tulip", "10")):
        (flowers / name).rename(flowers / number)
    (flowers / "1" / "x.heic").write_bytes(b"")
    arguments = ["data=folder", f"from={flowers}", "name=flowers", "size=16", "heldout=0.25", "workers=1"]
    run(tmp_path / "root", *arguments)
    output = capsys.readouterr().out
    assert f"left out of {flowers}: 1 .heic\n" in output
    assert "classes 0 to 2: 1 is class 0, 2 is class 1, 10 is class 2" in output
    assert packed.read_packed(tmp_path / "root" / "flowers").classes == ("1", "2", "10")


def test_a_data_set_that_was_packed_in_another_order_keeps_it(flowers, tmp_path, capsys, monkeypatch):
    for name, number in (("daisy", "1"), ("rose", "2"), ("tulip", "10")):
        (flowers / name).rename(flowers / number)
    arguments = ["data=folder", f"from={flowers}", "name=flowers", "size=16", "heldout=0.25", "workers=1"]
    monkeypatch.setattr(
        class_names, "sort_classes", lambda names, recorded=(): tuple(sorted(names))
    )  # as in earlier versions
    run(tmp_path / "root", *arguments)
    monkeypatch.undo()
    before = packed.read_packed(tmp_path / "root" / "flowers")
    assert before.classes == ("1", "10", "2")
    run(tmp_path / "root", *arguments)
    assert packed.read_packed(tmp_path / "root" / "flowers") == before
    assert "classes 0 to 2: 1 is class 0, 10 is class 1\n" in capsys.readouterr().out


def test_a_single_class_gives_a_warning(flowers, tmp_path, capsys):
    for name in ("rose", "tulip"):
        (flowers / name).rename(tmp_path / name)
    arguments = ["data=folder", f"from={flowers}", "name=flowers", "size=16", "workers=1"]
    run(tmp_path / "root", *arguments, "heldout=0.25")
    assert "warning: daisy is the only class folder; training a network needs two" in capsys.readouterr().out


def test_paths_that_are_not_utf8_are_escaped(flowers, tmp_path, capsys):
    strange = tmp_path / os.fsdecode(b"caf\xe9")
    flowers.rename(strange)
    (strange / "rose" / os.fsdecode(b"\xe9.jpg")).write_bytes(b"no image")
    packed_set = pack(find_splits(strange, 0.25), tmp_path / "root" / "flowers", 16, 1)
    assert packed_set.source == f"{tmp_path}/caf\\xe9"
    (reason,) = packed_set.train.unreadable + packed_set.test.unreadable
    assert reason.startswith(f"cannot read {tmp_path}/caf\\xe9/rose/\\xe9.jpg: ")


def test_a_packed_data_set_can_be_checked_by_its_name(flowers, tmp_path, capsys):
    run(tmp_path / "root", "data=folder", f"from={flowers}", "name=2020", "size=8", "heldout=0.25", "workers=1")
    capsys.readouterr()
    run(tmp_path / "root", "data=folder", "name=2020")
    assert capsys.readouterr().out == f"2020 is complete in {tmp_path / 'root'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=folder", "size=8"], "name=... must be given"),
        (["data=folder", "name=a", "from=x"], "size=... must be given"),
        (["data=folder", "name=a", "from=x", "size=8"], "x must hold train/<class>/<image>"),
        (["data=folder", "name=a", "from=x", "size=8", "heldout=0.1"], "x is not a folder"),
        (["data=folder", "name=a", "from=[x,y]", "size=8"], "from=... must be one folder, not x, y"),
        (["data=folder", "name=a/b", "from=x", "size=8"], "name must consist of letters"),
        (["data=cifar10", "from=x", "size=8"], "name=cifar10 belongs to a data set that is fetched"),
        (["data=folder", "name=a"], "unknown data set 'a'"),
        (["data=imagenet", "from=[x.tar]"], "x.tar is not an archive of ImageNet"),
        (["data=imagenet"], "ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz must be among from="),
    ],
)
def test_bad_input(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        run(tmp_path / "root", *arguments)


@pytest.mark.parametrize("name", ["", "imagenet-8"])
def test_imagenet_is_extracted_and_packed(flowers, tmp_path, monkeypatch, capsys, name):
    def extract(archives, root, *, check, on_progress):
        """Act as if the archives contained the flowers."""
        assert ([str(path) for path in archives], check) == (["a.tar", "b.tar"], False)
        on_progress(120, 120)
        folder = root / "imagenet"
        for split in ("train", "val"):
            (folder / split).parent.mkdir(parents=True, exist_ok=True)
            (folder / split).symlink_to(flowers)
        return folder

    monkeypatch.setattr(imagenet, "extract", extract)
    more = [f"name={name}"] if name else []
    run(tmp_path / "root", "data=imagenet", "from=[a.tar,b.tar]", "check=false", "size=8", "workers=1", *more)
    output = capsys.readouterr().out
    assert "imagenet is complete in" in output
    assert f"sample data={name or 'imagenet'} " in output
    assert packed.read_packed(tmp_path / "root" / (name or "imagenet")).train.images == 60
