"""Measure top-1 and top-5 of a model, and compare with published ones."""

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
from designspace.data.recipe_fit import check_target
from designspace.library.per_class import CLASS_HEADER, class_errors, worst, write_details
from designspace.library.saved import is_model_folder, read_description
from designspace.library.verdict import differences, published_top1, verdict
from designspace.library.verification import (
    check_classes,
    describe_matching,
    known_classes,
    match_classes,
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
    """Keys of configs/verify.yaml, which describes them."""

    model: str
    data: str | None
    root: Path | None
    weights: str | None
    crop: int | None
    resize: int | None
    interpolation: str | None
    details: Path | None
    images: int | None
    batch_size: Count
    workers: int | None
    device: str | None
    tolerance: Annotated[float, _points]


def run(options: Options) -> None:
    """Find the images and the model, measure top-1 and top-5, and compare them with the published figure."""
    name, device = options.model, choose_device(options.device)
    data, root = _training_data(Path(name), options.root) if options.data is None else (options.data, options.root)
    images = find_images(data, root, options.images)
    if isinstance(images, ImageData):
        check_target(images.name, images.target)
    model = load(name, options.weights, images)
    weights, class_names = getattr(model, "weights", None), known_classes(model)
    classes = describe_matching(images, class_names)
    num_present = len(set(images.labels.tolist() if isinstance(images, ImageFolder) else images.test_labels.tolist()))
    images = match_classes(images, model.network, class_names)
    default_preset = preset_for(images, weights.preset if weights else None)
    preset = preset_for(images, default_preset, options.crop, options.resize, options.interpolation)
    total = len(images) if isinstance(images, ImageFolder) else len(images.test_images)
    with image_progress(total) as show:
        size, workers = options.batch_size, options.workers
        result = verify(model, images, preset, device=device, batch_size=size, workers=workers, on_batch=show)
    rows = [
        ("data", as_utf8(str(images.path)) if isinstance(images, ImageFolder) else images.name),
        ("top-1", f"{result.top1:.2f}%"),
        *([("top-5", f"{result.top5:.2f}%")] if images.num_classes > 5 else []),
        ("images", f"{result.images:,} in {counted(num_present, 'class')}"),
        ("classes", classes),
    ]
    if isinstance(images, ImageFolder):
        if images.left_out:
            rows.append(("left out", describe_left_out(images.left_out)))
        rows.append(("preprocessing", f"resize {preset.resize}, crop {preset.crop}, {preset.interpolation}"))
    rows.append(("weights", weights.origin if weights else "random, not trained"))
    if weights:
        rows.append(("licence", weights.licence))
    print_table("", ("model", name), rows, texts=(0, 1))
    per_class = class_errors(result.confusion, images.classes or range(images.num_classes))
    if len(per_class) > 2:
        print()
        print_table("classes with the highest error", CLASS_HEADER, worst(per_class), texts=(0, 3))
    if options.details is not None:
        write_details(options.details, result.confusion, images.classes or range(images.num_classes))
    if weights and (figure := published_top1(name, weights)):
        print(f"\n{verdict(result, figure, options.tolerance, differences(result, images, preset, default_preset))}")
    if result.unreadable:
        is_one = len(result.unreadable) == 1
        left_out = (
            f"{len(result.unreadable)} of {counted(total, 'image')} {'is' if is_one else 'are'} left out, because "
            f"{'it' if is_one else 'they'} cannot be read:"
        )
        raise RunError("\n  ".join([left_out, *result.unreadable[:20], *["..."] * (len(result.unreadable) > 20)]))


def load(name: str, weights: str | None, images: ImageFolder | ImageData) -> AnyNet:
    """Return the model in a folder, or else the published network of that name."""
    path = Path(name)
    if path.is_dir():
        if weights is not None:
            raise InputError(f"the folder {name} has its own weights; weights=... is only for published networks")
        model: AnyNet = designspace.load(path)
        return model
    if path.is_file():
        raise InputError(f"{name} is a file; if it contains weights, type model=<name of the network> weights={name}")
    if "/" in name:
        raise InputError(f"{name} is not a model folder or run folder")
    network = catalog.get(name)
    if weights is None or weights.partition(":")[0] in SOURCES:  # before anything is downloaded
        match_classes(images, network, IMAGENET_CLASSES)
    elif "://" in weights:
        check_classes(network, images)
    published: AnyNet = zoo.create_model(name, pretrained=True if weights is None else weights)
    return published


def _training_data(path: Path, root: Path | None) -> tuple[str, Path | None]:
    """Return the data set that a run or model folder was trained on, with its folder; else ImageNet."""
    if RunFolder(path).exists():
        source = data_of(RunFolder(path), root=root)
        return source.name, source.root
    recipe = read_description(path)[1].recipe if is_model_folder(path) else {}
    return str(recipe.get("data", IMAGENET)), root


if __name__ == "__main__":
    app.main("verify", run, resumes=False)
