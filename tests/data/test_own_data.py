"""A user's own arrays and torch Datasets as a data set."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from designspace import data
from designspace.data import ImageData, image_data
from designspace.data.conversion import mean_and_std
from designspace.data.images import TARGETS, balanced
from designspace.data.own import load_imported
from designspace.support.errors import InputError

LABELS = {
    "class": np.arange(12) % 3,
    "multilabel": (np.arange(48).reshape(12, 4) % 5 == 0).astype(int),
    "regression": np.linspace(0, 1, 24).reshape(12, 2),
    "dense": (np.arange(12 * 36).reshape(12, 6, 6) % 4).astype(np.uint8),
}
NUM_CLASSES = {"class": 3, "multilabel": 4, "regression": 2, "dense": 4}


def noise(count=12, channels=2, size=6, dtype="uint8", seed=0):
    values = np.random.default_rng(seed).random((count, channels, size, size))
    return values.astype(dtype) if dtype.startswith("float") else (values * np.iinfo(dtype).max).astype(dtype)


class Items(Dataset):
    """A Dataset of listed items; an item that is an exception is raised."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "float16", ">u2"])
def test_mean_and_deviation_are_computed_in_the_units_of_the_type(dtype):
    images = noise(dtype="uint16").astype(dtype) if dtype == ">u2" else noise(dtype=dtype)
    made = image_data((images, LABELS["class"]), (images[:3], LABELS["class"][:3]))
    unit = {"uint8": 255, "uint16": 65535}.get(made.dtype, 1)
    pixels = made.train_images.astype(np.float64) / unit
    np.testing.assert_allclose(made.mean, pixels.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(made.std, pixels.std((0, 2, 3)), rtol=1e-5)
    assert made.dtype == {">u2": "uint16"}.get(dtype, "float32" if dtype.startswith("float") else dtype)
    np.testing.assert_array_equal(made.train_images, images.astype(made.dtype))


def test_mean_and_deviation_are_joined_from_pieces_without_losing_digits(monkeypatch):
    """Values of 100,000 with deviations of 0.1, as of a small temperature range in thousandths."""
    images = (1e5 + 0.1 * noise(200, 3, 8, "float64")).astype(np.float32)
    expected = images.astype(np.float64).std((0, 2, 3))
    monkeypatch.setattr("designspace.data.conversion._VALUES_AT_ONCE", 500)
    mean, std = mean_and_std("images", images)
    np.testing.assert_allclose(std, expected, rtol=1e-4)
    np.testing.assert_allclose(mean, images.astype(np.float64).mean((0, 2, 3)), rtol=1e-9)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NHW"])
def test_layouts_are_recognised_and_arrays_are_not_copied(layout, tmp_path):
    images = noise(channels=1 if layout == "NHW" else 2, dtype="uint16")
    stored = {"NCHW": images, "NHWC": images.transpose(0, 2, 3, 1), "NHW": images[:, 0]}[layout]
    np.save(tmp_path / "images.npy", stored)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    made = image_data((mapped, LABELS["class"]), (mapped, LABELS["class"]))
    assert isinstance(made.train_images, np.memmap)
    assert np.shares_memory(made.train_images, mapped)
    np.testing.assert_array_equal(made.train_images, images)


@pytest.mark.parametrize("target", TARGETS)
def test_labels_say_what_is_learned(target):
    labels = LABELS[target]
    made = image_data((noise(), labels), (noise(), labels))
    dtype, dimensions, _ = TARGETS[target]
    assert (made.target, made.num_classes) == (target, NUM_CLASSES[target])
    for kept in (made.train_labels, made.test_labels):
        assert (kept.dtype, kept.ndim) == (np.dtype(dtype), dimensions)
        np.testing.assert_allclose(kept, labels, rtol=1e-6)
    assert image_data((noise(), np.arange(12.0))).train_labels.shape == (10, 1)


def test_pixels_to_ignore():
    masks = LABELS["dense"].copy()
    masks[:, 0] = 255
    assert (image_data((noise(), masks)).train_labels[:, 0] == -1).all()
    assert image_data((noise(), masks)).num_classes == 4
    assert (image_data((noise(), masks), num_classes=300).train_labels[:, 0] == 255).all()


@pytest.mark.parametrize("target", TARGETS)
def test_subsets_and_other_orders_of_classes(target):
    names = [f"c{i}" for i in range(NUM_CLASSES[target])]
    made = image_data((noise(), LABELS[target]), (noise(), LABELS[target]), classes=names)
    part = made.subset(5, 3)
    assert (len(part.train_labels), len(part.test_images)) == (5, 3)
    rows = [int(np.argmax((made.train_images == image).all((1, 2, 3)))) for image in part.train_images]
    np.testing.assert_array_equal(part.train_labels, made.train_labels[rows])
    turned = made.with_classes(names[::-1], "the model")
    if target in ("class", "dense"):
        np.testing.assert_array_equal(turned.train_labels, len(names) - 1 - made.train_labels)
    else:
        np.testing.assert_array_equal(turned.train_labels, made.train_labels[:, ::-1])
    more = [*names, "other"]
    if target == "regression":
        with pytest.raises(InputError, match="data has 2 numbers per image, but the model has 3"):
            made.with_classes(more, "the model")
    else:
        assert made.with_classes(more, "the model").num_classes == len(more)
    chosen = balanced("images", made.train_labels, 4, 2)
    assert set(chosen) <= set(balanced("images", made.train_labels, 9, 2))


def test_without_test_images_a_fixed_sixth_is_held_back():
    images = np.arange(60, dtype=np.uint8)[:, None, None, None] + np.zeros((60, 1, 4, 4), np.uint8)
    made = image_data((images, np.arange(60) % 3))
    assert made.test_images[:, 0, 0, 0].tolist() == [3, 6, 7, 11, 19, 28, 29, 48, 49, 59]
    assert sorted([*made.train_images[:, 0, 0, 0], *made.test_images[:, 0, 0, 0]]) == list(range(60))
    assert (made.test_images[:, 0, 0, 0] % 3 == made.test_labels).all()


def test_datasets_of_torch_and_of_pictures():
    images, labels = torch.rand(12, 3, 6, 6), torch.arange(12) % 3
    made = image_data(TensorDataset(images, labels))
    assert (made.dtype, made.shape, made.target) == ("float32", (3, 6, 6), "class")
    pictures = Items([(Image.fromarray(noise(size=8)[i].repeat(2, 0)[:3].transpose(1, 2, 0)), i % 2) for i in range(8)])
    pictures.classes = ["cat", "dog"]
    made = image_data(pictures, pictures)
    assert (made.dtype, made.shape, made.classes) == ("uint8", (3, 8, 8), ("cat", "dog"))
    np.testing.assert_array_equal(made.train_images[1, 2], np.asarray(pictures[1][0])[..., 2])
    masks = Items([(noise(seed=i)[0], LABELS["dense"][i]) for i in range(6)])
    assert image_data(masks).target == "dense"


GOOD = (noise(), LABELS["class"])


def changed(index, value, dtype="float32"):
    images = noise(dtype=dtype)
    images[index, 0, 0, 0] = value
    return images


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ((changed(7, np.nan), LABELS["class"]), {}, "train_images: image 7 has values that are NaN or infinite"),
        ((changed(2, -np.inf), LABELS["class"]), {"mean": [0, 0], "std": [1, 1]}, "NaN or infinite"),
        ((changed(5, 1e39, "float64"), LABELS["class"]), {}, "too large for float32"),
        ((noise(), LABELS["class"][:-1]), {}, "data: train has 12 images and 11 labels"),
        ((noise(), LABELS["class"] - 1), {}, "train_labels must be numbers of classes, from 0, not -1"),
        ((noise(), LABELS["class"] + 1), {}, "no training image has class 0, though classes go up to 3"),
        ((noise(), LABELS["class"] * 2), {}, "no training image has class 1, though classes go up to 4"),
        ((noise(), LABELS["class"]), {"num_classes": 2}, "train_labels must be 0 to 1, not 0 to 2"),
        ((noise(), LABELS["class"]), {"classes": ["a", "b"]}, "train_labels must be 0 to 1, not 0 to 2"),
        ((noise(), LABELS["class"]), {"classes": ["a", "b", "a"]}, "classes must be different names"),
        ((noise(), LABELS["class"]), {"classes": ["a"], "num_classes": 3}, "num_classes=3, but classes has 1 names"),
        ((noise(), LABELS["class"]), {"num_classes": 2.5}, "num_classes must be a whole number"),
        (
            (noise(), LABELS["class"].astype(str)),
            {},
            "must be an array of numbers of equal shapes, .* number the class",
        ),
        ((noise(), LABELS["class"] * 10**12), {}, "train_labels must be 0 to the number of classes - 1"),
        ((noise(), LABELS["class"][:, None]), {}, r"classes must be \(N,\), as labels.reshape\(-1\)"),
        ((noise(), LABELS["multilabel"] + 1), {}, "must be 0 and 1, one column per label, not 1 to 2"),
        ((noise(), LABELS["dense"][:, 1:]), {}, r"train_labels must have the images' size \(6, 6\), not \(5, 6\)"),
        ((noise(), LABELS["dense"] / 2), {}, r"floating-point numbers of shape .*; they must be \(N,\) or \(N, K\)"),
        ((noise(), np.where(np.arange(12) == 3, np.nan, 1.0)), {}, "must be finite numbers, not .*nan"),
        ((np.concatenate((noise(), noise()[:, :1] * 0), 1), LABELS["class"]), {}, "channel 2 is 0 in every pixel"),
        ((noise().astype(int), LABELS["class"]), {}, "must be uint8, uint16 or floating-point numbers, not int64"),
        ((noise()[:, :, :5], LABELS["class"]), {}, r"of shape \(12, 2, 5, 6\) are not square"),
        ((noise()[:, 0, :5], LABELS["class"]), {}, r"of shape \(12, 5, 6\) are not square"),
        ((noise().reshape(12, -1), LABELS["class"]), {}, r"must have the shape \(N, C, H, W\), \(N, H, W, C\) or"),
        ((noise(channels=6), LABELS["class"]), {}, "say which with layout=NCHW or layout=NHWC"),
        ((noise(), LABELS["class"]), {"layout": "NHWC"}, "are not square as NHWC"),
        ((noise(), LABELS["class"]), {"layout": "CHW"}, "layout must be one of NCHW, NHWC, NHW, not 'CHW'"),
        ((noise()[:0], LABELS["class"][:0]), {}, "without a 0"),
        ((noise()[:1], LABELS["class"][:1]), {}, "has 1 training images and no test images"),
        (([[1, 2], [3]], [0, 1]), {}, "data: train_images cannot be an array of numbers"),
        (
            (np.array([object()] * 12), LABELS["class"]),
            {},
            "must be an array of numbers of equal shapes, not of type obj",
        ),
        (noise(), {}, r"data: train must be a pair \(images, labels\) of arrays, or a torch Dataset"),
        ((noise(), LABELS["class"], 3), {}, "must be a pair"),
        (GOOD, {"mean": [0.5, 0.5]}, "give both mean and std, or neither"),
        (GOOD, {"mean": [0.5], "std": [1]}, "one number for each of 2 channels"),
        (GOOD, {"mean": [0.5, np.nan], "std": [1, 1]}, "mean must be finite numbers"),
        (GOOD, {"mean": "ab", "std": [1, 1]}, "mean must be one number per channel"),
        (GOOD, {"test": (noise(size=8), LABELS["class"])}, r"training images are \(2, 6, 6\), test images \(2, 8, 8\)"),
        (GOOD, {"test": (noise(dtype="uint16"), LABELS["class"])}, "images for training are uint8 .* testing uint16"),
        (GOOD, {"test": (noise(), LABELS["multilabel"])}, "labels for training are int64 with 1 dim.* testing uint8"),
        (GOOD, {"test": (noise(), LABELS["class"] + 2)}, "test_labels must be 0 to 2, not 2 to 4"),
        (Items([]), {}, "data: train is empty"),
        (Items([(noise()[0], 0), (noise(size=8)[0], 1)]), {}, r"image 1 is uint8 of shape \(2, 8, 8\), but image 0 is"),
        (Items([(noise()[0], 0), (noise()[0], 1.0)]), {}, "label 1 is float64 of shape .*, but label 0 is int64"),
        (Items([(noise()[0], 0), KeyError("lost")]), {}, "data: train: item 1 cannot be read .KeyError: 'lost'"),
        (Items([noise()[0]] * 2), {}, r"items must be pairs \(image, label\), but item 0 is a ndarray"),
        (Items([(noise()[0], "cat")] * 2), {}, "label 0 must be an array of numbers"),
    ],
)
def test_bad_arrays_are_one_clear_error(train, options, message):
    with pytest.raises(InputError, match=message):
        image_data(train, options.pop("test", None), **options)


MODULE = """
import numpy as np
from designspace.data import image_data
CALLS = []
IMAGES, LABELS = np.arange(12 * 2 * 16, dtype=np.uint16).reshape(12, 2, 4, 4), np.arange(12) % 2
def pair(): CALLS.append(1); return IMAGES, LABELS
def splits(): return (IMAGES, LABELS), (IMAGES[:4], LABELS[:4])
def fields(): return {"train": (IMAGES, LABELS), "classes": ["a", "b"]}
def whole(root): return image_data((IMAGES, LABELS), name=str(root))
def wrong_key(): return {"trian": (IMAGES, LABELS)}
def no_key(): return {"classes": ["a", "b"]}
def nothing(): pass
def fails(): return {}["missing"]
def not_square():
    from designspace.data import ImageData
    return ImageData("n", IMAGES[:, :, 1:], LABELS, IMAGES[:, :, 1:], LABELS, 2, (0, 0), (1, 1))
table = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module of functions that return data importable."""
    (tmp_path / "own_sets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_sets"
    sys.modules.pop("own_sets", None)


def test_a_function_returns_data_in_several_forms(module, tmp_path):
    assert [data.load(f"{module}:{name}", tmp_path).name for name in ("pair", "whole")] == [
        "own_sets:pair",
        "own_sets:whole",
    ]
    assert len(data.load("own_sets:splits").test_images) == 4
    assert data.facts("own_sets:fields", tmp_path).classes == ("a", "b")
    name = "own_sets:pair"
    calls = len(sys.modules[module].CALLS)
    assert data.shape(name, tmp_path) == data.DataShape(2, 4, 2, "class", "uint16")
    assert data.counts(name, tmp_path) == (10, 2)
    assert data.is_prepared(name, tmp_path)
    assert data.load(name, tmp_path, train_images=6).train_labels.tolist().count(0) == 3
    assert len(sys.modules[module].CALLS) == calls + 1
    assert data.own_data(name, tmp_path).digest != data.own_data("own_sets:splits", tmp_path).digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_sets:missing", "data: own_sets:missing cannot be imported"),
        ("nowhere:load", "nowhere:load cannot be imported .* is it in the working folder or on PYTHONPATH"),
        ("own_sets:", "data must be package.module:name"),
        ("own_sets:table", "own_sets:table is a int, not a function"),
        ("own_sets:fails", r"own_sets:fails failed with KeyError: 'missing' \(.*own_sets.py, line 13\)"),
        ("own_sets:nothing", "own_sets:nothing: train must be a pair"),
        ("own_sets:wrong_key", "returned a dictionary with the key 'trian'; did you mean train"),
        ("own_sets:no_key", "returned a dictionary without the key 'train'"),
        ("own_sets:not_square", "own_sets:not_square: images of shape .* are not square"),
    ],
)
def test_functions_that_return_no_data(module, name, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_imported(name, tmp_path)


def test_labels_of_no_known_form_are_refused():
    good = image_data(GOOD, GOOD)
    assert isinstance(good, ImageData)
    with pytest.raises(
        InputError, match=r"train_labels must be an array of int64 \(N,\) for one class .*; not uint8 \(12,"
    ):
        dataclasses.replace(good, train_labels=LABELS["class"].astype(np.uint8))
    with pytest.raises(InputError, match="must have num_classes=3 columns, not 4"):
        dataclasses.replace(
            good, train_labels=LABELS["multilabel"].astype(np.uint8), test_labels=LABELS["multilabel"].astype(np.uint8)
        )
