"""Images and labels of a data set as plain arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data.classes import class_indices
from designspace.support.checks import plain
from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class ImageData(Outlined):
    """A data set: training and test images of one size, and their classes. The values are checked.

    Images may be arrays in memory or, in a packed data set, mapped from the disk (`numpy.memmap`).

    Raises:
        InputError: an array has another type or shape than its field documents, or a label is not a class.
    """

    name: str
    train_images: NDArray[np.uint8]
    """Shape (N, C, H, W), values 0 to 255."""
    train_labels: NDArray[np.int64]
    """Shape (N,), values 0 to num_classes - 1."""
    test_images: NDArray[np.uint8]
    """Shape (M, C, H, W)."""
    test_labels: NDArray[np.int64]
    """Shape (M,)."""
    num_classes: int
    mean: tuple[float, ...]
    """Mean of each channel over the training images, where 255 is 1."""
    std: tuple[float, ...]
    """Standard deviation of each channel, where 255 is 1; above 0."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their numbers; empty if they are unknown."""

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            _check_array(f"{self.name}: {split}_images", images, np.uint8, 4)
            _check_array(f"{self.name}: {split}_labels", labels, np.int64, 1)
            if len(images) != len(labels) or not len(images):
                raise InputError(f"{self.name}: {split} has {len(images)} images and {len(labels)} labels")
            if labels.min() < 0 or labels.max() >= self.num_classes:
                raise InputError(
                    f"{self.name}: {split}_labels must be 0 to {self.num_classes - 1}, "
                    f"not {labels.min()} to {labels.max()}"
                )
        train, test = self.train_images.shape[1:], self.test_images.shape[1:]
        if train != test:
            raise InputError(f"{self.name}: training images are {train}, test images {test}")
        channels = train[0]
        if len(self.mean) != channels or len(self.std) != channels or min(self.std) <= 0:
            raise InputError(
                f"{self.name}: mean and std need one number for each of {channels} channels, and std above 0, "
                f"not {self.mean} and {self.std}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def with_classes(self, classes: Sequence[str], whose: str) -> ImageData:
        """Return the same images with labels that are indices into another list of classes, which may be longer.

        Args:
            classes: names of the classes, in the order of their numbers.
            whose: the owner of the list, for the error message.

        Raises:
            InputError: a class is not among them.
        """
        if tuple(classes) == self.classes:
            return self
        numbers = np.array(class_indices(self.classes, classes, self.name, whose))
        train, test = numbers[self.train_labels], numbers[self.test_labels]
        return dataclasses.replace(
            self, classes=tuple(classes), num_classes=len(classes), train_labels=train, test_labels=test
        )

    def subset(self, train_images: int | None = None, test_images: int | None = None) -> ImageData:
        """Return a data set with this number of images of each split, in their order; None keeps all.

        Every class keeps its share, to within one image if classes are equally large. The choice is random but fixed:
        it depends on the labels alone, so it is the same for every trial and machine, and a larger subset contains
        every smaller one. Mean and standard deviation stay those of the whole set.

        Raises:
            InputError: there are fewer images.
        """
        part: dict[str, Any] = {}
        for split, count, seed in (("train", train_images, 0), ("test", test_images, 1)):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if count not in (None, len(images)):  # a complete split is not copied because it may be on the disk
                chosen = balanced(f"{self.name}: {split}_images", labels, count, seed)
                part |= {f"{split}_images": images[chosen], f"{split}_labels": labels[chosen]}
        return dataclasses.replace(self, **part) if part else self


def balanced(what: str, labels: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    """Return the indices of ``count`` images, in ascending order, with the same shares of the classes."""
    if count is None:
        return np.arange(len(labels))
    count = plain(count)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(labels):
        raise InputError(f"{what} must be 1 to {len(labels)}, not {count}")
    # Raw bits never change between versions of numpy, but `Generator.permutation` may.
    shuffled = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    # Position of an image in its class, as a fraction of the class; the images with the lowest ones keep all shares.
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = shuffled[np.argsort(position[shuffled], kind="stable")]
    return np.sort(order[:count])


def _check_array(what: str, array: Any, kind: type[np.generic], dimensions: int) -> None:
    """Raise `InputError` unless ``array`` is a numpy array of that type and number of dimensions."""
    if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != dimensions:
        actual = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{what} must be an array of {np.dtype(kind)} with {dimensions} dimensions, not {actual}")
