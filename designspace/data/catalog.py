"""The data sets that there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from designspace.data import fashion_mnist
from designspace.data.images import ImageData
from designspace.support.errors import unknown
from designspace.support.folders import default_root


class DataShape(NamedTuple):
    """What a network must fit."""

    channels: int
    size: int
    """Height and width of an image, in pixels."""
    num_classes: int


class DataFacts(NamedTuple):
    """What a network that was trained on a data set must be told with, wherever it goes."""

    mean: tuple[float, ...]
    """Mean of each channel over the training images, where 255 is 1, as `ImageData.mean`."""
    std: tuple[float, ...]
    """Standard deviation of each channel, as `ImageData.std`."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of their numbers."""


class _DataSet(NamedTuple):
    """A data set: its shape and facts, and how it is read and fetched (both take the folder of all data sets)."""

    shape: DataShape
    facts: DataFacts
    load: Callable[[Path], ImageData]
    prepare: Callable[[Path], Path]


_DATA_SETS = {
    "fashion_mnist": _DataSet(
        DataShape(1, 28, 10),
        DataFacts(fashion_mnist.MEAN, fashion_mnist.STD, fashion_mnist.CLASSES),
        fashion_mnist.load,
        fashion_mnist.prepare,
    ),
}


def names() -> list[str]:
    """The names of all data sets."""
    return list(_DATA_SETS)


def shape(name: str) -> DataShape:
    """Channels, size in pixels and number of classes, without reading any file.

    Raises:
        InputError: there is no data set of that name; the error lists those that there are.
    """
    return _get(name).shape


def facts(name: str) -> DataFacts:
    """Mean, standard deviation and names of the classes, without reading any file.

    Raises:
        InputError: there is no data set of that name; the error lists those that there are.
    """
    return _get(name).facts


def load(
    name: str, root: Path | None = None, train_images: int | None = None, test_images: int | None = None
) -> ImageData:
    """Read a data set that `prepare` put under ``root`` (see `default_root`), or a subset of it.

    Nothing is ever downloaded here. ``train_images`` and ``test_images`` are as in `ImageData.subset`.

    Raises:
        InputError: there is no data set of that name, or it has not so many images.
        RunError: a file is missing or is not what was published; the error names it and says how to get it.
    """
    return _get(name).load(default_root() if root is None else root).subset(train_images, test_images)


def prepare(name: str, root: Path | None = None) -> Path:
    """Fetch and check what is missing or damaged of a data set; give the folder where it lies.

    Raises:
        InputError: there is no data set of that name.
        RunError: no source could be reached; the error says what each of them answered, and how to do it by hand.
    """
    return _get(name).prepare(default_root() if root is None else root)


def _get(name: str) -> _DataSet:
    """The data set of that name."""
    if name not in _DATA_SETS:
        raise unknown("data set", name, _DATA_SETS)
    return _DATA_SETS[name]
