"""Splitting the images of a folder into training and test images."""

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
"""Names for the folder of test images; the first one that exists is used."""


def find_splits(path: Path, heldout: float | None = None, recorded: Sequence[str] = ()) -> dict[str, ImageFolder]:
    """List the training and test images of a folder, by ``train`` and ``test``.

    Args:
        path: a folder laid out as ``<path>/train/<class>/<image>`` and ``<path>/val/<class>/<image>`` (or test, or
            validation), or with ``heldout`` as ``<path>/<class>/<image>``.
        heldout: the fraction of the images that is for testing, above 0 and below 1. Every class keeps its share, and
            the choice is the same as long as the files of the folder are the same.
        recorded: an order of the classes that was recorded before (see `designspace.data.classes.sort_classes`).

    Raises:
        InputError: the folder has another layout, training and test images do not have the same classes, or
            ``heldout`` is out of range.
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
            f"{folder} must hold {TRAIN}/<class>/<image> and a folder {' or '.join(TEST)} with the same layout; or "
            "<class>/<image>, with heldout=0.1 to test on a tenth of the images"
        )
    return _split_randomly(ImageFolder.of(path, recorded), heldout)


def _check_classes(train: ImageFolder, test: ImageFolder) -> None:
    """Raise `InputError` unless training and test images have the same classes."""
    problems = []
    for images, others in ((train, test), (test, train)):
        if missing := unmatched(others.classes, images.classes):
            problems.append(f"{as_utf8(str(images.path))} has no {first_few(missing, 10)}")
    if problems:
        raise InputError(
            f"training and test images must have the same class folders, but {' and '.join(problems)}; "
            "add images of these classes, or leave their folders out of both"
        )


def _split_randomly(images: ImageFolder, heldout: float) -> dict[str, ImageFolder]:
    """Split the images of one folder of class folders at random, with the same shares of the classes."""
    if not 0 < number("heldout (a fraction of the images, or null)", heldout) < 1:
        raise InputError(f"heldout must be a fraction of the images, above 0 and below 1, or null; not {heldout!r}")
    count = max(1, round(heldout * len(images)))
    chosen = balanced(f"{images.path}: images", images.labels, count, seed=2)
    remaining = np.delete(np.arange(len(images)), chosen)
    for what, part in (("testing", chosen), ("training", remaining)):
        empty = np.setdiff1d(np.arange(images.num_classes), images.labels[part])
        if len(empty):
            names = first_few([images.classes[label] for label in empty], 10)
            path = as_utf8(str(images.path))
            raise InputError(f"{path}: heldout={heldout:g} leaves no image for {what} of the classes {names}")
    return {"train": images.part(remaining), "test": images.part(chosen)}
