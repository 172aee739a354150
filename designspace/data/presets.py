"""The preparation of images that the weights of a model expect."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from designspace.data.images import IMAGE_TYPES
from designspace.support.checks import plain, whole
from designspace.support.errors import InputError, unknown

INTERPOLATIONS = ("bilinear", "bicubic")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preset:
    """The preparation of images for evaluation: resize, crop the centre, normalise. The values are checked.

    Raises:
        InputError: a value is out of range.
    """

    crop: int = 224
    """Height and width of the network's input, in pixels."""
    resize: int = 256
    """Shorter side of the image before the crop, in pixels; at least `crop`."""
    interpolation: str = "bilinear"
    """One of `INTERPOLATIONS`."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each channel (red, green and blue, or grey), in the units of `ImageData.mean`."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each channel, in the same units."""
    dtype: str = "uint8"
    """Type of the images' values, one of `IMAGE_TYPES`, which determines the units: the largest whole number is 1."""

    def __post_init__(self) -> None:
        if self.dtype not in IMAGE_TYPES:
            raise unknown("dtype of images", self.dtype, IMAGE_TYPES)
        if self.crop < 1 or self.resize < self.crop:
            raise InputError(
                f"crop must be at least 1 pixel, and resize at least crop; not crop={self.crop}, resize={self.resize}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)
        if len(self.mean) != len(self.std) or not self.std or min(self.std) <= 0:
            raise InputError(
                f"mean and std need one number per channel, and std above 0; not {self.mean} and {self.std}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; the type of images that are bytes is left out, as in earlier versions."""
        fields = dataclasses.asdict(self)
        if self.dtype == "uint8":
            del fields["dtype"]
        return fields

    def changed(self, crop: int | None = None, resize: int | None = None, interpolation: str | None = None) -> Preset:
        """Return a copy with other values; None keeps a value, and a crop alone keeps the ratio of resize to crop.

        Raises:
            InputError: a value is out of range.

        >>> Preset().changed(crop=280).resize, Preset().changed(crop=280, resize=280).resize
        (320, 280)
        """
        for name, side in (("crop", crop), ("resize", resize)):
            if side is not None:
                whole(name, side)
        crop, resize = plain(crop), plain(resize)
        if crop is not None and crop >= 1 and resize is None:
            resize = round(self.resize * crop / self.crop)
        return dataclasses.replace(
            self,
            crop=self.crop if crop is None else crop,
            resize=self.resize if resize is None else resize,
            interpolation=self.interpolation if interpolation is None else interpolation,
        )
