"""Data sets that Hugging Face's library ``datasets`` saved, as described arrays (`array_files`) of one size."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data import array_files
from designspace.data.array_files import ArraySet
from designspace.data.image_folder import prepare_image
from designspace.data.own import heldback_indices
from designspace.data.presets import Preset
from designspace.data.splits import TEST, TRAIN
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder, write_text, writing
from designspace.support.text import as_utf8

_SIZES = (8, 1024)
"""Smallest and largest size of images, in pixels, as for packed ones."""
OnProgress = Callable[[int, int], None]


def is_saved(path: Path) -> bool:
    """Return whether ``save_to_disk`` of a Dataset or DatasetDict wrote a folder."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def convert(path: Path, folder: Path, size: int, on_progress: OnProgress = lambda finished, total: None) -> ArraySet:
    """Decode the images of a saved data set at one size, as for folders of images, and describe the arrays.

    The columns are the only one of type ``Image`` and the only one of type ``ClassLabel``. Without a split for testing,
    one sixth of the images is held back.

    Args:
        path: the folder that ``save_to_disk`` wrote.
        folder: the folder of the new data set.
        size: height and width of the images, in pixels.
        on_progress: called now and then with the number of finished images and their total number.

    Raises:
        InputError: the library is not installed, the columns or splits are others, or the folder describes other data.
        RunError: an image cannot be decoded, or a file cannot be written.
    """
    size = whole("size (pixels)", size, *_SIZES)
    if array_files.is_described(folder):
        raise InputError(
            f"{folder} already holds a data set; check it with data={folder.name}, choose another name=..., or delete "
            f"{folder / array_files.DESCRIPTION} to prepare it again"
        )
    splits, classes = _splits(path)
    make_folder(folder)
    total, finished = sum(len(indices) for _, indices, *_ in splits.values()), 0
    files: dict[str, str | None] = {"classes": str(folder / "classes.txt")}
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
    for split, (rows, indices, image, label) in splits.items():
        prefix = "" if split == TRAIN else "test_"
        files |= {f"{prefix}{kind}": str(folder / f"{split}_{kind}.npy") for kind in ("images", "labels")}
        images_path = folder / f"{split}_images.npy"
        with writing(images_path):
            shape = (len(indices), 3, size, size)
            images = np.lib.format.open_memmap(images_path, "w+", np.uint8, shape)
            for position, index in enumerate(indices.tolist()):
                images[position] = _decoded(path, split, index, rows, image, size)
                finished += 1
                on_progress(finished, total)
            images.flush()
            np.save(folder / f"{split}_labels.npy", np.asarray(rows[label])[indices])
    return array_files.describe(folder, files)


def _splits(path: Path) -> tuple[dict[str, tuple[Any, NDArray[np.int64], str, str]], Sequence[str]]:
    """Return the splits of a saved data set, each with its rows, their indices and its two columns; and the classes."""
    try:
        library: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise InputError(
            f"{as_utf8(str(path))} was saved by Hugging Face's library datasets, which is not installed here "
            f"({error}): pip install datasets"
        ) from error
    try:
        saved = library.load_from_disk(str(path))
    except Exception as error:  # the library raises various errors for damaged files
        raise RunError(f"cannot read {as_utf8(str(path))}: {type(error).__name__}: {error}") from error
    parts = dict(saved) if isinstance(saved, dict) else {TRAIN: saved}
    test = next((name for name in TEST if name in parts), None)
    if TRAIN not in parts:
        raise InputError(f"{as_utf8(str(path))} has no split {TRAIN}; its splits are {', '.join(parts)}")
    rows = parts[TRAIN]
    image, label = _column(path, rows, library.Image), _column(path, rows, library.ClassLabel)
    labels = np.asarray(rows[label], np.int64)
    if test is not None:
        indices = {TRAIN: np.arange(len(rows)), "test": np.arange(len(parts[test]))}
        splits = {TRAIN: (rows, indices[TRAIN], image, label), "test": (parts[test], indices["test"], image, label)}
    else:
        chosen = heldback_indices(as_utf8(str(path)), labels)
        others = np.delete(np.arange(len(labels)), chosen)
        splits = {TRAIN: (rows, others, image, label), "test": (rows, chosen, image, label)}
    return splits, rows.features[label].names


def _column(path: Path, rows: Any, kind: type[Any]) -> str:
    """Return the name of the only column of a type."""
    names = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
    if len(names) != 1:
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in rows.features.items())
        raise InputError(
            f"{as_utf8(str(path))} must have one column of type {kind.__name__}; its columns are {columns}. Cast or "
            "remove columns with the library, and save it again"
        )
    return str(names[0])


def _decoded(path: Path, split: str, index: int, rows: Any, column: str, size: int) -> NDArray[np.uint8]:
    """Return an image as bytes (3, size, size)."""
    try:
        image = rows[index][column].convert("RGB")
    except Exception as error:  # a missing image, or any error of Pillow on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"{as_utf8(str(path))}: image {index} of {split} cannot be decoded ({reason})") from error
    return prepare_image(image, Preset(crop=size, resize=size))
