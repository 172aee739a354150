"""Packed data sets: folders of images, decoded once (`designspace.data.packing`), as arrays mapped into memory.

For each split, ``<root>/<name>/`` holds ``<split>_images.npy``, uint8 (N, 3, size, size), and ``<split>_labels.npy``,
int64 (N,), which any program can read. ``packed.json`` describes them; it is written last, so a data set that has one
is complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data.images import ImageData
from designspace.support.errors import RunError
from designspace.support.files import sha256_of, write_json
from designspace.support.reading import read_json_object, reading
from designspace.support.text import counted, shown

log = logging.getLogger(__name__)

PACKED = "packed.json"
FORMAT = 1
SPLITS = ("train", "test")
CHANNELS = 3
PIECE = 64
"""Number of images that share one digest."""


def images_file(split: str) -> str:
    """Return the name of the file with the images of a split."""
    return f"{split}_images.npy"


def labels_file(split: str) -> str:
    """Return the name of the file with the labels of a split."""
    return f"{split}_labels.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSplit:
    """The description of a split in packed.json."""

    images: int
    """Number of images."""
    labels_sha256: str
    """Digest of the file of labels."""
    sha256: tuple[str, ...]
    """Digests of the pixels of every `PIECE` images (the last piece may have fewer), without the file's header."""
    modified_ns: int
    """Modification time of the file of images."""
    unreadable: tuple[str, ...]
    """The images that were left out, each with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The content of packed.json. The values are checked.

    Raises:
        ValueError: a value is missing or out of range.
    """

    fingerprint: str
    """Digest of the list of images, their classes and the size (see `packing`); the key in packed.json is ``asked``."""
    source: str
    """The folders of training and test images that were packed."""
    size: int
    """Height and width of an image, in pixels."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of their numbers."""
    mean: tuple[float, ...]
    """Mean of each channel over the training images, where 255 is 1."""
    std: tuple[float, ...]
    """Standard deviation of each channel, where 255 is 1."""
    train: PackedSplit
    test: PackedSplit

    def __post_init__(self) -> None:
        numbers = (self.size, self.train.images, self.test.images, len(self.classes))
        if not all(type(number) is int and 1 <= number < 2**40 for number in numbers) or self.size > 1 << 16:
            raise ValueError(f"size, images and classes must be whole numbers >= 1, not {shown(numbers)}")
        for name, value in (("asked", self.fingerprint), ("source", self.source)):
            if not isinstance(value, str):
                raise ValueError(f"{name} must be text, not {shown(value)}")
        names = [*self.classes, *self.train.sha256, *self.test.sha256, self.train.labels_sha256]
        if not all(isinstance(name, str) for name in names) or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes and digests must be text, and no two classes may be equal")
        for split in (self.train, self.test):
            if len(split.sha256) != math.ceil(split.images / PIECE):
                raise ValueError(f"{counted(split.images, 'image')} have {counted(len(split.sha256), 'digest')}")
        if not all(_is_fraction(number) for number in (*self.mean, *self.std)) or not all(self.std):
            raise ValueError("mean and std must be numbers from 0 to 1")
        if len(self.mean) != CHANNELS or len(self.std) != CHANNELS:
            raise ValueError(f"mean and std need {CHANNELS} numbers")

    def split(self, name: str) -> PackedSplit:
        """Return the description of a split."""
        return self.train if name == "train" else self.test


MAX_BYTES = 256 << 20
"""Upper limit for the size of packed.json, which may list many images that were left out."""


def _is_fraction(number: object) -> bool:
    """Return whether a value is a number from 0 to 1."""
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds a packed data set."""
    return (folder / PACKED).is_file()


def packed_names(root: Path) -> list[str]:
    """Return the names of the packed data sets below ``root``."""
    return sorted(path.parent.name for path in root.glob(f"*/{PACKED}"))


def read_packed(folder: Path) -> Packed:
    """Read packed.json.

    Raises:
        RunError: the file is missing, damaged, or from another version of this program.
    """
    path = folder / PACKED
    fields = read_json_object(path, MAX_BYTES, file_names=True)
    try:
        version = fields.pop("format")
        if version == FORMAT:
            fields["fingerprint"] = fields.pop("asked")
            for split in SPLITS:
                fields[split] = PackedSplit(**_tuples(fields[split]))
            return Packed(**_tuples(fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({str(error)[:300]}); {_advice(folder)}") from error
    raise RunError(f"{path} has format {shown(version)}, which this version cannot read; {_advice(folder)}")


def write_packed(folder: Path, packed: Packed) -> None:
    """Write packed.json."""
    fields = dataclasses.asdict(packed)
    write_json(folder / PACKED, {"format": FORMAT, "asked": fields.pop("fingerprint"), **fields})


def load(folder: Path) -> ImageData:
    """Load a packed data set; its images stay on the disk, mapped into memory, and are not read yet.

    The sizes of all files are checked, the labels by their SHA-256, and the images by their modification time. If that
    has changed since they were packed, as after copying, all of them are read and checked; `check` records the new
    time, after which this is no longer necessary.

    Raises:
        RunError: a file is missing, cut off or changed; the error names it.
    """
    packed = read_packed(folder)
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        arrays[f"{split}_images"] = _images(folder, packed, split)
        arrays[f"{split}_labels"] = _labels(folder, packed, split)
        path = folder / images_file(split)
        if _modified_ns(path) != packed.split(split).modified_ns:
            log.info(
                "%s was modified since it was packed, so it is read and checked; avoid this by running "
                "designspace.prepare once",
                path,
            )
            _check_pieces(folder, packed, split, lambda images: None)
    classes, mean, std = packed.classes, packed.mean, packed.std
    return ImageData(folder.name, num_classes=len(classes), mean=mean, std=std, classes=classes, **arrays)


def check(folder: Path, on_progress: Callable[[int, int], None] = lambda finished, total: None) -> Packed:
    """Read a packed data set completely and compare it with the digests in packed.json.

    Args:
        folder: the folder of the data set.
        on_progress: called now and then with the number of checked images and their total number.

    Raises:
        RunError: a file is missing, cut off or changed; the error names it.
    """
    packed = read_packed(folder)
    total = packed.train.images + packed.test.images
    finished = 0

    def count(images: int) -> None:
        nonlocal finished
        finished += images
        on_progress(finished, total)

    for split in SPLITS:
        _labels(folder, packed, split)
        _check_pieces(folder, packed, split, count)
    modified = {split: _modified_ns(folder / images_file(split)) for split in SPLITS}
    if any(modified[split] != packed.split(split).modified_ns for split in SPLITS):
        train, test = (dataclasses.replace(packed.split(split), modified_ns=modified[split]) for split in SPLITS)
        packed = dataclasses.replace(packed, train=train, test=test)
        write_packed(folder, packed)
    return packed


def _modified_ns(path: Path) -> int:
    """Return the modification time of a file, in nanoseconds since 1970."""
    with reading(path):
        return path.stat().st_mtime_ns


def pieces(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield images in the pieces that share one digest."""
    return (images[start : start + PIECE] for start in range(0, len(images), PIECE))


def digest(images: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the pixels of images, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def _check_pieces(folder: Path, packed: Packed, split: str, count: Callable[[int], None]) -> None:
    """Raise `RunError` unless the images of a split are those that were packed."""
    images = _images(folder, packed, split)
    for number, (piece, expected) in enumerate(zip(pieces(images), packed.split(split).sha256, strict=True)):
        if digest(piece) != expected:
            first = number * PIECE
            raise RunError(
                f"{folder / images_file(split)} is damaged: images {first} to {first + len(piece) - 1} differ from "
                f"what was packed; {_advice(folder)}"
            )
        count(len(piece))


def _images(folder: Path, packed: Packed, split: str) -> NDArray[np.uint8]:
    """Map the images of a split into memory, and check their number and size."""
    path = folder / images_file(split)
    shape = (packed.split(split).images, CHANNELS, packed.size, packed.size)
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}; {_advice(folder)}") from error
    except ValueError as error:  # raised by numpy if the file is cut off or is not in its format
        raise RunError(f"{path} is cut off or damaged ({error}); {_advice(folder)}") from error
    if images.shape != shape or images.dtype != np.uint8 or path.stat().st_size != images.offset + images.nbytes:  # type: ignore[attr-defined]
        raise RunError(f"{path} is damaged: it must hold exactly {shape} bytes; {_advice(folder)}")
    return images


def _labels(folder: Path, packed: Packed, split: str) -> NDArray[np.int64]:
    """Read and check the labels of a split."""
    path = folder / labels_file(split)
    try:
        if sha256_of(path) != packed.split(split).labels_sha256:
            raise RunError(f"{path} is damaged: its SHA-256 differs from the one in {PACKED}; {_advice(folder)}")
        labels: NDArray[np.int64] = np.load(path, allow_pickle=False)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}; {_advice(folder)}") from error
    return labels


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace the lists among JSON fields by tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _advice(folder: Path) -> str:
    """Return the advice on what to do about a damaged data set."""
    return (
        f"delete {folder / PACKED} and pack it again: python -m designspace.prepare data=folder name={folder.name} ..."
    )
