"""Measure a model's top-1 and top-5, and compare with the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import designspace
from designspace.cli import app
from designspace.cli.tables import image_progress, print_table
from designspace.data.find import find_images
from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData
from designspace.models import AnyNet, zoo
from designspace.networks import catalog
from designspace.support.errors import InputError, RunError
from designspace.support.text import counted
from designspace.training.verdict import differences, published_figure, verdict
from designspace.training.verification import check_classes, choose_device, preset_for, verify


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Find images and model, measure, and print the figures and what they say."""
    name, tolerance, device = str(config["model"]), config["tolerance"], choose_device(config["device"])
    if not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise InputError(f"tolerance must be a number of points >= 0, not {tolerance!r}")
    images = find_images(str(config["data"]), Path(config["root"]) if config["root"] else None, config["images"])
    model = load(name, config["weights"], images)
    weights = getattr(model, "weights", None)
    own = preset_for(images, weights.preset if weights else None)
    used = preset_for(images, own, config["crop"], config["resize"], config["interpolation"])
    total = len(images) if isinstance(images, ImageFolder) else len(images.test_images)
    with image_progress(total) as show:
        speed = {"batch_size": config["batch_size"], "workers": config["workers"]}
        found = verify(model, images, used, device=device, on_batch=show, **speed)
    rows = [
        ("data", images.path if isinstance(images, ImageFolder) else images.name),
        ("top-1", f"{found.top1:.2f}%"),
        *([("top-5", f"{found.top5:.2f}%")] if images.num_classes > 5 else []),
        ("images", f"{found.images:,} in {counted(images.num_classes, 'class')}"),
    ]
    if isinstance(images, ImageFolder):
        rows.append(("prepared", f"resize {used.resize}, crop {used.crop}, {used.interpolation}"))
    rows.append(("weights", weights.origin if weights else "none: as before any training"))
    if weights:
        rows.append(("licence", weights.licence))
    print_table("", ("model", name), rows, texts=(0, 1))
    if weights and (figure := published_figure(name, weights)):
        print(f"\n{verdict(found, figure, tolerance, differences(found, images, used, own))}")
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
    check_classes(catalog.get(name), images)  # before anything is fetched
    published: AnyNet = zoo.create_model(name, pretrained=True if weights is None else str(weights))
    return published


if __name__ == "__main__":
    app.main("verify", run, resumes=False)
