"""Errors by class: which classes a model takes for which others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.support.files import make_folder, write_together
from designspace.trials.history import csv_text

CLASS_HEADER = ("class", "images", "error, %", "most often taken for")
CLASSES_FILE, CONFUSION_FILE = "classes.csv", "confusion.csv"
MOST_ROWS = 5
"""Number of classes that `worst` returns."""


class ClassError(NamedTuple):
    """The error of one class."""

    name: str
    images: int
    error: float
    """Percent of its images that the model takes for another class."""
    confused_with: str
    """The class that most of these are taken for, with their number; empty if there are none."""


def class_errors(confusion: NDArray[np.int64], classes: Sequence[object]) -> list[ClassError]:
    """Return the error of every class that has images, in the order of the classes.

    Args:
        confusion: shape (classes, classes), as in `designspace.library.verification.Verification`.
        classes: names or numbers of the classes.
    """
    rows = []
    for number, counts in enumerate(confusion):
        if not (total := int(counts.sum())):
            continue
        wrong = counts.copy()
        wrong[number] = 0
        other = int(wrong.argmax())
        confused_with = f"{classes[other]} ({wrong[other]})" if wrong[other] else ""
        rows.append(ClassError(str(classes[number]), total, 100 * int(wrong.sum()) / total, confused_with))
    return rows


def worst(rows: Sequence[ClassError]) -> list[tuple[object, ...]]:
    """Return the rows of a table of the classes with the highest error, the highest first."""
    ordered = sorted(rows, key=lambda row: -row.error)[:MOST_ROWS]
    return [(row.name, row.images, f"{row.error:.2f}", row.confused_with) for row in ordered]


def write_details(folder: Path, confusion: NDArray[np.int64], classes: Sequence[object]) -> None:
    """Write ``classes.csv``, the error of each class, and ``confusion.csv``, the counts by true and predicted class.

    Raises:
        RunError: the files cannot be written.
    """
    make_folder(folder)
    names = [str(name) for name in classes]
    errors = [(row.name, row.images, f"{row.error:.4f}", row.confused_with) for row in class_errors(confusion, classes)]
    tables = {
        CLASSES_FILE: [("class", "images", "error", "most_often_taken_for"), *errors],
        CONFUSION_FILE: [
            ("class", *names),
            *((name, *row) for name, row in zip(names, confusion.tolist(), strict=True)),
        ],
    }
    write_together({folder / file: [csv_text(rows)] for file, rows in tables.items()})
