"""Packed data sets: folders of images, decoded once (`designspace.data.packing`), as arrays mapped into memory.

``<root>/<name>/`` holds for each split ``<split>_images.npy``, uint8 (N, 3, size, size), and ``<split>_labels.npy``,
int64 (N,), which any program can read, and ``packed.json``, which says what they are. packed.json is written last:
where it is, the data set is whole.
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
"""Images that have a digest together."""


def images_file(split: str) -> str:
    """The name of the file with the images of a split."""
    return f"{split}_images.npy"


def labels_file(split: str) -> str:
    """The name of the file with the labels of a split."""
    return f"{split}_labels.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSplit:
    """What packed.json says of a split."""

    images: int
    """How many."""
    labels_sha256: str
    """Of the file of labels."""
    sha256: tuple[str, ...]
    """Of each `PIECE` images, the last ones perhaps fewer: their pixels, without the header of the file."""
    modified_ns: int
    """When the file of images was last written, as the file system says."""
    unreadable: tuple[str, ...]
    """The images that were left out, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What packed.json says. Checked when made.

    Raises:
        ValueError: a value is missing or out of range.
    """

    asked: str
    """Names the list of images, their classes and the size together (see `packing`)."""
    source: str
    """The folder that was packed, and its folders that were taken as training and test images."""
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
        for name in ("asked", "source"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be text, not {shown(getattr(self, name))}")
        names = [*self.classes, *self.train.sha256, *self.test.sha256, self.train.labels_sha256]
        if not all(isinstance(name, str) for name in names) or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes and digests must be texts, and classes differ from each other")
        for split in (self.train, self.test):
            if len(split.sha256) != math.ceil(split.images / PIECE):
                raise ValueError(f"{counted(split.images, 'image')} have {counted(len(split.sha256), 'digest')}")
        if not all(_is_part(number) for number in (*self.mean, *self.std)) or not all(self.std):
            raise ValueError("mean and std must be numbers from 0 to 1")
        if len(self.mean) != CHANNELS or len(self.std) != CHANNELS:
            raise ValueError(f"mean and std need {CHANNELS} numbers")

    def split(self, name: str) -> PackedSplit:
        """The split of that name."""
        return self.train if name == "train" else self.test


MAX_BYTES = 256 << 20
"""The largest packed.json that is read: it may name all images that were left out."""


def _is_part(number: object) -> bool:
    """Whether a value is a number from 0 to 1."""
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1


def is_packed(folder: Path) -> bool:
    """Whether a folder holds a packed data set."""
    return (folder / PACKED).is_file()


def packed_names(root: Path) -> list[str]:
    """The names of the packed data sets below ``root``."""
    return sorted(path.parent.name for path in root.glob(f"*/{PACKED}"))


def read_packed(folder: Path) -> Packed:
    """Read packed.json.

    Raises:
        RunError: it is missing, damaged, or of another version of this program.
    """
    path = folder / PACKED
    fields = read_json_object(path, MAX_BYTES, file_names=True)
    try:
        version = fields.pop("format")
        if version == FORMAT:
            for split in SPLITS:
                fields[split] = PackedSplit(**_tuples(fields[split]))
            return Packed(**_tuples(fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({str(error)[:300]}); {_advice(folder)}") from error
    raise RunError(f"{path} is of format {shown(version)}, which this version does not know; {_advice(folder)}")


def write_packed(folder: Path, packed: Packed) -> None:
    """Write packed.json."""
    write_json(folder / PACKED, {"format": FORMAT, **dataclasses.asdict(packed)})


def load(folder: Path) -> ImageData:
    """Give a packed data set; its images stay on the disk, mapped into memory, and nothing of them is read.

    The sizes of all files are checked, the labels by their SHA-256, and the images by the time when they were last
    written. Where that is another than when they were packed, as after copying, all of them are read and checked;
    `check` notes the new time, and then they need not be any more.

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
            log.info("%s was touched since it was packed: reading all of it; designspace.prepare ends that", path)
            _check_pieces(folder, packed, split, lambda images: None)
    classes, mean, std = packed.classes, packed.mean, packed.std
    return ImageData(folder.name, num_classes=len(classes), mean=mean, std=std, classes=classes, **arrays)


def check(folder: Path, show: Callable[[int, int], None] = lambda finished, total: None) -> Packed:
    """Read all of a packed data set and compare it with the digests that packed.json holds.

    Args:
        folder: where it lies.
        show: is told now and then how many images were checked, of how many.

    Raises:
        RunError: a file is missing, cut off or changed; the error names it.
    """
    packed = read_packed(folder)
    total = packed.train.images + packed.test.images
    finished = 0

    def count(images: int) -> None:
        nonlocal finished
        finished += images
        show(finished, total)

    for split in SPLITS:
        _labels(folder, packed, split)
        _check_pieces(folder, packed, split, count)
    now = {split: _modified_ns(folder / images_file(split)) for split in SPLITS}
    if any(now[split] != packed.split(split).modified_ns for split in SPLITS):
        train, test = (dataclasses.replace(packed.split(split), modified_ns=now[split]) for split in SPLITS)
        packed = dataclasses.replace(packed, train=train, test=test)
        write_packed(folder, packed)
    return packed


def _modified_ns(path: Path) -> int:
    """Return when a file was last written, in nanoseconds since 1970."""
    with reading(path):
        return path.stat().st_mtime_ns


def pieces(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Images in the portions that have a digest together."""
    return (images[start : start + PIECE] for start in range(0, len(images), PIECE))


def digest(images: NDArray[np.uint8]) -> str:
    """The SHA-256 of the pixels of some images, in hex."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def _check_pieces(folder: Path, packed: Packed, split: str, count: Callable[[int], None]) -> None:
    """Raise unless the images of a split are those that were packed."""
    images = _images(folder, packed, split)
    for number, (piece, expected) in enumerate(zip(pieces(images), packed.split(split).sha256, strict=True)):
        if digest(piece) != expected:
            first = number * PIECE
            raise RunError(
                f"{folder / images_file(split)} is damaged: images {first} to {first + len(piece) - 1} are not what "
                f"was packed; {_advice(folder)}"
            )
        count(len(piece))


def _images(folder: Path, packed: Packed, split: str) -> NDArray[np.uint8]:
    """The images of a split, mapped into memory; their number and size are checked."""
    path = folder / images_file(split)
    shape = (packed.split(split).images, CHANNELS, packed.size, packed.size)
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}; {_advice(folder)}") from error
    except ValueError as error:  # numpy's way to say that the file is cut off, or is none of its own
        raise RunError(f"{path} is cut off or damaged ({error}); {_advice(folder)}") from error
    if images.shape != shape or images.dtype != np.uint8 or path.stat().st_size != images.offset + images.nbytes:  # type: ignore[attr-defined]
        raise RunError(f"{path} is damaged: it must hold {shape} bytes, and nothing else; {_advice(folder)}")
    return images


def _labels(folder: Path, packed: Packed, split: str) -> NDArray[np.int64]:
    """The labels of a split, read and checked."""
    path = folder / labels_file(split)
    try:
        if sha256_of(path) != packed.split(split).labels_sha256:
            raise RunError(f"{path} is damaged: its SHA-256 is not the one that it was packed with; {_advice(folder)}")
        labels: NDArray[np.int64] = np.load(path, allow_pickle=False)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}; {_advice(folder)}") from error
    return labels


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of JSON as values that cannot change."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _advice(folder: Path) -> str:
    """What to do about a damaged data set."""
    return (
        f"delete {folder / PACKED} and pack it again: python -m designspace.prepare data=folder name={folder.name} ..."
    )
