"""The data sets that there are, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from designspace.data import cifar, fashion_mnist, imagenet, packed
from designspace.data.images import ImageData
from designspace.support.errors import InputError, unknown
from designspace.support.folders import default_root


class DataShape(NamedTuple):
    """What a network must fit."""

    channels: int
    size: int
    """Height and width of an image, in pixels."""
    num_classes: int

    def in_words(self) -> str:
        """Describe the images."""
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        classes = "1 class" if self.num_classes == 1 else f"{self.num_classes} classes"
        return f"images of {channels}, {self.size} x {self.size} pixels and {classes}"


class DataFacts(NamedTuple):
    """What a network that was trained on a data set must be told with, wherever it goes."""

    mean: tuple[float, ...]
    """Mean of each channel over the training images, where 255 is 1, as `ImageData.mean`."""
    std: tuple[float, ...]
    """Standard deviation of each channel, as `ImageData.std`."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of their numbers."""


class DataCounts(NamedTuple):
    """How many images there are."""

    train: int
    test: int


IMAGENET_SHAPE = DataShape(3, 224, imagenet.CLASSES)
"""Of ImageNet as the papers train on it."""
IMAGENET_COUNTS = DataCounts(imagenet.TRAIN_IMAGES, imagenet.VAL_IMAGES)
"""Images of ImageNet as it was published (ILSVRC 2012)."""


class _DataSet(NamedTuple):
    """A data set: what is known of it, and how it is read and fetched (both take the folder of all data sets)."""

    shape: DataShape
    facts: DataFacts
    counts: DataCounts
    load: Callable[[Path], ImageData]
    prepare: Callable[[Path], Path]


def _of_cifar(known: cifar.Cifar) -> _DataSet:
    """One of the CIFARs."""
    return _DataSet(
        DataShape(3, 32, len(known.classes)),
        DataFacts(known.mean, known.std, known.classes),
        DataCounts(*known.images),
        partial(cifar.load, known),
        partial(cifar.prepare, known),
    )


_DATA_SETS = {
    "fashion_mnist": _DataSet(
        DataShape(1, 28, 10),
        DataFacts(fashion_mnist.MEAN, fashion_mnist.STD, fashion_mnist.CLASSES),
        DataCounts(60_000, 10_000),
        fashion_mnist.load,
        fashion_mnist.prepare,
    ),
    "cifar10": _of_cifar(cifar.CIFAR10),
    "cifar100": _of_cifar(cifar.CIFAR100),
}


def fetched_names() -> list[str]:
    """The names of the data sets that can be fetched, which are the same everywhere."""
    return list(_DATA_SETS)


def names(root: Path | None = None) -> list[str]:
    """The names of all data sets: those that can be fetched, and those packed below ``root`` (see `default_root`)."""
    return [*fetched_names(), *packed.packed_names(default_root() if root is None else root)]


def is_prepared(name: str, root: Path | None = None) -> bool:
    """Return whether a data set lies below ``root``, by a look at its folder alone."""
    folder = (default_root() if root is None else root) / name
    return folder.is_dir() if name in _DATA_SETS else packed.is_packed(folder)


def how_to_prepare(name: str) -> str:
    """Return the command that prepares a data set."""
    command = "python -m designspace.prepare"
    if name in _DATA_SETS:
        return f"{command} data={name}"
    if name == imagenet.NAME:
        return f"{command} data=imagenet from=<its three archives> size=224"
    return f"{command} from=<folder of images> name={name} size=<pixels>"


def shape(name: str | None, root: Path | None = None) -> DataShape:
    """Channels, size in pixels and number of classes; of a packed data set below ``root``, as its packed.json says.

    ImageNet has 224 pixels where it is not packed.

    Raises:
        InputError: there is no data set of that name; the error lists those that there are.
        RunError: packed.json is damaged.
    """
    if name == imagenet.NAME and not is_prepared(name, root):
        return IMAGENET_SHAPE
    return _get(name, root).shape


def facts(name: str, root: Path | None = None) -> DataFacts:
    """Mean, standard deviation and names of the classes; of a packed data set below ``root``, as its packed.json says.

    Raises:
        InputError: there is no data set of that name; the error lists those that there are.
        RunError: packed.json is damaged.
    """
    return _get(name, root).facts


def counts(name: str, root: Path | None = None) -> DataCounts:
    """How many training and test images there are, without reading any.

    Raises:
        InputError: there is no data set of that name; the error lists those that there are.
        RunError: packed.json is damaged.
    """
    if name == imagenet.NAME and not is_prepared(name, root):
        return IMAGENET_COUNTS
    return _get(name, root).counts


def load(
    name: str, root: Path | None = None, train_images: int | None = None, test_images: int | None = None
) -> ImageData:
    """Read a data set that `prepare` put under ``root`` (see `default_root`), or a subset of it.

    Nothing is ever downloaded here. ``train_images`` and ``test_images`` are as in `ImageData.subset`. The images of a
    packed data set stay on the disk, mapped into memory, unless there is a subset of them.

    Raises:
        InputError: there is no data set of that name, or it has not so many images.
        RunError: a file is missing or is not what was published or packed; the error names it and says how to get it.
    """
    return _get(name, root).load(default_root() if root is None else root).subset(train_images, test_images)


def prepare(name: str, root: Path | None = None) -> Path:
    """Fetch and check what is missing or damaged of a data set; give the folder where it lies.

    A packed data set is checked, all of it.

    Raises:
        InputError: there is no data set of that name.
        RunError: no source could be reached; the error says what each of them answered, and how to do it by hand. Or a
            packed data set is damaged.
    """
    return _get(name, root).prepare(default_root() if root is None else root)


def check_name(name: object) -> str:
    """The name of a packed data set to be, if it can be one.

    Raises:
        InputError: it is none for a folder, or that of a data set that is fetched.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"name must be of letters, digits, _ . and -, as in name=flowers; not {name!r}")
    if name in _DATA_SETS:
        raise InputError(f"name={name} is that of a data set that is fetched; choose another")
    if name in ("folder", "sampled"):  # data=<name> would be another choice
        raise InputError(f"name={name} has a meaning of its own in data=...; choose another")
    return name


def _get(name: str | None, root: Path | None) -> _DataSet:
    """The data set of that name."""
    if name in _DATA_SETS:
        return _DATA_SETS[name]
    root = default_root() if root is None else root
    if name is None:  # as configs/data/folder.yaml has it
        raise InputError(
            f"data.name=... must be given; choose from: {', '.join(names(root))}. Or type data=<name> alone"
        )
    if name not in packed.packed_names(root):
        if name == imagenet.NAME:
            raise InputError(
                f"{name} is not prepared in {root}; its three published archives become a data set by: "
                "python -m designspace.prepare data=imagenet from=[...] size=224"
            )
        error = unknown("data set", name, names(root))
        raise InputError(
            f"{error}. Folders of images become data sets in {root} by: python -m designspace.prepare data=folder "
            "name=... from=... size=..."
        )
    return _of_packed(root / name)


def _of_packed(folder: Path) -> _DataSet:
    """A packed data set."""
    held = packed.read_packed(folder)

    def prepare(root: Path) -> Path:
        packed.check(root / folder.name)
        return root / folder.name

    return _DataSet(
        DataShape(packed.CHANNELS, held.size, len(held.classes)),
        DataFacts(held.mean, held.std, held.classes),
        DataCounts(held.train.images, held.test.images),
        lambda root: packed.load(root / folder.name),
        prepare,
    )
