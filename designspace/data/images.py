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

IMAGE_TYPES = ("uint8", "uint16", "float32")
"""Types of the values of images."""
TARGETS = {
    "class": ("int64", 1, "int64 (N,) for one class per image"),
    "multilabel": ("uint8", 2, "uint8 (N, K) of 0 and 1 for several labels per image"),
    "regression": ("float32", 2, "float32 (N, K) for numbers"),
    "dense": ("int64", 3, "int64 (N, H, W) for one class per pixel"),
}
"""Kind of target -> type, number of dimensions and description of its labels."""
IGNORED = -1
"""Label of a pixel that counts neither in training nor in tests."""


def largest_value(dtype: str) -> float:
    """Return the value of images that is 1 in the units of mean and standard deviation: the largest whole number.

    >>> largest_value("uint8"), largest_value("uint16"), largest_value("float32")
    (255.0, 65535.0, 1.0)
    """
    return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[dtype]


@dataclass(frozen=True, eq=False, repr=False)
class ImageData(Outlined):
    """A data set: training and test images of one size, and their labels. The values are checked.

    Images may be arrays in memory or mapped from the disk (`numpy.memmap`). The type and number of dimensions of the
    labels determine what is learned (see `target`). `designspace.data.image_data` converts other arrays to these.

    Raises:
        InputError: an array has another type or shape than its field documents, or a label is out of range.
    """

    name: str
    train_images: NDArray[Any]
    """Shape (N, C, H, W), of type uint8, uint16 or float32."""
    train_labels: NDArray[Any]
    """One of the forms in `TARGETS`: classes are numbered 0 to num_classes - 1, and -1 is a pixel to ignore."""
    test_images: NDArray[Any]
    """Shape (M, C, H, W), of the same type."""
    test_labels: NDArray[Any]
    """As `train_labels`."""
    num_classes: int
    """Number of classes, or of labels or numbers per image."""
    mean: tuple[float, ...]
    """Mean of each channel over the training images, where the largest whole number (255 or 65535) is 1; for float32,
    in the images' own units."""
    std: tuple[float, ...]
    """Standard deviation of each channel, in the same units; above 0."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their numbers; empty if they are unknown."""

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            _check_images(f"{self.name}: {split}_images", images)
            _target_of(f"{self.name}: {split}_labels", labels)
            if len(images) != len(labels) or not len(images):
                raise InputError(f"{self.name}: {split} has {len(images)} images and {len(labels)} labels")
        train, test = self.train_images.shape[1:], self.test_images.shape[1:]
        if train != test:
            raise InputError(f"{self.name}: training images are {train}, test images {test}")
        for what in ("images", "labels"):
            train_kind, test_kind = (_kind(getattr(self, f"{split}_{what}")) for split in ("train", "test"))
            if train_kind != test_kind:
                raise InputError(f"{self.name}: {what} for training are {train_kind}, those for testing {test_kind}")
        for split in ("train", "test"):
            labels = getattr(self, f"{split}_labels")
            _check_labels(f"{self.name}: {split}_labels", labels, self.target, self.num_classes, train[1:])
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

    @property
    def target(self) -> str:
        """What is learned, as the labels say: ``class``, ``multilabel``, ``regression`` or ``dense``."""
        return _target_of(self.name, self.train_labels)

    @property
    def dtype(self) -> str:
        """Type of the images' values, one of `IMAGE_TYPES`."""
        return str(self.train_images.dtype)

    def with_classes(self, classes: Sequence[str], whose: str) -> ImageData:
        """Return the same images with labels that are indices into another list of classes, which may be longer.

        Args:
            classes: names of the classes, in the order of their numbers.
            whose: the owner of the list, for the error message.

        Raises:
            InputError: a class is not among them, or the labels are numbers for which the list has further names.
        """
        if tuple(classes) == self.classes:
            return self
        indices = np.array(class_indices(self.classes, classes, self.name, whose))
        if self.target == "regression" and len(classes) != self.num_classes:
            raise InputError(f"{self.name} has {self.num_classes} numbers per image, but {whose} has {len(classes)}")
        train, test = (
            _renumbered(labels, self.target, indices, len(classes)) for labels in (self.train_labels, self.test_labels)
        )
        return dataclasses.replace(
            self, classes=tuple(classes), num_classes=len(classes), train_labels=train, test_labels=test
        )

    def subset(self, train_images: int | None = None, test_images: int | None = None) -> ImageData:
        """Return a data set with this number of images of each split, in their order; None keeps all.

        Every class keeps its share, to within one image if classes are equally large; where images have no single
        class, all are alike. The choice is random but fixed: it depends on the labels alone, so it is the same for
        every trial and machine, and a larger subset contains every smaller one. Mean and standard
        deviation stay those of the whole set.

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


def balanced(what: str, labels: NDArray[Any], count: int | None, seed: int) -> NDArray[np.int64]:
    """Return the indices of ``count`` images, in ascending order, with the same shares of the classes.

    Labels with several dimensions do not assign one class to each image; then only ``seed`` decides.
    """
    if count is None:
        return np.arange(len(labels))
    count = plain(count)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(labels):
        raise InputError(f"{what} must be 1 to {len(labels)}, not {count}")
    # Raw bits never change between versions of numpy, but `Generator.permutation` may.
    shuffled = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    if labels.ndim > 1:
        return np.sort(shuffled[:count])
    # Position of an image in its class, as a fraction of the class; the images with the lowest ones keep all shares.
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = shuffled[np.argsort(position[shuffled], kind="stable")]
    return np.sort(order[:count])


def _check_images(what: str, images: Any) -> None:
    """Raise `InputError` unless images are an array of a type and number of dimensions that `ImageData` takes."""
    if not isinstance(images, np.ndarray) or str(images.dtype) not in IMAGE_TYPES or images.ndim != 4:
        raise InputError(
            f"{what} must be an array of uint8, uint16 or float32 with 4 dimensions, not {_kind_and_shape(images)}"
        )


def _target_of(what: str, labels: Any) -> str:
    """Return the kind of target of labels.

    Raises:
        InputError: they have none of the forms in `TARGETS`.
    """
    if isinstance(labels, np.ndarray):
        for target, (dtype, dimensions, _) in TARGETS.items():
            if labels.dtype == dtype and labels.ndim == dimensions:
                return target
    forms = ", ".join(description for *_, description in TARGETS.values())
    raise InputError(f"{what} must be an array of {forms}; not {_kind_and_shape(labels)}")


def _check_labels(what: str, labels: NDArray[Any], target: str, num_classes: int, size: tuple[int, ...]) -> None:
    """Raise `InputError` unless labels have values in range, and a shape that fits the number of classes and images."""
    if target in ("multilabel", "regression"):
        if labels.shape[1] != num_classes:
            raise InputError(f"{what} must have num_classes={num_classes} columns, not {labels.shape[1]}")
        if target == "multilabel" and labels.max(initial=0) > 1:
            raise InputError(f"{what} must be 0 and 1, not up to {labels.max()}")
        if target == "regression" and not np.isfinite(labels).all():
            first = int(np.argmin(np.isfinite(labels).all(axis=1)))
            raise InputError(f"{what} must be finite numbers, not {labels[first].tolist()} as in image {first}")
        return
    if target == "dense" and labels.shape[1:] != size:
        raise InputError(f"{what} must have the images' size {size}, not {labels.shape[1:]}")
    low, high = labels.min(), labels.max()
    if low < (IGNORED if target == "dense" else 0) or high >= num_classes:
        ignored = f", and {IGNORED} for pixels to ignore" if target == "dense" else ""
        raise InputError(f"{what} must be 0 to {num_classes - 1}{ignored}, not {low} to {high}")


def _renumbered(labels: NDArray[Any], target: str, indices: NDArray[np.int64], num_classes: int) -> NDArray[Any]:
    """Return labels for another list of classes, in which class i has the index ``indices[i]``."""
    if target == "class":
        numbers: NDArray[Any] = indices[labels]
        return numbers
    if target == "dense":
        return np.where(labels == IGNORED, IGNORED, indices[labels])
    columns = np.zeros((len(labels), num_classes), labels.dtype)
    columns[:, indices] = labels
    return columns


def _kind(array: NDArray[Any]) -> str:
    """Return the type of an array and the shape of its items if that is part of its kind."""
    return f"{array.dtype} with {array.ndim} dimensions"


def _kind_and_shape(value: Any) -> str:
    """Return the type and shape of an array, or the type of another value, for an error message."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
