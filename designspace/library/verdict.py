"""Compares a measured top-1 accuracy with the published one, in a sentence."""

from __future__ import annotations

from typing import NamedTuple

from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData
from designspace.data.presets import Preset
from designspace.library.verification import Verification
from designspace.models.info import ModelInfo
from designspace.networks import catalog
from designspace.support.errors import InputError

_VALIDATION_IMAGES = 50_000
_CLASSES = 1000


class PublishedTop1(NamedTuple):
    """A published top-1 accuracy."""

    top1: float
    """Accuracy in percent."""
    source: str
    """Source of the weights or of the accuracy."""


def published_top1(name: str, weights: ModelInfo) -> PublishedTop1 | None:
    """Return the published top-1 of a model; None if there is none.

    Args:
        name: name of the model. For a published network its accuracy is returned if the weights are not published.
        weights: the model's attribute ``weights``.
    """
    if (published := weights.published) is not None:
        return None if published.top1 is None else PublishedTop1(published.top1, published.weights)
    try:
        return PublishedTop1(catalog.published(name).top1, catalog.published(name).source)
    except InputError:
        return None


def verdict(measured: Verification, published: PublishedTop1, tolerance: float, differences: list[str]) -> str:
    """Return a sentence that compares a measured top-1 with the published one.

    Args:
        measured: the measurement.
        published: the published accuracy.
        tolerance: percentage points of difference to be expected: the same weights differ by up to about 0.3 between
            two programs that prepare images slightly differently.
        differences: differences between the measurement and the published one (see `differences`).
    """
    reference = f"the published {published.top1:.2f}% ({published.source})"
    if differences:
        return f"top-1 is not comparable with {reference}: {'; '.join(differences)}"
    points = measured.top1 - published.top1
    if abs(points) <= tolerance + 1e-9:  # 81.33 - 81.03 is slightly more than 0.3
        return f"top-1 is within {tolerance:g} points of {reference}"
    return (
        f"top-1 is {abs(points):.2f} points {'below' if points < 0 else 'above'} {reference}: check that these are the "
        'published weights, and that each image is in the folder of its class ("classes" above shows how folders and '
        "classes are matched)"
    )


def differences(measured: Verification, images: ImageFolder | ImageData, used: Preset, own: Preset) -> list[str]:
    """Return the differences between a measurement and one on ImageNet's validation images with the model's preset."""
    texts = [
        f"{name} is {getattr(used, name)}, not {getattr(own, name)}"
        for name in ("crop", "resize", "interpolation")
        if getattr(used, name) != getattr(own, name)
    ]
    if (measured.images, images.num_classes) != (_VALIDATION_IMAGES, _CLASSES):
        texts.append(
            f"it is for ImageNet's {_VALIDATION_IMAGES:,} validation images in {_CLASSES:,} classes, "
            f"not for {measured.images:,} in {images.num_classes:,}"
        )
    return texts
