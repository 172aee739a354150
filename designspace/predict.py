"""Predict the classes of images with a trained model, as a CSV file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.cli.options import Count
from designspace.cli.tables import image_counter, print_table
from designspace.data.presets import Preset
from designspace.library.backbones import find_model
from designspace.library.prediction import Predictions, list_images, predict
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_text
from designspace.support.reading import read_text
from designspace.support.text import as_utf8, counted
from designspace.training.devices import choose_device
from designspace.trials.history import csv_text

MOST_CLASSES = 20
"""Number of classes in the table at the end."""
FIRST_COLUMNS = "image,class,probability"
"""Start of a file of predictions."""


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/predict.yaml, which describes them."""

    model: str
    images: Path
    to: Path
    top: Count
    weights: str | None
    crop: int | None
    resize: int | None
    interpolation: str | None
    batch_size: Count
    workers: int | None
    device: str | None


def run(options: Options) -> None:
    """Predict the classes of the images, write them, and print how many there are of each class."""
    device = choose_device(options.device)
    _check_target(options.to)
    images = list_images(options.images)
    model = find_model(options.model, weights=True if options.weights is None else options.weights)
    own = model.weights.preset if model.weights else Preset()
    preset = own.changed(options.crop, options.resize, options.interpolation)
    size, workers = options.batch_size, options.workers
    with image_counter("images") as show:
        predictions = predict(
            model,
            images,
            preset,
            top=options.top,
            device=device,
            batch_size=size,
            workers=workers,
            on_batch=lambda finished: show(finished, len(images)),
        )
    header, rows = predictions.rows()
    write_text(options.to, csv_text([header, *rows]))
    _print_counts(predictions)
    print(f"predictions of {counted(len(rows), 'image')} are in {options.to}")
    if predictions.unreadable:
        problem = f"{len(predictions.unreadable)} of {counted(len(images), 'image')} cannot be read and have no row:"
        more = ["..."] * (len(predictions.unreadable) > 20)
        raise RunError("\n  ".join([problem, *predictions.unreadable[:20], *more]))


def _check_target(path: Path) -> None:
    """Raise `InputError` if a file exists that is not one of predictions."""
    if path.is_dir() or (path.exists() and not read_text(path).startswith(FIRST_COLUMNS)):
        raise InputError(f"{as_utf8(str(path))} exists and has no predictions; choose another file with to=...")


def _print_counts(predictions: Predictions) -> None:
    """Print the number of images of each predicted class, the most frequent one first."""
    counts = Counter(classes[0] for classes in predictions.classes)
    rows = counts.most_common(MOST_CLASSES)
    if len(counts) > MOST_CLASSES:
        others = len(predictions.files) - sum(count for _, count in rows)
        rows.append((f"{len(counts) - MOST_CLASSES} other classes", others))
    print_table("", ("class", "images"), rows)


if __name__ == "__main__":
    app.main("predict", run, resumes=False)
