"""What a measured top-1 says beside the published one, in a sentence."""

from __future__ import annotations

from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData
from designspace.models.presets import Preset
from designspace.training.verification import Verification

_VALIDATION_IMAGES = 50_000
_CLASSES = 1000


def verdict(found: Verification, published: float, tolerance: float, differences: list[str]) -> str:
    """Compare a measured top-1 with the published one, both in per cent.

    Args:
        found: what was measured.
        published: top-1 as published.
        tolerance: points of difference that are no surprise: between two programs that prepare images a little
            differently, the same weights differ by up to about 0.3.
        differences: what was measured otherwise than the published figure (see `differences`).
    """
    if differences:
        return f"does not compare with the published {published:.2f}%: {'; '.join(differences)}"
    points = found.top1 - published
    if abs(points) <= tolerance + 1e-9:
        return f"within {tolerance:g} points of the published {published:.2f}%"
    return (
        f"{abs(points):.2f} points {'below' if points < 0 else 'above'} the published {published:.2f}%: check that "
        "these are the weights of that figure, and that each image lies in its own class's folder (the folders, "
        "sorted by name, are classes 0, 1, 2 ...)"
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
