"""Which images of a folder are for training and which for testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from designspace.data.classes import unmatched
from designspace.data.image_folder import ImageFolder
from designspace.data.images import balanced
from designspace.support.checks import number
from designspace.support.errors import InputError
from designspace.support.folders import expanded
from designspace.support.text import as_utf8, first_few

TRAIN = "train"
TEST = ("val", "test", "validation")
"""The folder of test images: the first of these that there is."""


def find_splits(path: Path, heldout: float | None = None, recorded: Sequence[str] = ()) -> dict[str, ImageFolder]:
    """List the training and test images of a folder, by ``train`` and ``test``.

    Args:
        path: a folder laid out as ``<path>/train/<class>/<image>`` and ``<path>/val/<class>/<image>`` (or test, or
            validation), or with ``heldout`` as ``<path>/<class>/<image>``.
        heldout: the part of the images that is for testing, above 0 and below 1: of every class its share, always the
            same images as long as the files of the folder are the same.
        recorded: an order of the classes that was recorded before (see `designspace.data.classes.in_order`).

    Raises:
        InputError: the folder is not laid out so, the two do not have the same classes, or ``heldout`` is
            out of range.
        RunError: a folder cannot be read.
    """
    path = expanded(path).resolve()
    tests = [path / name for name in TEST if (path / name).is_dir()]
    has_splits = (path / TRAIN).is_dir() and bool(tests)
    if has_splits and heldout is None:
        train, test = ImageFolder.of(path / TRAIN, recorded), ImageFolder.of(tests[0], recorded)
        _check_classes(train, test)
        return {"train": train, "test": test.with_classes(train.classes, str(train.path))}
    folder = as_utf8(str(path))
    if has_splits:
        raise InputError(f"{folder} has {TRAIN} and {tests[0].name}, so heldout must be null, not {heldout!r}")
    if heldout is None:
        raise InputError(
            f"{folder} must hold {TRAIN}/<class>/<image> and one of {', '.join(TEST)} like it; or, with heldout=0.1 "
            "for a tenth of them to test on, <class>/<image>"
        )
    return _held_out(ImageFolder.of(path, recorded), heldout)


def _check_classes(train: ImageFolder, test: ImageFolder) -> None:
    """Raise unless training and test images have the same classes."""
    lacks = []
    for images, others in ((train, test), (test, train)):
        if missing := unmatched(others.classes, images.classes):
            lacks.append(f"{as_utf8(str(images.path))} has no {first_few(missing, 10)}")
    if lacks:
        raise InputError(
            f"training and test images must have the same class folders, but {' and '.join(lacks)}; "
            "add images of these classes, or leave their folders out of both"
        )


def _held_out(images: ImageFolder, heldout: float) -> dict[str, ImageFolder]:
    """Part the images of one folder of class folders."""
    if not 0 < number("heldout (a part of the images, or null)", heldout) < 1:
        raise InputError(f"heldout must be a part of the images, above 0 and below 1, or null; not {heldout!r}")
    count = max(1, round(heldout * len(images)))
    chosen = balanced(f"{images.path}: images", images.labels, count, seed=2)
    rest = np.delete(np.arange(len(images)), chosen)
    for what, part in (("testing", chosen), ("training", rest)):
        lost = np.setdiff1d(np.arange(images.num_classes), images.labels[part])
        if len(lost):
            named = first_few([images.classes[label] for label in lost], 10)
            path = as_utf8(str(images.path))
            raise InputError(f"{path}: heldout={heldout:g} leaves no image for {what} of the classes {named}")
    return {"train": images.part(rest), "test": images.part(chosen)}
