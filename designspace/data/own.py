"""A user's own data as code: `image_data` makes a data set of arrays, and ``data=mine:load`` names what makes one."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data.conversion import (
    as_images,
    as_labels,
    check_finite,
    is_array,
    is_dataset,
    layout_of,
    mean_and_std,
    read_dataset,
    with_ignored,
)
from designspace.data.images import ImageData, balanced
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError, suggest
from designspace.support.imported import import_object

TEST_SHARE = 6
"""Without test images, one of this number of training images is held back as one, as of Fashion-MNIST's 70,000."""
_TEST_SEED = 2


def image_data(
    train: Any,
    test: Any = None,
    *,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: str | None = None,
    name: str = "data",
) -> ImageData:
    """Return a data set made of your own arrays or torch Datasets; what is not given is computed.

    Images are square and have any number of channels, in the shape (N, C, H, W), (N, H, W, C) or (N, H, W), and the
    type uint8, uint16 or floating point (which becomes float32). Arrays that are mapped from the disk stay there,
    if they have one of these types and test images are given. A Dataset is read into memory.

    The labels say what is learned: whole numbers (N,) are classes, 0 and 1 of shape (N, K) are several labels per
    image, floating-point numbers (N,) or (N, K) are for regression, and whole numbers (N, H, W) are classes of pixels,
    with -1 or 255 for pixels to ignore.

    Args:
        train: the training images: a pair (images, labels) of arrays or tensors, or a map-style torch Dataset whose
            items are pairs (image, label).
        test: the test images, likewise. If there are none, one sixth of the training images are used, always the same
            ones.
        classes: names of the classes in the order of their numbers.
        num_classes: number of classes, if training images of some of them are missing.
        mean: mean of each channel, where 255 (or 65535) is 1, or in the units of floating-point images. Computing mean
            and deviation takes one pass over the training images.
        std: standard deviation of each channel, in the same units.
        layout: ``NCHW`` or ``NHWC`` if the shape does not tell them apart.
        name: name of the data set, for messages; it is the name of the function in ``data=mine:load``.

    Raises:
        InputError: the arrays do not fit together, or a value is out of range; the error names the first such image.

    >>> images = np.random.default_rng(0).integers(0, 60_000, (60, 12, 8, 8), np.uint16)
    >>> data = image_data((images, np.arange(60) % 3))
    >>> data.shape, data.num_classes, data.target, len(data.train_images), len(data.test_images)
    ((12, 8, 8), 3, 'class', 50, 10)
    """
    splits = {"train": _split(f"{name}: train", train, layout)}
    if test is not None:
        splits["test"] = _split(f"{name}: test", test, layout)
    classes = _class_names(name, classes, train)
    num_classes = count_classes(name, splits["train"][1], classes, num_classes)
    if test is None:
        check_finite(f"{name}: train_images", splits["train"][0])  # before images get other numbers
        splits = _hold_back(name, *splits["train"])
    for split, (images, labels) in splits.items():
        splits[split] = images, with_ignored(labels, num_classes)
    mean, std = _units(name, splits["train"][0], mean, std)
    check_finite(f"{name}: test_images", splits["test"][0])
    return ImageData(name, *splits["train"], *splits["test"], num_classes, mean, std, classes)


def _units(
    name: str, images: NDArray[Any], mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel, as given or computed, after checking all values."""
    if (mean is None) != (std is None):
        raise InputError(f"{name}: give both mean and std, or neither")
    if mean is None or std is None:
        return mean_and_std(f"{name}: train_images", images)
    check_finite(f"{name}: train_images", images)
    return _numbers(f"{name}: mean", mean), _numbers(f"{name}: std", std)


def _split(what: str, split: Any, layout: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the images and labels of a split, converted."""
    if isinstance(split, tuple | list) and len(split) == 2:
        images, labels = split
    elif is_dataset(split) and not is_array(split):
        images, labels = read_dataset(what, split)
    else:
        raise InputError(
            f"{what} must be a pair (images, labels) of arrays, or a torch Dataset with items and a length, not "
            f"{type(split).__name__}"
        )
    converted = as_images(f"{what}_images", images, layout), as_labels(f"{what}_labels", labels)
    if len(converted[0]) != len(converted[1]):
        raise InputError(f"{what} has {len(converted[0])} images and {len(converted[1])} labels")
    return converted


def _class_names(name: str, classes: Sequence[str] | None, train: Any) -> tuple[str, ...]:
    """Return the names of the classes: the given ones, or those of a Dataset as of torchvision."""
    if classes is None:
        classes = getattr(train, "classes", None) or ()
        if not isinstance(classes, tuple | list) or not all(isinstance(each, str) for each in classes):
            return ()
    names = tuple(classes)
    if isinstance(classes, str) or not all(isinstance(each, str) for each in names) or len(set(names)) < len(names):
        raise InputError(f"{name}: classes must be different names, as in classes=['cat', 'dog'], not {classes!r}")
    return names


def count_classes(
    name: str, labels: NDArray[Any], classes: tuple[str, ...] = (), num_classes: int | None = None
) -> int:
    """Return the number of classes, or of labels or numbers per image, which may be given in two ways.

    Raises:
        InputError: they contradict each other, or there is a class without training images.
    """
    if num_classes is not None:
        num_classes = whole(f"{name}: num_classes", num_classes, 1)
    if classes and num_classes not in (None, len(classes)):
        raise InputError(f"{name}: num_classes={num_classes}, but classes has {len(classes)} names")
    if classes or num_classes is not None:
        return num_classes or len(classes)
    if labels.ndim == 2:
        return int(labels.shape[1])
    present = np.unique(labels)
    if labels.ndim == 3:
        present = present[(present >= 0) & (present < 255)]
        return int(present[-1]) + 1 if len(present) else 1
    if present[0] < 0:
        raise InputError(f"{name}: train_labels must be numbers of classes, from 0, not {present[0]}")
    if len(present) <= present[-1]:
        missing = int(np.argmax(present != np.arange(len(present))))
        raise InputError(
            f"{name}: no training image has class {missing}, though classes go up to {present[-1]}; number them from 0 "
            "without gaps, or give num_classes= if some have no training images"
        )
    return len(present)


def _hold_back(name: str, images: NDArray[Any], labels: NDArray[Any]) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return the splits if a part of the training images is for testing."""
    chosen = heldback_indices(name, labels)
    others = np.delete(np.arange(len(labels)), chosen)
    return {"train": (images[others], labels[others]), "test": (images[chosen], labels[chosen])}


def heldback_indices(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the indices of the training images that are held back for testing if there are no other test images.

    Raises:
        InputError: there are too few images.
    """
    if len(labels) < 2:
        raise InputError(f"{name} has {len(labels)} training images and no test images; give both")
    return balanced(f"{name}: train_images", labels, max(1, len(labels) // TEST_SHARE), _TEST_SEED)


def _numbers(what: str, values: Sequence[float]) -> tuple[float, ...]:
    """Return one number per channel as a tuple."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be one number per channel, not {values!r}") from error
    if not np.isfinite(numbers).all():
        raise InputError(f"{what} must be finite numbers, not {values!r}")
    return numbers


def load_imported(name: str, root: Path) -> ImageData:
    """Return the data set that a function such as ``mine:load`` returns; it is called once per process.

    The function is called without arguments, or with the folder of all data sets if it has a parameter ``root``. It
    returns an `ImageData`; a dictionary of arguments for `image_data`; a pair ``(train, test)``; or ``train`` alone.

    Raises:
        InputError: the name cannot be imported, the function fails, or what it returns is not a data set.
    """
    return _loaded(name, root.absolute())


def digest_of(data: ImageData) -> str:
    """Return a digest of the labels, the shape of the images, and the facts about them, but not of all pixels."""
    facts = [data.shape, data.dtype, data.num_classes, data.classes, data.mean, data.std]
    digest = hashlib.sha256(repr(facts).encode())
    for labels in (data.train_labels, data.test_labels):
        digest.update(repr(labels.shape).encode() + np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def _loaded(name: str, root: Path) -> ImageData:
    """Call the function of a name; the last result is kept because it may take most of the memory."""
    function = import_object("data", name)
    if not callable(function):
        raise InputError(f"data: {name} is a {type(function).__name__}, not a function that returns images")
    try:
        returned = function(root=root) if "root" in inspect.signature(function).parameters else function()
    except (InputError, RunError):
        raise
    except Exception as error:  # a user's code may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(f"data: {name} failed with {reason} ({frame.filename}, line {frame.lineno})") from error
    return _as_data(name, returned)


def _as_data(name: str, returned: Any) -> ImageData:
    """Return the data set that a user's function returned, under its name."""
    if isinstance(returned, ImageData):
        layout_of(f"{name}: images", returned.train_images.shape, "NCHW")  # raises an error if they are not square
        return dataclasses.replace(returned, name=name)
    if isinstance(returned, Mapping):
        known = [key for key in inspect.signature(image_data).parameters if key != "name"]
        for key in returned:
            if key not in known:
                raise InputError(f"{name} returned a dictionary with the key {key!r}; {suggest(key, known)}")
        if "train" not in returned:
            raise InputError(f"{name} returned a dictionary without the key 'train'")
        return image_data(**{**returned, "name": name})
    if isinstance(returned, tuple | list) and len(returned) == 2 and not is_array(returned[0]):
        return image_data(*returned, name=name)
    return image_data(returned, name=name)
