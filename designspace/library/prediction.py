"""Predictions of a model for images without labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from designspace.data.image_folder import ImageFolder
from designspace.data.listing import images_below
from designspace.data.presets import Preset
from designspace.library.verification import known_classes, logits_of
from designspace.models import AnyNet
from designspace.support.checks import whole
from designspace.support.display import Outlined
from designspace.support.errors import InputError, RunError
from designspace.support.text import as_utf8


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Predictions(Outlined):
    """The most probable classes of some images."""

    files: tuple[str, ...]
    """Paths of the images that could be read, below the folder."""
    classes: tuple[tuple[str, ...], ...]
    """The most probable classes of each image, by name or number, the most probable one first."""
    probabilities: NDArray[np.float32]
    """Shape (files, classes per image): their probabilities, from 0 to 1."""
    unreadable: tuple[str, ...] = ()
    """Paths and problems of the other images."""

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows of a CSV file, with one row per image."""
        count = self.probabilities.shape[1]
        suffixes = ["", *(f"_{number}" for number in range(2, count + 1))]
        header = ["image", *(name + suffix for suffix in suffixes for name in ("class", "probability"))]
        rows = []
        for file, classes, values in zip(self.files, self.classes, self.probabilities, strict=True):
            pairs = zip(classes, values, strict=True)
            rows.append([as_utf8(file), *(text for name, value in pairs for text in (name, f"{value:.4f}"))])
        return header, rows


def predict(
    model: AnyNet,
    images: ImageFolder,
    preset: Preset | None = None,
    *,
    top: int = 1,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict the classes of images.

    Args:
        model: images (N, C, H, W) -> logits (N, number of classes).
        images: the result of `list_images`.
        preset: how images are prepared; None for the model's own, or `Preset()`.
        top: number of classes per image; fewer if the model has fewer.
        device: see `designspace.library.verification.verify`, also for the next two.
        batch_size: images per batch.
        workers: number of processes that read images.
        on_batch: called after each batch with the number of images so far.

    Raises:
        InputError: the model has no classifier, or a number is out of range.
        RunError: no image can be read, or as in `designspace.library.verification.verify`.
    """
    count = model.network.num_classes
    if not count:
        raise InputError("this model has no classifier (num_classes=0), so it predicts no classes")
    own = model.weights.preset if model.weights else Preset()
    chosen: list[int] = []
    numbers: list[list[int]] = []
    values: list[list[float]] = []
    unreadable: list[str] = []
    top = min(count, whole("top", top, 1))
    source = logits_of(model, images, preset or own, device=device, batch_size=batch_size, workers=workers)
    for batch, logits in source:
        unreadable += batch.unreadable
        if len(batch.labels):
            if logits.isnan().any():
                raise RunError(
                    "the model returns NaN: its weights are damaged, or its values are too large for float32"
                )
            probabilities, indices = logits.softmax(1).sort(dim=1, descending=True, stable=True)
            chosen += batch.labels.tolist()
            numbers += indices[:, :top].tolist()
            values += probabilities[:, :top].tolist()
        if on_batch:
            on_batch(len(chosen) + len(unreadable))
    if not chosen:
        raise RunError(f"none of {len(unreadable)} images can be read; the first: {unreadable[0]}")
    names = _class_names(known_classes(model), count)
    classes = tuple(tuple(names[number] for number in row) for row in numbers)
    files = tuple(images.files[index] for index in chosen)
    return Predictions(files, classes, np.array(values, np.float32), tuple(unreadable))


def list_images(path: Path) -> ImageFolder:
    """Return an image, or the images in a folder and below it; the label of each is its number.

    Raises:
        InputError: the file or folder does not exist, or has no images.
        RunError: a folder cannot be read.
    """
    name = as_utf8(str(path))
    if path.is_file():
        folder, files = path.parent, [path.name]
    elif path.is_dir():
        folder, files = path, [os.path.relpath(file, path) for file in images_below(path)[0]]
    else:
        raise InputError(f"{name} is neither an image nor a folder of images")
    if not files:
        raise InputError(f"there are no images in {name} or below it")
    return ImageFolder(folder, tuple(files), tuple(files), np.arange(len(files)))


def _class_names(known: Sequence[str], count: int) -> Sequence[str]:
    """Return the names of the classes; their numbers if the model has no names."""
    return known if len(known) == count else [str(number) for number in range(count)]
