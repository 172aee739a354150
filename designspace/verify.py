"""Measure a model's top-1 and top-5, and compare with the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import designspace
from designspace.cli import app
from designspace.cli.options import Count
from designspace.cli.tables import image_progress, print_table
from designspace.data.data_source import data_of
from designspace.data.find import IMAGENET, find_images
from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData
from designspace.data.listing import describe_left_out
from designspace.library.saved import is_model_folder, read_description
from designspace.library.verdict import differences, published_figure, verdict
from designspace.library.verification import (
    check_classes,
    known_classes,
    match_classes,
    matching_in_words,
    preset_for,
    verify,
)
from designspace.models import AnyNet, zoo
from designspace.models.weights import SOURCES
from designspace.models.weights.imagenet_classes import IMAGENET_CLASSES
from designspace.networks import catalog
from designspace.support.errors import InputError, RunError
from designspace.support.text import as_utf8, counted
from designspace.training.devices import choose_device
from designspace.trials.folder import RunFolder


def _points(key: str, value: Any) -> float:
    """Return a number of percentage points.

    Raises:
        InputError: it is not a number, or below 0.
    """
    if not isinstance(value, int | float) or not value >= 0:
        raise InputError(f"{key} must be a number of points >= 0, not {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/verify.yaml, which says what they mean."""

    model: str
    data: str | None
    root: Path | None
    weights: str | None
    crop: int | None
    resize: int | None
    interpolation: str | None
    images: int | None
    batch_size: Count
    workers: int | None
    device: str | None
    tolerance: Annotated[float, _points]


def run(options: Options) -> None:
    """Find images and model, measure, and print the figures and what they say."""
    name, device = options.model, choose_device(options.device)
    named, root = _trained_on(Path(name), options.root) if options.data is None else (options.data, options.root)
    images = find_images(named, root, options.images)
    model = load(name, options.weights, images)
    weights, known = getattr(model, "weights", None), known_classes(model)
    classes = matching_in_words(images, known)
    present = len(set(images.labels.tolist() if isinstance(images, ImageFolder) else images.test_labels.tolist()))
    images = match_classes(images, model.network, known)
    own = preset_for(images, weights.preset if weights else None)
    used = preset_for(images, own, options.crop, options.resize, options.interpolation)
    total = len(images) if isinstance(images, ImageFolder) else len(images.test_images)
    with image_progress(total) as show:
        size, workers = options.batch_size, options.workers
        found = verify(model, images, used, device=device, batch_size=size, workers=workers, on_batch=show)
    rows = [
        ("data", as_utf8(str(images.path)) if isinstance(images, ImageFolder) else images.name),
        ("top-1", f"{found.top1:.2f}%"),
        *([("top-5", f"{found.top5:.2f}%")] if images.num_classes > 5 else []),
        ("images", f"{found.images:,} in {counted(present, 'class')}"),
        ("classes", classes),
    ]
    if isinstance(images, ImageFolder):
        if images.left_out:
            rows.append(("left out", describe_left_out(images.left_out)))
        rows.append(("prepared", f"resize {used.resize}, crop {used.crop}, {used.interpolation}"))
    rows.append(("weights", weights.origin if weights else "none: as before any training"))
    if weights:
        rows.append(("licence", weights.licence))
    print_table("", ("model", name), rows, texts=(0, 1))
    if weights and (figure := published_figure(name, weights)):
        print(f"\n{verdict(found, figure, options.tolerance, differences(found, images, used, own))}")
    if found.unreadable:
        one = len(found.unreadable) == 1
        left_out = (
            f"{len(found.unreadable)} of {counted(total, 'image')} {'is' if one else 'are'} left out, because "
            f"{'it' if one else 'they'} cannot be read:"
        )
        raise RunError("\n  ".join([left_out, *found.unreadable[:20], *["..."] * (len(found.unreadable) > 20)]))


def load(name: str, weights: str | None, images: ImageFolder | ImageData) -> AnyNet:
    """The model of a folder that exists, or else the published network of that name."""
    path = Path(name)
    if path.is_dir():
        if weights is not None:
            raise InputError(f"the folder {name} has weights of its own; weights=... is for published networks")
        model: AnyNet = designspace.load(path)
        return model
    if path.is_file():
        raise InputError(f"{name} is a file; if it holds weights: model=<name of the network> weights={name}")
    if "/" in name:
        raise InputError(f"{name} is no folder of a model or of a run")
    network = catalog.get(name)
    if weights is None or weights.partition(":")[0] in SOURCES:  # before anything is fetched
        match_classes(images, network, IMAGENET_CLASSES)
    elif "://" in weights:
        check_classes(network, images)
    published: AnyNet = zoo.create_model(name, pretrained=True if weights is None else weights)
    return published


def _trained_on(path: Path, root: Path | None) -> tuple[str, Path | None]:
    """The data set that a run or a model folder was trained on, with the folder that it is in; else ImageNet."""
    if RunFolder(path).exists():
        source = data_of(RunFolder(path), root=root)
        return source.name, source.root
    recipe = read_description(path)[1].recipe if is_model_folder(path) else {}
    return str(recipe.get("data", IMAGENET)), root


if __name__ == "__main__":
    app.main("verify", run, resumes=False)
