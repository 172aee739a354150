"""Which images of a folder are for training and which for testing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from designspace.data.image_folder import ImageFolder
from designspace.data.images import balanced
from designspace.support.errors import InputError
from designspace.support.folders import expanded

TRAIN = "train"
TEST = ("val", "test", "validation")
"""The folder of test images: the first of these that there is."""


def find_splits(path: Path, heldout: float | None = None) -> dict[str, ImageFolder]:
    """List the training and test images of a folder, by ``train`` and ``test``.

    Args:
        path: a folder laid out as ``<path>/train/<class>/<image>`` and ``<path>/val/<class>/<image>`` (or test, or
            validation), or with ``heldout`` as ``<path>/<class>/<image>``.
        heldout: the part of the images that is for testing, above 0 and below 1: of every class its share, always the
            same images as long as the files of the folder are the same.

    Raises:
        InputError: the folder is not laid out so, the two have not the same classes, or ``heldout`` is out of range.
    """
    path = expanded(path).resolve()
    tests = [path / name for name in TEST if (path / name).is_dir()]
    has_splits = (path / TRAIN).is_dir() and bool(tests)
    if has_splits and heldout is None:
        train, test = ImageFolder.of(path / TRAIN), ImageFolder.of(tests[0])
        if train.classes != test.classes:
            differ = sorted(set(train.classes) ^ set(test.classes))
            raise InputError(
                f"{train.path} and {test.path} must have the same class folders; only one of them has "
                f"{', '.join(differ[:10])}{f' and {len(differ) - 10} more' if len(differ) > 10 else ''}"
            )
        return {"train": train, "test": test}
    if has_splits:
        raise InputError(f"{path} has {TRAIN} and {tests[0].name}, so heldout must be null, not {heldout!r}")
    if heldout is None:
        raise InputError(
            f"{path} must hold {TRAIN}/<class>/<image> and one of {', '.join(TEST)} like it; or, with heldout=0.1 for "
            "a tenth of them to test on, <class>/<image>"
        )
    return _held_out(ImageFolder.of(path), heldout)


def _held_out(images: ImageFolder, heldout: float) -> dict[str, ImageFolder]:
    """Part the images of one folder of class folders."""
    if isinstance(heldout, bool) or not isinstance(heldout, int | float) or not 0 < heldout < 1:
        raise InputError(f"heldout must be a part of the images, above 0 and below 1, or null; not {heldout!r}")
    count = max(1, round(heldout * len(images)))
    chosen = balanced(f"{images.path}: images", images.labels, count, seed=2)
    rest = np.delete(np.arange(len(images)), chosen)
    for what, part in (("testing", chosen), ("training", rest)):
        lost = np.setdiff1d(np.arange(images.num_classes), images.labels[part])
        if len(lost):
            named = ", ".join(images.classes[label] for label in lost[:10])
            raise InputError(f"{images.path}: heldout={heldout:g} leaves no image for {what} of the classes {named}")
    return {
        split: ImageFolder(images.path, images.classes, tuple(images.files[i] for i in part), images.labels[part])
        for split, part in (("train", rest), ("test", chosen))
    }
