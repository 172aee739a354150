"""Images in a folder of class folders, read one by one and prepared according to a preset.

The layout is ``<folder>/<class>/<image>``, where images may also be in subfolders of a class. The number of a class is
the index of its name in the order of `designspace.data.classes`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from designspace.data import classes as class_names
from designspace.data.images import balanced
from designspace.data.listing import BESIDE_CLASSES, CAN_READ_AVIF, EXTENSIONS, Listing, describe_shared
from designspace.data.presets import Preset
from designspace.support.errors import InputError, RunError
from designspace.support.text import as_utf8, first_few

log = logging.getLogger(__name__)

_FORMATS = (  # recognised by content; some other formats make Pillow start programs
    *("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF"),
    *(("AVIF",) if CAN_READ_AVIF else ()),
)
_SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose 16-bit grey values are 32 bits wide in old versions of Pillow."""
_ORIENTATION = 0x0112
"""EXIF's tag of the orientation."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, by its EXIF orientation."""
_INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The images of a folder and their classes. Created by `ImageFolder.of`; an image is decoded when it is read.

    Raises:
        InputError: labels and files do not match.
    """

    path: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    """Paths below `path`, class by class."""
    labels: NDArray[np.int64]
    """Shape (N,), values 0 to number of classes - 1, in ascending order."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of files of each kind that are not images (see `designspace.data.listing.describe_left_out`)."""

    def __post_init__(self) -> None:
        ordered = np.array_equal(self.labels, np.sort(self.labels).clip(0, len(self.classes) - 1))
        if not self.files or len(self.files) != len(self.labels) or not ordered:
            raise InputError(
                f"{self.path}: {len(self.files)} files need as many labels from 0 to {len(self.classes) - 1}, in order"
            )

    @staticmethod
    def of(path: Path, recorded: Sequence[str] = ()) -> ImageFolder:
        """List a folder of class folders. Links are followed; names that begin with a dot are left out.

        Args:
            path: the folder.
            recorded: an order of the classes that was recorded before (see `designspace.data.classes.sort_classes`).

        Raises:
            InputError: there is no such folder, it has no class folders, a class has no images, or its name is not
                UTF-8.
            RunError: a folder cannot be read.
        """
        name = as_utf8(str(path))
        if not path.is_dir():
            raise InputError(
                f"{name} is {'a file' if path.exists() else 'not a folder'}; images must be in a {_LAYOUT}"
            )
        listing = Listing(path)
        if not listing.images:
            raise _no_classes_error(name, listing.left_out[BESIDE_CLASSES])
        class_names.check_names(listing.images, name)
        classes = class_names.sort_classes(listing.images, recorded)
        if empty := [name for name in classes if not listing.images[name]]:
            raise InputError(
                f"{name}: no images in the class folders {first_few(empty, 10)}; "
                f"images are files that end in {' '.join(EXTENSIONS)}"
            )
        if pairs := listing.shared_files():
            log.warning("%s: %s", name, describe_shared(pairs))
        return ImageFolder(
            path,
            classes,
            files=tuple(os.path.relpath(file, path) for name in classes for file in listing.images[name]),
            labels=np.repeat(np.arange(len(classes)), [len(listing.images[name]) for name in classes]),
            left_out=dict(listing.left_out),
        )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.files)

    @property
    def num_classes(self) -> int:
        """The number of class folders."""
        return len(self.classes)

    def subset(self, images: int | None) -> ImageFolder:
        """Return a fixed subset of ``images`` images with the same shares of the classes (see `ImageData.subset`).

        Raises:
            InputError: there are fewer images.
        """
        chosen = balanced(f"{as_utf8(str(self.path))}: images", self.labels, images, seed=1)
        return self.part(chosen)

    def part(self, chosen: NDArray[np.int64]) -> ImageFolder:
        """Return the part with the images of these indices, which are in ascending order."""
        files = tuple(self.files[i] for i in chosen)
        return dataclasses.replace(self, files=files, labels=self.labels[chosen])

    def with_classes(self, classes: Sequence[str], whose: str) -> ImageFolder:
        """Return the same images with labels that are indices into another list of classes, which may be longer.

        Args:
            classes: names of the classes, in the order of their numbers.
            whose: the owner of the list, for the error message.

        Raises:
            InputError: a class folder is not among them.
        """
        if tuple(classes) == self.classes:
            return self
        numbers = np.array(class_names.class_indices(self.classes, classes, f"folder {as_utf8(str(self.path))}", whose))
        labels = numbers[self.labels]
        order = np.argsort(labels, kind="stable")
        files = tuple(self.files[i] for i in order)
        return dataclasses.replace(self, classes=tuple(classes), files=files, labels=labels[order])

    def read(self, index: int, preset: Preset) -> NDArray[np.uint8]:
        """Read and prepare an image: uint8 (C, crop, crop) with C = 3, or 1 if the preset is for grey images.

        Raises:
            RunError: the file cannot be read; the error names it.
        """
        return prepare_image(read_image(self.path / self.files[index], len(preset.mean)), preset)


def read_image(path: Path, channels: int = 3, least: int | None = None) -> Image.Image:
    """Decode a file to red, green and blue (3 channels) or to grey (1).

    With ``least``, a JPEG may be decoded at a half, a quarter or an eighth of its size, if no side then has fewer
    pixels than that: its decoder does less work.

    The image is turned upright according to EXIF's orientation. Transparency is dropped, the upper 8 of 16 bits are
    kept, and the first of several frames is taken, as in the code that published weights come from.

    Raises:
        RunError: the file cannot be read, is not an image, is cut off, or is larger than Pillow decodes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would block forever
            raise ValueError("it is not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # malformed metadata, which is common in ImageNet
            with Image.open(path, formats=_FORMATS) as image:
                if least is not None:
                    image.draft(None, (least, least))
                image.load()
                transpose = _UPRIGHT.get(_orientation(image))
                converted = _convert(image, _MODES[channels])
                return converted if transpose is None else converted.transpose(transpose)
    except Exception as error:  # Pillow's readers may raise any exception on damaged input
        raise RunError(f"cannot read {as_utf8(str(path))}: {_reason(error)}") from error


def prepare_image(image: Image.Image, preset: Preset) -> NDArray[np.uint8]:
    """Resize an image's shorter side to ``preset.resize`` and crop its centre: uint8 (C, crop, crop).

    The bytes equal those of torchvision's ``Resize`` and ``CenterCrop``.
    """
    width, height = image.size
    shorter, longer = sorted(image.size)
    sides = preset.resize, int(preset.resize * longer / shorter)
    size = sides if width <= height else sides[::-1]
    if size != image.size:
        image = image.resize(size, _INTERPOLATIONS[preset.interpolation])
    left, top = (round((side - preset.crop) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + preset.crop, top + preset.crop)))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation of a decoded image; it is 1 for a TIFF, which Pillow has already turned upright."""
    with contextlib.suppress(Exception):  # an image with damaged metadata is still usable
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image to mode ``L`` or ``RGB``."""
    if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN_BITS):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(f"its pixels are {kind} numbers, whose range is unknown")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


_LAYOUT = "folder of class folders, as <folder>/<class>/<image>"


def _no_classes_error(path: str, count: int) -> InputError:
    """Return the error for a folder without class folders."""
    return InputError(
        f"{path} has {count} images but no class folders; it must be a {_LAYOUT}"
        + ("; ImageNet's validation images are published flat: move each into the folder of its class" if count else "")
    )


def _reason(error: Exception) -> str:
    """Return the reason why an image cannot be read, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
