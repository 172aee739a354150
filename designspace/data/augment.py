"""Augmentation of whole batches, on the device that holds them.

All randomness comes from the generator given, which must be one of the images' device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designspace.support.errors import InputError
from designspace.trials.trial import Recipe


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image from left to right with probability 1/2: (N, C, H, W) of any type -> the same."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def pad_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to ``padding`` pixels each way and fill with 0: (N, C, H, W) of any type -> the same.

    That is: pad every side, then cut the old size out at a random place.
    """
    count, height, width = len(images), images.shape[2], images.shape[3]
    places = torch.randint(2 * padding + 1, (2, count), generator=generator, device=images.device)
    padded = functional.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, rows, columns, H, W)
    return windows[torch.arange(count, device=images.device), :, places[0], places[1]]


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Bring bytes to mean 0 and deviation 1: uint8 (N, C, H, W) -> float32, channels last.

    ``mean`` and ``std`` are (C, 1, 1) in the images' units, 0 to 255.
    """
    return images.to(torch.float32, memory_format=torch.channels_last).sub_(mean).div_(std)


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What becomes of images on their way from memory into a network. Made by `Augmentation.of`."""

    flips: bool
    padding: int
    mean: Tensor
    std: Tensor

    @staticmethod
    def of(recipe: Recipe, mean: Tensor, std: Tensor, size: int) -> Augmentation:
        """Give the augmentation of a recipe.

        Raises:
            InputError: the recipe asks for more than flips and shifts.
        """
        if recipe.crop_area < 1 or recipe.policy or recipe.mixup or recipe.erasing:
            raise InputError("this augmentation only flips and shifts")
        return Augmentation(recipe.flip, recipe.crop_padding, mean, std)

    def train(self, images: Tensor, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
        """Augment and normalise training images: uint8 (N, C, H, W) -> float32 (n, C, H, W), channels last."""
        if self.flips:
            images = flip(images, generator)
        if self.padding:
            images = pad_crop(images, self.padding, generator)
        return normalise(images[part], self.mean, self.std)

    def test(self, images: Tensor) -> Tensor:
        """Normalise test images: uint8 (N, C, H, W) -> float32 (N, C, H, W), channels last."""
        return normalise(images, self.mean, self.std)

    def mix(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Give what was given: there is no mixup."""
        return images, labels
