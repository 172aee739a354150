"""`python -m designspace.verify` on the command line."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from interrupts import start_interruptible
from PIL import Image

from designspace import verify
from designspace.cli import app
from designspace.data.image_folder import ImageFolder
from designspace.data.presets import Preset
from designspace.library.saved import write_model
from designspace.library.verification import verify as measure
from designspace.models import AnyNet, create_model
from designspace.models.info import ModelInfo, PublishedAccuracy
from designspace.networks.network import Network, Stage, Stem

# Python 3.12 and later warn about forking a process with threads, as torch's loader does.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

PRESET = Preset(24, 28, "bicubic")
NETWORK = Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 8),), num_classes=6)


def model():
    """Return a network for six classes."""
    return AnyNet(NETWORK)


def write_model_folder(path, network=NETWORK, preset=PRESET, published=None):
    """Write a model folder and return its path."""
    info = ModelInfo("mine", preset, origin="a run of mine", licence="MIT", published=published)
    write_model(path, AnyNet(network), info)
    return path


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    """Set a width at which no row of a table is wrapped, even with long folder names."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path):
    """A folder with six classes of four images each."""
    random = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "images ü" / f"class {i % 6}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize((40 + i, 50), 3).save(path)
    return tmp_path / "images ü"


@pytest.fixture
def mine(tmp_path):
    """The path of a model folder."""
    return write_model_folder(tmp_path / "mine")


def run_command(capsys, *arguments):
    """Run the command in this process; return its exit code, output and error output."""
    code = 0
    try:
        app.main("verify", verify.run, ["device=cpu", "workers=0", *arguments], resumes=False)
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def rows(output):
    """Return key -> value for the rows of the first table."""
    return {line.split()[0]: line.partition(" ")[2].strip() for line in output.partition("\n\n")[0].splitlines()}


def test_errors_by_class(capsys, folder, mine, tmp_path):
    details = tmp_path / "details"
    code, output, errors = run_command(capsys, f"model={mine}", f'data="{folder}"', f"details={details}")
    assert code == 0, errors
    confusion = pd.read_csv(details / "confusion.csv", index_col="class")
    classes = pd.read_csv(details / "classes.csv", index_col="class")
    names = [f"class {number}" for number in range(6)]
    assert list(confusion.columns) == list(confusion.index) == list(classes.index) == names
    counts = confusion.to_numpy()
    assert (counts.sum(1) == 4).all()
    assert list(classes["images"]) == [4] * 6
    np.testing.assert_allclose(classes["error"], 100 * (1 - counts.diagonal() / 4))
    assert f"{100 * counts.trace() / 24:.2f}%" == rows(output)["top-1"]
    expected = measure(model(), ImageFolder.of(folder), PRESET, workers=0).confusion
    assert (counts == expected).all()
    table = output.partition("classes with the highest error\n")[2].splitlines()
    assert table[0].split() == ["class", "images", "error,", "%", "most", "often", "taken", "for"]
    assert len(table) == 6
    assert run_command(capsys, f"model={mine}", f'data="{folder}"', f"details={details}")[0] == 0  # again


def test_a_folder_of_class_folders_is_measured(capsys, folder, mine):
    code, output, errors = run_command(capsys, f"model={mine}", f'data="{folder}"', "batch_size=5")
    assert code == 0, errors
    result = measure(model(), ImageFolder.of(folder), PRESET, workers=2)
    assert rows(output) == {
        "model": str(mine),
        "data": str(folder),
        "top-1": f"{result.top1:.2f}%",
        "top-5": f"{result.top5:.2f}%",
        "images": "24 in 6 classes",
        "classes": "in the order of the folders, because the model has no names of classes",
        "preprocessing": "resize 28, crop 24, bicubic",
        "weights": "a run of mine",
        "licence": "MIT",
    }
    lines = errors.splitlines()
    assert lines[0].startswith("images 5/24, ")
    assert lines[-1].startswith("images 24/24, ")
    assert lines[-1].endswith(f" images/s, top-1 {result.top1:.2f}%")


def test_another_preprocessing_is_used_and_printed(capsys, folder, mine):
    code, output, _ = run_command(capsys, f"model={mine}", f'data="{folder}"', "crop=36", "interpolation=bilinear")
    assert code == 0
    assert rows(output)["preprocessing"] == "resize 42, crop 36, bilinear"
    result = measure(model(), ImageFolder.of(folder), Preset(36, 42), workers=0)
    assert rows(output)["top-1"] == f"{result.top1:.2f}%"


def test_the_number_of_images_can_be_limited(capsys, folder, mine):
    code, output, _ = run_command(capsys, f"model={mine}", f'data="{folder}"', "images=12")
    assert code == 0
    assert rows(output)["images"] == "12 in 6 classes"


def test_a_prepared_data_set_is_found_by_name(capsys, tmp_path, data_root):
    network = Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 8),), num_classes=10)
    folder = write_model_folder(tmp_path / "ten", network, Preset(16, 16))
    arguments = (f"model={folder}", "data=patterns", f"root={data_root}", "images=200")
    code, output, errors = run_command(capsys, *arguments)
    assert code == 0, errors
    assert rows(output)["images"] == "200 in 10 classes"
    assert "preprocessing" not in rows(output)
    code, _, errors = run_command(capsys, *arguments, "crop=12")
    assert code == 2
    assert "images of patterns keep their size" in errors


def test_the_published_figure_is_printed(capsys, folder, tmp_path):
    path = write_model_folder(tmp_path / "theirs", published=PublishedAccuracy("timm:pycls_in1k", 72.48))
    code, output, _ = run_command(capsys, f"model={path}", f'data="{folder}"', "crop=20")
    assert code == 0
    assert output.splitlines()[-1] == (
        "top-1 is not comparable with the published 72.48% (timm:pycls_in1k): crop is 20, not 24; resize is 23, "
        "not 28; it is for ImageNet's 50,000 validation images in 1,000 classes, not for 24 in 6"
    )


def test_unreadable_images_are_listed_at_the_end(capsys, folder, mine):
    for name in ("class 1/1.jpg", "class 4/22.jpg"):
        (folder / name).write_bytes(b"")
    code, output, errors = run_command(capsys, f"model={mine}", f'data="{folder}"')
    assert code == 1
    assert rows(output)["images"] == "22 in 6 classes"
    assert "designspace.verify: 2 of 24 images are left out, because they cannot be read:\n" in errors
    assert f"\n  cannot read {folder}/class 4/22.jpg: it is not an image that Pillow can read\n" in errors


def test_nan_is_an_error(capsys, folder, tmp_path):
    """The weights are finite, but the feature maps are not."""
    broken = model()
    with torch.no_grad():
        broken.stem.norm.weight.fill_(3e38)
        broken.stages[0][0].transform.conv1.norm.weight.fill_(3e38)
    write_model(tmp_path / "broken", broken, ModelInfo("broken", PRESET, "a run of mine", "MIT"))
    code, output, errors = run_command(capsys, f"model={tmp_path / 'broken'}", f'data="{folder}"')
    assert (code, output) == (1, "")
    assert "the model returns NaN" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=resnest51", "data=FOLDER"], "unknown network 'resnest51'; did you mean resnest50"),
        (["model=MINE/none", "data=FOLDER"], "mine/none is not a model folder or run folder"),
        (
            ["model=FOLDER/class 1/1.jpg", "data=FOLDER"],
            "1.jpg is a file; if it contains weights, type model=<name of the net",
        ),
        (
            ["model=MINE", "data=nothing"],
            "'nothing' is neither a folder nor a name; data must be a folder of class folders",
        ),
        (["model=MINE", "data=cifar1000"], "'cifar1000' is neither"),
        (["model=MINE", "data=nothing", "dta=x"], "unknown option 'dta'; did you mean data?"),
        (["model=MINE", "root=MINE"], "mine/imagenet/val is not a folder"),
        (["data=FOLDER"], "model=... must be given"),
        (["model=MINE", "data=FOLDER/.."], "no images in the class folders mine;"),
        (["model=MINE", "data=FOLDER/class 1"], "class 1 has 4 images but no class folders"),
        (["model=MINE", "data=FOLDER", "weights=timm"], "has its own weights"),
        (["model=MINE", "data=FOLDER", "images=25"], "images must be 1 to 24, not 25"),
        (["model=MINE", "data=FOLDER", "crop=40", "resize=30"], "not crop=40, resize=30"),
        (
            ["model=MINE", "data=FOLDER", "interpolation=nearest"],
            "unknown interpolation 'nearest'; choose from: bilinear",
        ),
        (["model=MINE", "data=FOLDER", "batch_size=0"], "batch_size must be a whole number >= 1, not 0"),
        (["model=MINE", "data=FOLDER", "tolerance=much"], "tolerance must be a number of points >= 0, not 'much'"),
        (["model=MINE", "data=FOLDER", "device=gpu"], "cannot use device 'gpu'"),
    ],
)
def test_bad_input(capsys, folder, mine, arguments, message):
    filled = [word.replace("FOLDER", f'"{folder}').replace("MINE", f'"{mine}') for word in arguments]
    code, output, errors = run_command(capsys, *(word + '"' * word.count('"') for word in filled))
    assert (code, output) == (2, ""), errors
    assert message in errors
    assert errors.startswith("designspace.verify: ")


def test_a_network_with_other_classes_is_an_error(capsys, folder):
    code, _, errors = run_command(capsys, "model=regnetx_200mf", f'data="{folder}"', "crop=32")
    assert code == 2, errors
    expected = (
        "6 classes, and 6 of them are not among the 1000 of the model: class 0, class 1, class 2, class 3, class 4"
    )
    assert f"folder {folder} has {expected} and 1 more; the model has n01440764, " in errors


CLASSES = tuple(f"class {i}" for i in (3, 0, 4, 1, 5, 2))


def test_classes_are_matched_by_name(capsys, folder, tmp_path):
    """The classes of the model have another order than the folders, as in a model that was trained elsewhere."""
    network = AnyNet(NETWORK, seed=5)
    write_model(tmp_path / "named", network, ModelInfo("mine", PRESET, "a run of mine", "MIT", CLASSES))
    listed = ImageFolder.of(folder)
    numbers = [CLASSES.index(f"class {label}") for label in listed.labels]
    expected = measure(network, ImageFolder.of(folder).with_classes(CLASSES, "the model"), PRESET, workers=0)
    assert sorted(numbers) == listed.with_classes(CLASSES, "the model").labels.tolist()
    code, output, errors = run_command(capsys, f"model={tmp_path / 'named'}", f'data="{folder}"')
    assert code == 0, errors
    assert rows(output)["top-1"] == f"{expected.top1:.2f}%"
    assert rows(output)["classes"] == "all, matched by name"
    network.weights = ModelInfo("mine", PRESET, "a run of mine", "MIT", CLASSES)
    assert measure(network, listed, PRESET, workers=0) == expected


def test_images_may_have_only_some_classes_of_the_model(capsys, folder, tmp_path):
    write_model(tmp_path / "named", model(), ModelInfo("mine", PRESET, "a run of mine", "MIT", CLASSES))
    for name in ("class 0", "class 3"):
        (folder / name).rename(tmp_path / name)
    code, output, errors = run_command(capsys, f"model={tmp_path / 'named'}", f'data="{folder}"')
    assert code == 0, errors
    assert rows(output)["images"] == "16 in 4 classes"
    assert rows(output)["classes"] == "4 of the model's 6, matched by name"
    (folder / "class 1").rename(folder / "class 9")
    code, _, errors = run_command(capsys, f"model={tmp_path / 'named'}", f'data="{folder}"')
    assert code == 2
    assert "1 of them are not among the 6 of the model: class 9; the model has class 3, class 0, " in errors


def test_files_left_out_are_printed(capsys, folder, mine):
    (folder / "class 0" / "x.heic").write_bytes(b"")
    code, output, errors = run_command(capsys, f"model={mine}", f'data="{folder}"')
    assert code == 0, errors
    assert rows(output)["left"].split() == ["out", "1", ".heic"]


@pytest.mark.parametrize("names", [[f"{i}" for i in range(1000)], [f"name {i}" for i in range(1000)]])
def test_published_weights_need_the_classes_of_imagenet(capsys, folder, tmp_path, names, monkeypatch):
    """Numbers are accepted as in ImageNetV2; other names are rejected before any weights are downloaded."""
    monkeypatch.setattr(verify.zoo, "create_model", _stop)
    for name in names:
        (tmp_path / "thousand" / name).mkdir(parents=True)
        os.link(folder / "class 0" / "0.jpg", tmp_path / "thousand" / name / f"{name}.jpg")
    if names[0] == "0":
        with pytest.raises(RuntimeError, match="would fetch"):
            verify.load("regnetx_200mf", None, ImageFolder.of(tmp_path / "thousand"))
    else:
        code, _, errors = run_command(capsys, "model=regnetx_200mf", f"data={tmp_path / 'thousand'}")
        assert code == 2
        assert "1000 of them are not among the 1000 of the model: name 0, name 1, " in errors


def _stop(*args, **options):
    raise RuntimeError("would fetch")


def test_weights_of_another_network_are_rejected(capsys, folder, tmp_path):
    """Errors about the file are passed on unchanged."""
    thousand = tmp_path / "thousand"
    for i in range(1000):
        (thousand / f"{i:03}").mkdir(parents=True)
        (thousand / f"{i:03}" / "0.jpg").symlink_to(folder / "class 0" / "0.jpg")
    torch.save(create_model("regnetx_200mf").state_dict(), tmp_path / "x.pth")
    arguments = (f"data={thousand}", f"weights={tmp_path}/x.pth")
    code, _, errors = run_command(capsys, "model=regnety_200mf", *arguments)
    assert code == 2
    assert "these are not the keys of regnety_200mf" in errors
    code, output, errors = run_command(
        capsys, "model=regnetx_200mf", *arguments, "crop=32", "images=1000", "batch_size=250"
    )
    assert code == 0, errors
    assert rows(output.partition("\n\n")[0])["licence"] == "unknown"
    assert "is not comparable with the published 68.91%" in output
    (tmp_path / "x.pth").write_bytes((tmp_path / "x.pth").read_bytes()[:-1000])
    code, _, errors = run_command(capsys, "model=regnetx_200mf", *arguments)
    assert code == 1
    assert "x.pth: it is cut off, or damaged" in errors


def test_ctrl_c_stops_cleanly(folder, mine):
    """The readers also get the signal of the terminal; they print nothing, and none is left running."""
    for i in range(3000):
        (folder / "class 0" / f"copy {i}.jpg").symlink_to("0.jpg")
    command = [sys.executable, "-m", "designspace.verify", f"model={mine}", f'data="{folder}"']
    process = start_interruptible(
        [*command, "workers=2", "crop=64", "device=cpu"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr.readline().startswith("images 64/3024, ")
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=600)[1].strip() == "stopped"
    assert process.returncode == 130
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _members(process.pid):
        time.sleep(0.05)
    assert not _members(process.pid)


def _members(group):
    """Return the processes of a process group."""
    lines = subprocess.run(["ps", "-eo", "pgid,pid"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines()[1:] if int(line.split()[0]) == group]
