"""Images in a folder of class folders, read one by one and prepared as a preset says.

``<folder>/<class>/<image>``, also deeper; a class's number is the place of its name in the order of
`designspace.data.classes`.
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
from designspace.data.listing import BESIDE_CLASSES, CAN_READ_AVIF, EXTENSIONS, Listing, of_two_classes
from designspace.data.presets import Preset
from designspace.support.errors import InputError, RunError
from designspace.support.text import as_utf8, first_few

log = logging.getLogger(__name__)

_FORMATS = (  # by content; some others make Pillow start programs
    *("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF"),
    *(("AVIF",) if CAN_READ_AVIF else ()),
)
_SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose grey values of 16 bits old versions of Pillow give as 32 bits."""
_ORIENTATION = 0x0112
"""The number of EXIF's field."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its orientation."""
_INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The images of a folder and their classes. Made by `ImageFolder.of`; nothing is decoded before it is read.

    Raises:
        InputError: labels and files do not belong together.
    """

    path: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    """Paths below `path`, class by class."""
    labels: NDArray[np.int64]
    """Shape (N,), values 0 to number of classes - 1, in rising order."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of files of each kind that are not among the images (see `designspace.data.listing.in_words`)."""

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
            recorded: an order of the classes that was recorded before (see `designspace.data.classes.in_order`).

        Raises:
            InputError: there is no such folder, it has no class folders, a class has no images, or its name is not
                UTF-8.
            RunError: a folder cannot be read.
        """
        name = as_utf8(str(path))
        if not path.is_dir():
            raise InputError(f"{name} is {'a file' if path.exists() else 'no folder'}; images lie in a {_LAYOUT}")
        listing = Listing(path)
        if not listing.images:
            raise _flat(name, listing.left_out[BESIDE_CLASSES])
        class_names.check_names(listing.images, name)
        classes = class_names.in_order(listing.images, recorded)
        if empty := [name for name in classes if not listing.images[name]]:
            raise InputError(
                f"{name}: no images in the class folders {first_few(empty, 10)}; "
                f"images are files that end in {' '.join(EXTENSIONS)}"
            )
        if pairs := listing.in_two_classes():
            log.warning("%s: %s", name, of_two_classes(pairs))
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
        """Keep so many images with each class in its share, always the same ones (see `ImageData.subset`).

        Raises:
            InputError: there are not so many.
        """
        chosen = balanced(f"{as_utf8(str(self.path))}: images", self.labels, images, seed=1)
        return self.part(chosen)

    def part(self, chosen: NDArray[np.int64]) -> ImageFolder:
        """Keep the images of these indices, which are in rising order."""
        files = tuple(self.files[i] for i in chosen)
        return dataclasses.replace(self, files=files, labels=self.labels[chosen])

    def with_classes(self, classes: Sequence[str], whose: str) -> ImageFolder:
        """Number the classes as they are in another list, which may have more of them.

        Args:
            classes: names of the classes, in the order of their numbers.
            whose: what has them, for the error.

        Raises:
            InputError: a class folder is not among them.
        """
        if tuple(classes) == self.classes:
            return self
        numbers = np.array(class_names.places(self.classes, classes, f"folder {as_utf8(str(self.path))}", whose))
        labels = numbers[self.labels]
        order = np.argsort(labels, kind="stable")
        files = tuple(self.files[i] for i in order)
        return dataclasses.replace(self, classes=tuple(classes), files=files, labels=labels[order])

    def read(self, index: int, preset: Preset) -> NDArray[np.uint8]:
        """Read and prepare an image: uint8 (C, crop, crop), C = 3, or 1 where the preset is one of grey images.

        Raises:
            RunError: the file cannot be read; the error names it.
        """
        return prepare_image(read_image(self.path / self.files[index], len(preset.mean)), preset)


def read_image(path: Path, channels: int = 3, least: int | None = None) -> Image.Image:
    """Decode a file to red, green and blue (3 channels) or to grey (1).

    With ``least``, a JPEG may be decoded at a half, a quarter or an eighth of its size, whose sides are no less pixels:
    its decoder then does less work.

    The image is upright, as EXIF's orientation says. Transparency is dropped, of 16 bits the upper 8 are kept, and of
    several pictures the first is taken, as in the code that published weights come from.

    Raises:
        RunError: the file cannot be read, is not an image, is cut off, or is larger than Pillow decodes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for ever
            raise ValueError("it is not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, of which ImageNet has plenty
            with Image.open(path, formats=_FORMATS) as image:
                if least is not None:
                    image.draft(None, (least, least))
                image.load()
                turn = _UPRIGHT.get(_orientation(image))
                converted = _converted(image, _MODES[channels])
                return converted if turn is None else converted.transpose(turn)
    except Exception as error:  # Pillow's readers raise whatever they stumble on
        raise RunError(f"cannot read {as_utf8(str(path))}: {_reason(error)}") from error


def prepare_image(image: Image.Image, preset: Preset) -> NDArray[np.uint8]:
    """Shrink an image's shorter side to ``preset.resize`` and cut the centre out: uint8 (C, crop, crop).

    The same bytes as from torchvision's ``Resize`` and ``CenterCrop``.
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
    """EXIF's orientation of a decoded image; a TIFF was turned by Pillow already, and has 1."""
    with contextlib.suppress(Exception):  # damaged metadata are no reason to leave an image out
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Convert to ``L`` or ``RGB``."""
    if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN_BITS):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(f"its pixels are {kind} numbers, whose range is unknown")
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


_LAYOUT = "folder of class folders, as <folder>/<class>/<image>"


def _flat(path: str, count: int) -> InputError:
    """The error for a folder without class folders."""
    return InputError(
        f"{path} has {count} images but no class folders; it must be a {_LAYOUT}"
        + ("; ImageNet's validation images are published flat: move each into the folder of its class" if count else "")
    )


def _reason(error: Exception) -> str:
    """Why an image cannot be read, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
