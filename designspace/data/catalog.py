"""Catalog of the available data sets."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from designspace.data import array_files, cifar, fashion_mnist, imagenet, packed
from designspace.data.images import ImageData
from designspace.data.own import digest_of, load_imported
from designspace.support.errors import InputError, unknown
from designspace.support.folders import default_root
from designspace.support.imported import is_import_name
from designspace.support.text import counted
from designspace.trials.data_note import OwnData


class DataShape(NamedTuple):
    """Shape of a data set, which its networks must fit."""

    channels: int
    size: int
    """Height and width of an image, in pixels."""
    num_classes: int
    """Number of classes, or of labels or numbers per image."""
    target: str = "class"
    """What is learned (see `ImageData.target`)."""
    dtype: str = "uint8"
    """Type of the images' values."""

    @staticmethod
    def of(images: ImageData) -> DataShape:
        """Return the shape of a data set whose images are square."""
        channels, size, _ = images.shape
        return DataShape(channels, size, images.num_classes, images.target, images.dtype)

    @property
    def fitting(self) -> tuple[int, int, int]:
        """Channels, size and number of classes, in which networks must agree with it."""
        return self.channels, self.size, self.num_classes

    def describe(self) -> str:
        """Return the shape as text.

        >>> DataShape(3, 32, 10).describe()
        'images of 3 channels, 32 x 32 pixels and 10 classes'
        >>> DataShape(12, 64, 5, "multilabel", "uint16").describe()
        'images of 12 channels (uint16), 64 x 64 pixels and 5 labels per image'
        """
        channels = counted(self.channels, "channel") + (f" ({self.dtype})" if self.dtype != "uint8" else "")
        noun, each = {
            "class": ("class", ""),
            "multilabel": ("label", " per image"),
            "regression": ("number", " per image"),
            "dense": ("class", " per pixel"),
        }[self.target]
        return f"images of {channels}, {self.size} x {self.size} pixels and {counted(self.num_classes, noun)}{each}"


class DataFacts(NamedTuple):
    """Facts about a data set that every network trained on it needs."""

    mean: tuple[float, ...]
    """Mean of each channel over the training images, in the units of `ImageData.mean`."""
    std: tuple[float, ...]
    """Standard deviation of each channel, as `ImageData.std`."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of their numbers."""


class DataCounts(NamedTuple):
    """Numbers of training and test images."""

    train: int
    test: int


IMAGENET_SHAPE = DataShape(3, 224, imagenet.CLASSES)
"""Shape of ImageNet as the papers train on it."""
IMAGENET_COUNTS = DataCounts(imagenet.TRAIN_IMAGES, imagenet.VAL_IMAGES)
"""Numbers of images in ImageNet as published (ILSVRC 2012)."""


class _DataSet(NamedTuple):
    """A data set: its facts, and the functions that load and prepare it (both take the folder of all data sets)."""

    shape: DataShape
    facts: DataFacts
    counts: DataCounts
    load: Callable[[Path], ImageData]
    prepare: Callable[[Path], Path]


def _cifar_data_set(data_set: cifar.Cifar) -> _DataSet:
    """Return the entry for CIFAR-10 or CIFAR-100."""
    return _DataSet(
        DataShape(3, 32, len(data_set.classes)),
        DataFacts(data_set.mean, data_set.std, data_set.classes),
        DataCounts(*data_set.images),
        partial(cifar.load, data_set),
        partial(cifar.prepare, data_set),
    )


_DATA_SETS = {
    "fashion_mnist": _DataSet(
        DataShape(1, 28, 10),
        DataFacts(fashion_mnist.MEAN, fashion_mnist.STD, fashion_mnist.CLASSES),
        DataCounts(60_000, 10_000),
        fashion_mnist.load,
        fashion_mnist.prepare,
    ),
    "cifar10": _cifar_data_set(cifar.CIFAR10),
    "cifar100": _cifar_data_set(cifar.CIFAR100),
}


def fetched_names() -> list[str]:
    """Return the names of the data sets that can be fetched; they are the same on every machine."""
    return list(_DATA_SETS)


def names(root: Path | None = None) -> list[str]:
    """Return the names of the data sets that can be fetched, or are packed or described below ``root``.

    Names of your own functions, such as ``mine:load``, are not among them. For the default see `default_root`.
    """
    root = default_root() if root is None else root
    return [*fetched_names(), *sorted([*packed.packed_names(root), *array_files.described_names(root)])]


def is_prepared(name: str, root: Path | None = None) -> bool:
    """Return whether a data set is below ``root``, judging by its folder alone; a function needs no preparation."""
    if is_import_name(name):
        return True
    folder = (default_root() if root is None else root) / name
    if name in _DATA_SETS:
        return folder.is_dir()
    return packed.is_packed(folder) or array_files.is_described(folder)


def how_to_prepare(name: str) -> str:
    """Return the command that prepares a data set."""
    command = "python -m designspace.prepare"
    if name in _DATA_SETS:
        return f"{command} data={name}"
    if name == imagenet.NAME:
        return f"{command} data=imagenet from=<its three archives> size=224"
    return f"{command} from=<folder of images> name={name} size=<pixels>"


def shape(name: str | None, root: Path | None = None) -> DataShape:
    """Return the channels, size in pixels and number of classes of a data set.

    Those of a packed data set below ``root`` are read from its packed.json. ImageNet has 224 pixels if it is not
    packed.

    Raises:
        InputError: there is no data set of that name; the error lists the available ones.
        RunError: packed.json is damaged.
    """
    if name == imagenet.NAME and not is_prepared(name, root):
        return IMAGENET_SHAPE
    return _get(name, root).shape


def facts(name: str, root: Path | None = None) -> DataFacts:
    """Return the mean, standard deviation and class names of a data set.

    Those of a packed data set below ``root`` are read from its packed.json.

    Raises:
        InputError: there is no data set of that name; the error lists the available ones.
        RunError: packed.json is damaged.
    """
    return _get(name, root).facts


def counts(name: str, root: Path | None = None) -> DataCounts:
    """Return the numbers of training and test images of a data set, without reading any.

    Raises:
        InputError: there is no data set of that name; the error lists the available ones.
        RunError: packed.json is damaged.
    """
    if name == imagenet.NAME and not is_prepared(name, root):
        return IMAGENET_COUNTS
    return _get(name, root).counts


def own_data(name: str, root: Path | None = None) -> OwnData | None:
    """Return facts about a user's own data set, of array files or of a function, for its run; None for others.

    Raises:
        InputError: the function of that name fails.
        RunError: arrays.json is damaged.
    """
    root = default_root() if root is None else root
    if is_import_name(name):
        digest, files = digest_of(load_imported(name, root)), tuple[str, ...]()
    elif name in _DATA_SETS or not array_files.is_described(root / name):
        return None
    else:
        digest, files = array_files.digest_and_paths(root / name)
    data_set = _get(name, root)
    return OwnData(
        describe=data_set.shape.describe(),
        counts=tuple(data_set.counts),
        size=data_set.shape.size,
        dtype=data_set.shape.dtype,
        **data_set.facts._asdict(),
        digest=digest,
        files=files,
    )


def is_in_memory(name: str, root: Path | None = None) -> bool:
    """Return whether each process that loads all images of a data set has its own copy of them.

    Raises:
        InputError: the function of that name fails.
    """
    if not is_import_name(name):
        return name in _DATA_SETS
    return not isinstance(load_imported(name, default_root() if root is None else root).train_images, np.memmap)


def load(
    name: str, root: Path | None = None, train_images: int | None = None, test_images: int | None = None
) -> ImageData:
    """Load a data set that `prepare` put under ``root`` (see `default_root`), or a subset of it.

    Nothing is ever downloaded here. ``train_images`` and ``test_images`` are as in `ImageData.subset`. The images of a
    packed data set stay on the disk, mapped into memory, unless a subset is taken.

    Raises:
        InputError: there is no data set of that name, or it has fewer images than requested.
        RunError: a file is missing or is not what was published or packed; the error names it and says how to get it.
    """
    return _get(name, root).load(default_root() if root is None else root).subset(train_images, test_images)


def prepare(name: str, root: Path | None = None) -> Path:
    """Fetch the missing or damaged files of a data set, check them, and return its folder.

    A packed data set is checked completely.

    Raises:
        InputError: there is no data set of that name.
        RunError: no source could be reached; the error says what each of them answered, and how to do it by hand. Or a
            packed data set is damaged.
    """
    return _get(name, root).prepare(default_root() if root is None else root)


def check_name(name: object) -> str:
    """Return the name of a new packed data set after checking it.

    Raises:
        InputError: the name cannot be that of a folder, or it already has another meaning.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"name must consist of letters, digits, _ . and -, as in name=flowers; not {name!r}")
    if name in _DATA_SETS:
        raise InputError(f"name={name} belongs to a data set that is fetched; choose another name")
    if name in ("arrays", "folder", "sampled"):  # data=<name> would select that configuration
        raise InputError(f"name={name} has a special meaning in data=...; choose another name")
    return name


def _get(name: str | None, root: Path | None) -> _DataSet:
    """Return the data set of that name."""
    if name in _DATA_SETS:
        return _DATA_SETS[name]
    root = default_root() if root is None else root
    if name is not None and is_import_name(name):
        return _imported_data_set(name, root)
    if name is None:  # the default in configs/data/folder.yaml
        raise InputError(
            f"data.name=... must be given; choose from: {', '.join(names(root))}. Or type data=<name> alone"
        )
    if name in array_files.described_names(root):
        return _described_data_set(root / name)
    if name not in packed.packed_names(root):
        if name == imagenet.NAME:
            raise InputError(
                f"{name} is not prepared in {root}; prepare it from its three published archives with: "
                "python -m designspace.prepare data=imagenet from=[...] size=224"
            )
        error = unknown("data set", name, names(root))
        raise InputError(
            f"{error}. To make a folder of images a data set in {root}: python -m designspace.prepare data=folder "
            "name=... from=... size=..."
        )
    return _packed_data_set(root / name)


def _packed_data_set(folder: Path) -> _DataSet:
    """Return the entry for a packed data set."""
    description = packed.read_packed(folder)

    def prepare(root: Path) -> Path:
        packed.check(root / folder.name)
        return root / folder.name

    return _DataSet(
        DataShape(packed.CHANNELS, description.size, len(description.classes)),
        DataFacts(description.mean, description.std, description.classes),
        DataCounts(description.train.images, description.test.images),
        lambda root: packed.load(root / folder.name),
        prepare,
    )


def _imported_data_set(name: str, root: Path) -> _DataSet:
    """Return the entry for a data set that a user's function returns."""
    images = load_imported(name, root)
    return _DataSet(
        DataShape.of(images),
        DataFacts(images.mean, images.std, images.classes),
        DataCounts(len(images.train_images), len(images.test_images)),
        lambda root: images,
        lambda root: root,
    )


def _described_data_set(folder: Path) -> _DataSet:
    """Return the entry for a data set of array files."""
    description = array_files.read_description(folder)

    def prepare(root: Path) -> Path:
        array_files.check(root / folder.name)
        return root / folder.name

    return _DataSet(
        DataShape(
            description.channels, description.size, description.num_classes, description.target, description.dtype
        ),
        DataFacts(description.mean, description.std, description.classes),
        DataCounts(*description.counts),
        lambda root: array_files.load(root / folder.name),
        prepare,
    )
