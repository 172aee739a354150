"""The augmentation of a recipe: training and test images as networks take them, and mixed batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from designspace.data.augment import geometry, transforms
from designspace.data.augment.mixing import mixup
from designspace.data.recipe_fit import check_augmentation
from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe

_SLICE = 1 << 24
"""Maximal number of values processed at a time; their matrices, indices and maps take some hundred MB."""
_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The changes to images between memory and network. Created by `Augmentation.of`.

    Depending on the recipe, training images are flipped, cropped, put through a policy, jittered, lit, normalised and
    erased, in this order. All random values are drawn from one generator, for a whole batch at once, so the result for
    an image does not depend on how batches are divided among devices or processed in slices. Values are drawn on the
    generator's device: with a CPU generator, images on a GPU become what they would on a CPU, up to rounding.
    """

    chain: tuple[transforms.Transform, ...]
    normalise: transforms.Normalise
    test_size: int | None
    """Height and width of the test images; None keeps their size."""
    mixup: float
    """Alpha of the distribution of weights; 0 for no mixup."""
    dtype: torch.dtype = torch.uint8
    """Type of the images that it takes: uint8, or float32 for others (see `designspace.training.streaming.rows`)."""

    @staticmethod
    def of(recipe: Recipe, mean: Tensor, std: Tensor, size: int, dtype: torch.dtype = torch.uint8) -> Augmentation:
        """Return the augmentation of a recipe.

        Args:
            recipe: the kinds and strengths of augmentation.
            mean: mean of each channel in the images' units, 0 to 255 for bytes. float32 (C, 1, 1), on the images'
                device.
            std: standard deviation of each channel, likewise.
            size: height and width of the images in memory, in pixels.
            dtype: type of the images in memory: uint8, uint16 or float32. Padding of float32 has the value of the mean,
                because 0 may be far from all values.

        Raises:
            InputError: the recipe is inconsistent or does not fit the images: two kinds of crops, a crop larger than
                the padded images, or colour operations for images without colours.
        """
        check_augmentation(recipe, len(mean), size, str(dtype).removeprefix("torch."))
        normalise = transforms.Normalise(mean, std)
        chain: list[transforms.Transform] = []
        if recipe.flip:
            chain.append(transforms.Flip())
        if recipe.crop_area < 1:
            chain.append(transforms.ResizedCrop(recipe.crop_area, recipe.crop_size or size))
        elif recipe.crop_padding or recipe.crop_size:
            chain.append(
                transforms.PadCrop(recipe.crop_padding, recipe.crop_size, mean if dtype == torch.float32 else None)
            )
        if recipe.policy == "autoaugment":
            chain.append(transforms.AutoAugment())
        elif recipe.policy == "randaugment":
            chain.append(transforms.RandAugment(recipe.randaugment_ops, recipe.randaugment_magnitude))
        if recipe.colour_jitter:
            chain.append(transforms.Jitter(recipe.colour_jitter))
        if recipe.lighting:
            chain.append(transforms.Lighting(recipe.lighting))
        chain.append(normalise)
        if recipe.erasing:
            chain.append(transforms.Erasing(recipe.erasing))
        taken = torch.uint8 if dtype == torch.uint8 else torch.float32
        return Augmentation(tuple(chain), normalise, recipe.test_size or recipe.crop_size, recipe.mixup, taken)

    def train(self, images: Tensor, generator: torch.Generator, part: slice = _ALL) -> Tensor:
        """Augment and normalise training images: (N, C, H, W) -> float32 (n, C, S, S), channels last.

        ``part`` selects n images of the batch to return; random values are drawn for the whole batch of N. S is the
        recipe's ``crop_size``; without one, images keep their size.

        Raises:
            InputError: the images are not of type `dtype`, or do not have the channels that the augmentation is for.
        """
        self._check_images(images)
        height, width = images.shape[2:]
        drawn: list[tuple[Tensor, ...]] = []
        for transform in self.chain:
            values = transform.draw(len(images), height, width, generator)
            drawn.append(tuple(value[part] for value in values))
            height, width = transform.size_after(height, width)
        images = images[part]

        def augment(piece: slice) -> Tensor:
            changed = images[piece]
            for transform, values in zip(self.chain, drawn, strict=True):
                values_of_piece = [value[piece] for value in values]
                if not transform.on_host:
                    values_of_piece = [value.to(images.device, non_blocking=True) for value in values_of_piece]
                changed = transform.apply(changed, *values_of_piece)
            return changed

        return _in_slices(augment, images, height * width)

    def test(self, images: Tensor) -> Tensor:
        """Normalise test images: (N, C, H, W) -> float32 (N, C, T, T), channels last.

        T is the recipe's ``test_size``, or else its ``crop_size``: the centre is taken, and scaled up if images are
        smaller. Without either, images keep their size.

        Raises:
            InputError: the images are not of type `dtype`, or do not have the channels that the augmentation is for.
        """
        self._check_images(images)
        side = min(images.shape[2:])
        size = self.test_size

        def prepare(piece: slice) -> Tensor:
            pixels = images[piece]
            if size:
                pixels = geometry.centre(pixels, min(size, side))
            if size and size > side:
                whole = torch.full((len(pixels),), float(side), device=images.device)
                corner = torch.zeros_like(whole)
                pixels = geometry.resample(pixels, geometry.Boxes(corner, corner, whole, whole), size)
            return self.normalise.apply(pixels)

        return _in_slices(prepare, images, (size or 0) ** 2)

    def mix(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mix a batch if the recipe has mixup, and return images and targets for `torch.nn.functional.cross_entropy`.

        Args:
            images: float32 (N, C, H, W), augmented and normalised.
            labels: int64 (N,).
            num_classes: the number of classes of the data set.
            generator: a generator on any device.

        Returns:
            Images and targets: probabilities of the classes, float32 (N, num_classes). Without mixup, the arguments.
        """
        return mixup(images, labels, num_classes, self.mixup, generator) if self.mixup else (images, labels)

    def _check_images(self, images: Tensor) -> None:
        channels = len(self.normalise.mean)
        if images.dtype != self.dtype or images.dim() != 4 or images.shape[1] != channels:
            taken = "bytes" if self.dtype == torch.uint8 else "float32"
            raise InputError(
                f"the augmentation is for {taken} of shape (N, {channels}, H, W), not for "
                f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
            )


def _in_slices(function: Callable[[slice], Tensor], images: Tensor, pixels: int) -> Tensor:
    """Apply a function that returns images of ``pixels`` pixels to ``images``, in slices that need little memory."""
    count, channels, height, width = images.shape
    length = max(1, _SLICE // (channels * max(height * width, pixels)))
    first = function(slice(0, length))
    if count <= length:
        return first
    shape = (count, *first.shape[1:])
    result = torch.empty(shape, device=first.device, memory_format=torch.channels_last)
    result[:length] = first
    for start in range(length, count, length):
        piece = slice(start, start + length)
        result[piece] = function(piece)
    return result
