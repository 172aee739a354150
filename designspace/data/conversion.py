"""Conversion of a user's arrays and torch Datasets to those of `ImageData`, with one clear error for each flaw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data.images import IGNORED, IMAGE_TYPES, largest_value
from designspace.support.errors import InputError

LAYOUTS = ("NCHW", "NHWC", "NHW")
_VALUES_AT_ONCE = 1 << 22
"""Number of values that are read at a time, so that images may be larger than memory."""
_DIGITS = 6
"""Digits of the standard deviation that are kept, and of the mean to the same place."""


def is_dataset(value: object) -> bool:
    """Return whether a value is a map-style torch Dataset or anything else with items and a length, but no array."""
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, tuple | list | dict)


def is_array(value: object) -> bool:
    """Return whether a value is an array, a tensor or a list."""
    return hasattr(value, "dtype") or isinstance(value, list)


def read_dataset(what: str, dataset: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the images and labels of a map-style Dataset, whose items are pairs of them, in memory.

    Raises:
        InputError: an item is not a pair, or cannot be read, or has another shape or type than the first one.
    """
    count = len(dataset)
    if not count:
        raise InputError(f"{what} is empty")
    images: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    for index in range(count):
        image, label = _item(what, dataset, index)
        if images is None or labels is None:
            images, labels = np.empty((count, *image.shape), image.dtype), np.empty((count, *label.shape), label.dtype)
        for kind, item, first in (("image", image, images), ("label", label, labels)):
            if item.shape != first.shape[1:] or item.dtype != first.dtype:
                raise InputError(
                    f"{what}: {kind} {index} is {item.dtype} of shape {item.shape}, but {kind} 0 is {first.dtype} of "
                    f"shape {first.shape[1:]}; all must be alike: resize or crop them in the Dataset"
                )
        images[index], labels[index] = image, label
    return np.asarray(images), np.asarray(labels)


def _item(what: str, dataset: Any, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the image and the label of an item of a Dataset as arrays."""
    try:
        item = dataset[index]
    except Exception as error:  # a user's code may raise anything
        raise InputError(f"{what}: item {index} cannot be read ({_one_line(error)})") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InputError(f"{what}: items must be pairs (image, label), but item {index} is a {type(item).__name__}")
    image, label = item
    return as_array(f"{what}: image {index}", image), as_array(f"{what}: label {index}", label)


def as_array(what: str, value: Any) -> NDArray[Any]:
    """Return an array, a tensor, a number, or a list of numbers as an array of numbers; arrays are not copied.

    Raises:
        InputError: it has no common type and shape, or holds objects or text.
    """
    try:
        tensor = value.detach().cpu() if hasattr(value, "detach") else value
        array: NDArray[Any] = np.asanyarray(tensor)
    except Exception as error:  # lists of unequal length; types of torch that numpy does not have
        raise InputError(f"{what} cannot be an array of numbers ({_one_line(error)})") from error
    if array.dtype.kind not in "biuf":
        hint = "; number the classes from 0 and give their names as classes=" if array.dtype.kind in "US" else ""
        raise InputError(f"{what} must be an array of numbers of equal shapes, not of type {array.dtype}{hint}")
    return array


def layout_of(what: str, shape: tuple[int, ...], layout: str | None = None) -> str:
    """Return the layout of square images of a shape, one of `LAYOUTS`; the given one is checked.

    >>> layout_of("images", (100, 12, 32, 32)), layout_of("images", (100, 32, 32, 12)), layout_of("images", (9, 28, 28))
    ('NCHW', 'NHWC', 'NHW')

    Raises:
        InputError: the images are not square, or their layout is unknown or may be two.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"{what}: layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if not all(shape) or len(shape) not in (3, 4):
        raise InputError(f"{what} must have the shape (N, C, H, W), (N, H, W, C) or (N, H, W) without a 0, not {shape}")
    if len(shape) == 3:
        fitting = ["NHW"] if shape[1] == shape[2] else []
    else:
        fitting = [name for name, fits in (("NCHW", shape[2] == shape[3]), ("NHWC", shape[1] == shape[2])) if fits]
    if layout in fitting:
        return layout
    if not fitting or layout is not None:
        raise InputError(
            f"{what} of shape {shape} are not square{f' as {layout}' if layout else ''}: networks take images whose "
            "height is their width; crop or resize them"
        )
    if len(fitting) > 1:
        raise InputError(
            f"{what} of shape {shape} may be (N, C, H, W) or (N, H, W, C); say which with layout=NCHW or layout=NHWC"
        )
    return fitting[0]


def as_images(what: str, value: Any, layout: str | None = None) -> NDArray[Any]:
    """Return images as a read-only view (N, C, H, W) of uint8, uint16 or float32.

    Only other floating-point types and foreign byte orders are copied, to float32 or to the order of this machine.

    Raises:
        InputError: they have another type or shape.
    """
    array = as_array(what, value)
    if array.dtype.kind == "f" and array.dtype.itemsize != 4:
        with np.errstate(over="ignore"):  # values too large for float32 become infinite, which is an error later
            array = array.astype(np.float32)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if str(array.dtype) not in IMAGE_TYPES:
        raise InputError(
            f"{what} must be uint8, uint16 or floating-point numbers, not {array.dtype}; convert them, as in "
            "images.astype(numpy.uint16)"
        )
    layout = layout_of(what, array.shape, layout)
    view = array.view()
    view.flags.writeable = False
    if layout == "NHW":
        return view[:, None]
    return view.transpose(0, 3, 1, 2) if layout == "NHWC" else view


def as_labels(what: str, value: Any) -> NDArray[Any]:
    """Return labels in one of the forms in `designspace.data.images.TARGETS`, which their type and shape determine.

    Whole numbers are classes of images (N,) or of pixels (N, H, W), or 0 and 1 for several labels (N, K); floats
    (N,) or (N, K) are targets of regression.

    Raises:
        InputError: they have none of these forms.
    """
    labels = as_array(what, value)
    if labels.dtype.kind == "f":
        if labels.ndim not in (1, 2):
            raise InputError(f"{what} are floating-point numbers of shape {labels.shape}; they must be (N,) or (N, K)")
        with np.errstate(over="ignore"):
            return labels.reshape(len(labels), -1).astype(np.float32)
    if labels.ndim == 2:
        return _several_labels(what, labels)
    if labels.ndim not in (1, 3):
        raise InputError(f"{what} must have the shape (N,), (N, K) or (N, H, W), not {labels.shape}")
    if labels.size and int(labels.max()) >= 1 << 31:
        raise InputError(f"{what} must be 0 to the number of classes - 1, not up to {labels.max()}")
    return labels.astype(np.int64)


def _several_labels(what: str, labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return whole numbers (N, K) as several labels per image."""
    if labels.shape[1] == 1:
        raise InputError(
            f"{what} have the shape {labels.shape}; classes must be (N,), as labels.reshape(-1), and several labels "
            "per image need two columns or more"
        )
    if labels.size and (labels.min() < 0 or labels.max() > 1):
        raise InputError(
            f"{what} of shape {labels.shape} must be 0 and 1, one column per label, not {labels.min()} to "
            f"{labels.max()}; numbers for regression must be floating-point, as labels.astype(numpy.float32)"
        )
    return labels.astype(np.uint8)


def with_ignored(labels: NDArray[Any], num_classes: int) -> NDArray[Any]:
    """Return labels of pixels in which 255 is `IGNORED`, as is usual in files of bytes, unless it is a class."""
    return np.where(labels == 255, IGNORED, labels) if labels.ndim == 3 and num_classes <= 255 else labels


def check_finite(what: str, images: NDArray[Any]) -> None:
    """Raise `InputError` if floating-point images have a value that is not a finite number."""
    if images.dtype.kind == "f":
        for _ in _finite_pieces(what, images):
            pass


def mean_and_std(what: str, images: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel of images (N, C, H, W), read piece by piece.

    The units are those of `ImageData.mean`.

    Raises:
        InputError: a value is not a finite number, or a channel has the same value everywhere.
    """
    channels = images.shape[1]
    count, mean, squares = 0, np.zeros(channels), np.zeros(channels)
    low, high = np.full(channels, math.inf), np.full(channels, -math.inf)
    for piece in _finite_pieces(what, images):
        values = piece.astype(np.float64)
        # The sums of pieces are joined as by Chan et al. (1979), which keeps the digits of small deviations.
        number, centre = values[:, 0].size, values.mean((0, 2, 3))
        total, shift = count + number, centre - mean
        squares += np.square(values - centre[:, None, None]).sum((0, 2, 3)) + shift**2 * (count * number / total)
        mean += shift * (number / total)
        count = total
        low, high = np.minimum(low, piece.min((0, 2, 3))), np.maximum(high, piece.max((0, 2, 3)))
    if constant := [channel for channel in range(channels) if low[channel] == high[channel]]:
        raise InputError(
            f"{what}: channel {constant[0]} is {low[constant[0]]:g} in every pixel, so its deviation is 0; leave it "
            "out, or give mean= and std="
        )
    unit = largest_value(str(images.dtype))
    pairs = [_rounded(m / unit, math.sqrt(s / count) / unit) for m, s in zip(mean, squares, strict=True)]
    return tuple(m for m, _ in pairs), tuple(s for _, s in pairs)


def _rounded(mean: float, std: float) -> tuple[float, float]:
    """Return mean and deviation without the digits in which machines may differ."""
    places = _DIGITS - 1 - math.floor(math.log10(std))
    return round(mean, places), round(std, places)


def _finite_pieces(what: str, images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield images piece by piece; raise `InputError` at the first one with a value that is not a finite number."""
    length = max(1, _VALUES_AT_ONCE // images[0].size)
    for start in range(0, len(images), length):
        piece = images[start : start + length]
        if piece.dtype.kind == "f" and not (is_finite := np.isfinite(piece).all((1, 2, 3))).all():
            raise InputError(
                f"{what}: image {start + int(np.argmin(is_finite))} has values that are NaN or infinite (or too large "
                "for float32); replace them, as with numpy.nan_to_num"
            )
        yield piece


def _one_line(error: Exception) -> str:
    """Return an exception as one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
