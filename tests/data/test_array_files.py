"""Data sets that are described files of arrays: ``data=arrays data.images=x.npy data.labels=y.npy``."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from designspace import data
from designspace.data import array_files
from designspace.support.errors import InputError, RunError

SHAPE = (30, 5, 8, 8)


@pytest.fixture
def files(tmp_path):
    """Files of 30 images for training and 12 for testing, of 5 channels and three classes."""
    random = np.random.default_rng(0)
    images = random.integers(0, 65536, SHAPE, np.uint16)
    arrays = {
        "images": images,
        "labels": np.arange(30) % 3,
        "test_images": images[:12] // 2,
        "test_labels": np.arange(12, dtype=np.int8) % 3,
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return {name: str(tmp_path / f"{name}.npy") for name in arrays}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def test_described_files_are_a_named_data_set(files, root, tmp_path):
    (tmp_path / "names.txt").write_text("water\nforest\n\ntown\n")
    array_files.describe(root / "sat", {**files, "classes": str(tmp_path / "names.txt")})
    assert data.names(root)[-1] == "sat"
    assert data.shape("sat", root) == data.DataShape(5, 8, 3, "class", "uint16")
    assert (data.counts("sat", root), data.is_prepared("sat", root)) == ((30, 12), True)
    loaded = data.load("sat", root)
    assert loaded.classes == data.facts("sat", root).classes == ("water", "forest", "town")
    assert loaded.mean == data.facts("sat", root).mean
    pixels = np.load(files["images"]) / 65535
    np.testing.assert_allclose(loaded.mean, pixels.mean((0, 2, 3)), rtol=1e-5)
    assert isinstance(loaded.train_images, np.memmap)
    np.testing.assert_array_equal(loaded.test_images, np.load(files["test_images"]))
    assert sorted(path.name for path in (root / "sat").iterdir()) == ["arrays.json"]
    assert data.prepare("sat", root) == root / "sat"
    assert data.own_data("sat", root).files == tuple(files.values())


def test_images_of_any_layout_stay_in_their_file(files, root):
    stored = np.load(files["images"]).astype(np.float32).transpose(0, 2, 3, 1)
    for name in ("images", "test_images"):
        np.save(files[name], stored[: 12 if name == "test_images" else None])
    array_files.describe(root / "sat", files)
    loaded = data.load("sat", root)
    assert str(loaded.train_images.filename) == files["images"]
    np.testing.assert_array_equal(loaded.train_images, stored.transpose(0, 3, 1, 2))


def test_without_test_files_the_images_are_split_once(files, root):
    array_files.describe(root / "sat", {key: files[key] for key in ("images", "labels")})
    loaded = data.load("sat", root)
    expected = data.image_data((np.load(files["images"]), np.load(files["labels"])))
    for field in ("train_images", "train_labels", "test_images", "test_labels", "mean", "std"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(expected, field))
    assert isinstance(loaded.train_images, np.memmap)
    os.utime(files["images"])
    data.prepare("sat", root)
    array_files.describe(root / "sat", {key: files[key] for key in ("images", "labels")})


def test_changed_files_are_noticed_and_copied_ones_accepted(files, root):
    array_files.describe(root / "sat", files)
    before = data.own_data("sat", root)
    os.utime(files["images"])
    assert len(data.load("sat", root).train_images) == 30
    data.prepare("sat", root)
    assert array_files.read_description(root / "sat").files[0].modified_ns == Path(files["images"]).stat().st_mtime_ns
    assert data.own_data("sat", root) == before
    images = np.load(files["images"])
    images[3, 0, 0, 0] += 1
    np.save(files["images"], images)
    os.utime(files["images"], ns=(1, 1))
    for use in (
        lambda: data.load("sat", root),
        lambda: data.prepare("sat", root),
        lambda: array_files.describe(root / "sat", files),
    ):
        with pytest.raises(RunError, match="images.npy has changed since it was described as a data set; restore"):
            use()
    Path(files["images"]).unlink()
    with pytest.raises(RunError, match="images.npy"):
        data.load("sat", root)


def test_a_name_stays_with_its_files(files, root, tmp_path):
    array_files.describe(root / "sat", files)
    assert array_files.describe(root / "sat", files) == array_files.read_description(root / "sat")
    shutil.copy(files["images"], tmp_path / "other.npy")
    with pytest.raises(InputError, match=r"sat already is the data set of .*images.npy; choose another data.name=..."):
        array_files.describe(root / "sat", {**files, "images": str(tmp_path / "other.npy")})


def save_several(path):
    np.savez(f"{path}.npz", a=1)
    Path(f"{path}.npz").replace(path)


def save(key, array):
    """Return a function that replaces a file by another array."""
    return lambda files: np.save(files[key], array, allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("labels"), r"data=arrays needs data.images=... and data.labels=..., two .npy files"),
        (lambda files: files.pop("test_images"), "needs data.test_images=... and data.test_labels=..."),
        (lambda files: files.clear(), "data=arrays needs data.images=... and data.labels=..."),
        (lambda files: files.update(images="nowhere.npy"), "nowhere.npy is not a file; data=arrays reads files that"),
        (save("images", np.array([object()])), "images.npy is not a .npy file of numbers .*; save one array with"),
        (lambda files: Path(files["images"]).write_bytes(b"\x93NUMPY\x01\x00"), "is not a .npy file of numbers"),
        (lambda files: Path(files["images"]).write_bytes(b""), "is not a .npy file of numbers"),
        (lambda files: os.truncate(files["images"], 900), "is not a .npy file of numbers"),
        (lambda files: save_several(files["images"]), "holds several arrays; save each with numpy.save"),
        (save("images", np.zeros(SHAPE)), "images.npy is float64; save it as float32"),
        (save("images", np.zeros(SHAPE, ">u2")), "images.npy is >u2; save it as uint16"),
        (save("images", np.zeros(SHAPE, int)), "must be uint8, uint16 or floating-point numbers, not int64"),
        (save("images", np.full(SHAPE, np.nan, np.float32)), "image 0 has values that are NaN or infinite"),
        (save("images", np.ones(SHAPE, np.uint8)), "channel 0 is 1 in every pixel, so its deviation is 0"),
        (save("images", np.zeros((30, 5, 8, 7), np.uint8)), "are not square"),
        (save("images", np.zeros((30, 8, 8, 8), np.uint8)), "say which with layout=NCHW or layout=NHWC"),
        (save("images", np.zeros((29, 5, 8, 8), np.uint8)), "has 29 images, but .*labels.npy 30 labels"),
        (save("labels", np.arange(30) % 3 - 1), "must be numbers of classes, from 0, not -1"),
        (save("labels", np.arange(30) % 3 * 2), "no training image has class 1"),
        (save("labels", np.array(["a"] * 30)), "must be an array of numbers"),
        (save("test_labels", np.arange(12)), "test_labels must be 0 to 2, not 0 to 11"),
    ],
)
def test_files_that_do_not_fit_are_one_clear_error(files, root, change, message):
    change(files)
    with pytest.raises(InputError, match=message):
        array_files.describe(root / "sat", files)
    assert not (root / "sat").exists()
    for name in ("test_images", "test_labels"):
        files.pop(name, None)
    if "test" not in message:
        with pytest.raises(InputError):
            array_files.describe(root / "sat", files)
        assert not (root / "sat").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("counts", [30]),
        ("dtype", "int64"),
        ("mean", ["a"]),
        ("files", []),
        ("classes", [1]),
        ("size", 0),
    ],
)
def test_a_damaged_description_is_an_error_that_names_it(files, root, key, value):
    array_files.describe(root / "sat", files)
    path = root / "sat" / "arrays.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(RunError, match="arrays.json (is damaged|has format 2)"):
        data.shape("sat", root)
