"""What a measured top-1 says beside the published one, in a sentence."""

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
    """A published top-1."""

    top1: float
    """In per cent."""
    source: str


def published_top1(name: str, weights: ModelInfo) -> PublishedTop1 | None:
    """What was published of a model, or None.

    Args:
        name: of the model; where it is a published network, its figure stands in for that of weights without one.
        weights: the model's attribute ``weights``.
    """
    if (published := weights.published) is not None:
        return None if published.top1 is None else PublishedTop1(published.top1, published.weights)
    try:
        return PublishedTop1(catalog.published(name).top1, catalog.published(name).source)
    except InputError:
        return None


def verdict(found: Verification, figure: PublishedTop1, tolerance: float, differences: list[str]) -> str:
    """Compare a measured top-1 with the published one.

    Args:
        found: what was measured.
        figure: what was published.
        tolerance: points of difference that are no surprise: between two programs that prepare images a little
            differently, the same weights differ by up to about 0.3.
        differences: what was measured otherwise than the published figure (see `differences`).
    """
    published = f"the published {figure.top1:.2f}% ({figure.source})"
    if differences:
        return f"top-1 does not compare with {published}: {'; '.join(differences)}"
    points = found.top1 - figure.top1
    if abs(points) <= tolerance + 1e-9:  # 81.33 - 81.03 is a little more than 0.3
        return f"top-1 is within {tolerance:g} points of {published}"
    return (
        f"top-1 is {abs(points):.2f} points {'below' if points < 0 else 'above'} {published}: check that "
        'these are the weights of that figure, and that each image lies in its own class\'s folder ("classes" '
        "above says how folders and classes are matched)"
    )


def differences(found: Verification, images: ImageFolder | ImageData, used: Preset, own: Preset) -> list[str]:
    """Tell what keeps a measurement from being that of ImageNet's validation images with the weights' own preset."""
    said = [
        f"{name} is {getattr(used, name)}, not {getattr(own, name)}"
        for name in ("crop", "resize", "interpolation")
        if getattr(used, name) != getattr(own, name)
    ]
    if (found.images, images.num_classes) != (_VALIDATION_IMAGES, _CLASSES):
        said.append(
            f"it is for ImageNet's {_VALIDATION_IMAGES:,} validation images in {_CLASSES:,} classes, "
            f"not for {found.images:,} in {images.num_classes:,}"
        )
    return said
