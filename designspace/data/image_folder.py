"""Images in a folder of class folders, read one by one and prepared as a preset says.

``<folder>/<class>/<image>``, also deeper; a class's number is the place of its name among the sorted names.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from designspace.data.images import balanced
from designspace.support.errors import InputError, RunError

if TYPE_CHECKING:  # the processes that pack images need no torch
    from designspace.models.presets import Preset

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""How the names of images end, in small or capital letters."""
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")  # by content; some others make Pillow start programs
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

    def __post_init__(self) -> None:
        ordered = np.array_equal(self.labels, np.sort(self.labels).clip(0, len(self.classes) - 1))
        if not self.files or len(self.files) != len(self.labels) or not ordered:
            raise InputError(
                f"{self.path}: {len(self.files)} files need as many labels from 0 to {len(self.classes) - 1}, in order"
            )

    @staticmethod
    def of(path: Path) -> ImageFolder:
        """List a folder of class folders. Links are followed; names that begin with a dot are left out.

        Raises:
            InputError: there is no such folder, it has no class folders, or a class has no images.
        """
        if not path.is_dir():
            raise InputError(f"{path} is {'a file' if path.exists() else 'no folder'}; images lie in a {_LAYOUT}")
        classes = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not _is_hidden(entry.name))
        if not classes:
            raise _flat(path)
        listed = [list(_images_below(path / name)) for name in classes]
        if empty := [name for name, files in zip(classes, listed, strict=True) if not files]:
            more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
            raise InputError(
                f"{path}: no images in the class folders {', '.join(empty[:10])}{more}; "
                f"images are files that end in {' '.join(EXTENSIONS)}"
            )
        return ImageFolder(
            path,
            tuple(classes),
            files=tuple(os.path.relpath(file, path) for files in listed for file in files),
            labels=np.repeat(np.arange(len(classes)), [len(files) for files in listed]),
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
        chosen = balanced(f"{self.path}: images", self.labels, images, seed=1)
        return ImageFolder(self.path, self.classes, tuple(self.files[i] for i in chosen), self.labels[chosen])

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

    Transparency is dropped, of 16 bits the upper 8 are kept, of several pictures the first is taken, and EXIF's
    orientation is not applied: as in the code that published weights come from.

    Raises:
        RunError: the file cannot be read, is no image, is cut off, or is larger than Pillow decodes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, of which ImageNet has plenty
            with Image.open(path, formats=_FORMATS) as image:
                if least is not None:
                    image.draft(None, (least, least))
                return _converted(image, _MODES[channels])
    except Exception as error:  # Pillow's readers raise whatever they stumble on
        raise RunError(f"cannot read {path}: {_reason(error)}") from error


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


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Convert to ``L`` or ``RGB``."""
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is unknown")
    if image.mode == mode:
        image.load()
        return image
    return image.convert(mode)


def _images_below(folder: Path) -> Iterator[str]:
    """The paths of all images in a folder and below it, each folder once, in order."""
    seen = set()
    for path, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(path)
        folders[:] = [] if real in seen else sorted(name for name in folders if not _is_hidden(name))
        if real not in seen:
            yield from (
                os.path.join(path, name)  # noqa: PTH118 - there may be a million
                for name in sorted(files)
                if name.lower().endswith(EXTENSIONS) and not _is_hidden(name)
            )
        seen.add(real)


_LAYOUT = "folder of class folders, as <folder>/<class>/<image>"


def _flat(path: Path) -> InputError:
    """The error for a folder without class folders."""
    count = sum(1 for _ in _images_below(path))
    return InputError(
        f"{path} has {count} images but no class folders; it must be a {_LAYOUT}"
        + ("; ImageNet's validation images are published flat: move each into the folder of its class" if count else "")
    )


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _raise(error: OSError) -> None:
    raise error


def _reason(error: Exception) -> str:
    """Why an image cannot be read, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
