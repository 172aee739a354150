"""The augmentation that a recipe asks for, as a value: training and test images from bytes, mixed batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from designspace.data.augment import geometry, steps
from designspace.data.augment.mixing import mixup
from designspace.data.recipe_fit import check_augmentation
from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe

_SLICE = 1 << 24
"""Values that are worked on at a time, at most: matrices, indices and maps of them take some hundred MB."""
_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What becomes of images on their way from memory into a network. Made by `Augmentation.of`.

    Training images are flipped, cropped, put through a policy, jittered, lit, normalised and erased, in this order, as
    far as the recipe asks for it. All of it is drawn from one generator, for a whole batch at once, so what becomes of
    an image does not depend on how batches are divided among devices, nor in which slices they are worked on. Draws are
    made where the generator is: with one of the CPU, images on a GPU become what they would on a CPU, up to rounding.
    """

    chain: tuple[steps.Step, ...]
    normalise: steps.Normalise
    test_size: int | None
    """Side of the test images; None for their own."""
    mixup: float
    """Alpha of the weights' distribution; 0: none."""

    @staticmethod
    def of(recipe: Recipe, mean: Tensor, std: Tensor, size: int) -> Augmentation:
        """Give the augmentation of a recipe.

        Args:
            recipe: which augmentation, how strong.
            mean: of each channel, in the images' units, 0 to 255. float32 (C, 1, 1), on the images' device.
            std: their standard deviation, likewise.
            size: side of the images in memory, in pixels.

        Raises:
            InputError: the recipe does not fit itself or the images: two kinds of crops, a crop larger than the padded
                images, colours of images without.
        """
        check_augmentation(recipe, len(mean), size)
        normalise = steps.Normalise(mean, std)
        chain: list[steps.Step] = []
        if recipe.flip:
            chain.append(steps.Flip())
        if recipe.crop_area < 1:
            chain.append(steps.ResizedCrop(recipe.crop_area, recipe.crop_size or size))
        elif recipe.crop_padding or recipe.crop_size:
            chain.append(steps.PadCrop(recipe.crop_padding, recipe.crop_size))
        if recipe.policy == "autoaugment":
            chain.append(steps.AutoAugment())
        elif recipe.policy == "randaugment":
            chain.append(steps.RandAugment(recipe.randaugment_ops, recipe.randaugment_magnitude))
        if recipe.colour_jitter:
            chain.append(steps.Jitter(recipe.colour_jitter))
        if recipe.lighting:
            chain.append(steps.Lighting(recipe.lighting))
        chain.append(normalise)
        if recipe.erasing:
            chain.append(steps.Erasing(recipe.erasing))
        return Augmentation(tuple(chain), normalise, recipe.test_size or recipe.crop_size, recipe.mixup)

    def train(self, images: Tensor, generator: torch.Generator, part: slice = _ALL) -> Tensor:
        """Augment and normalise training images: uint8 (N, C, H, W) -> float32 (n, C, S, S), channels last.

        ``part`` is the part of the batch that is wanted, n images; all is drawn for the whole batch of N. S is the
        recipe's ``crop_size``; without one, images keep their size.

        Raises:
            InputError: the images are no bytes, or have not the channels that the augmentation was made for.
        """
        self._check_images(images)
        height, width = images.shape[2:]
        drawn: list[tuple[Tensor, ...]] = []
        for step in self.chain:
            values = step.draw(len(images), height, width, generator)
            drawn.append(tuple(value[part] for value in values))
            height, width = step.size_after(height, width)
        images = images[part]

        def augmented(piece: slice) -> Tensor:
            changed = images[piece]
            for step, values in zip(self.chain, drawn, strict=True):
                here = [value[piece] for value in values]
                if not step.on_host:
                    here = [value.to(images.device, non_blocking=True) for value in here]
                changed = step.apply(changed, *here)
            return changed

        return _in_slices(augmented, images, height * width)

    def test(self, images: Tensor) -> Tensor:
        """Normalise test images: uint8 (N, C, H, W) -> float32 (N, C, T, T), channels last.

        T is the recipe's ``test_size``, or else its ``crop_size``: the centre is taken, and scaled up where images are
        smaller. Without either, images keep their size.

        Raises:
            InputError: the images are no bytes, or have not the channels that the augmentation was made for.
        """
        self._check_images(images)
        side = min(images.shape[2:])
        size = self.test_size

        def prepared(piece: slice) -> Tensor:
            pixels = images[piece]
            if size:
                pixels = geometry.centre(pixels, min(size, side))
            if size and size > side:
                whole = torch.full((len(pixels),), float(side), device=images.device)
                corner = torch.zeros_like(whole)
                pixels = geometry.resample(pixels, geometry.Boxes(corner, corner, whole, whole), size)
            return self.normalise.apply(pixels)

        return _in_slices(prepared, images, (size or 0) ** 2)

    def mix(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mix a batch where the recipe asks for mixup, and give what `torch.nn.functional.cross_entropy` compares with.

        Args:
            images: float32 (N, C, H, W), augmented and normalised.
            labels: int64 (N,).
            num_classes: of the data set.
            generator: of any device.

        Returns:
            Images and targets: probabilities of the classes, float32 (N, num_classes); without mixup, what was given.
        """
        return mixup(images, labels, num_classes, self.mixup, generator) if self.mixup else (images, labels)

    def _check_images(self, images: Tensor) -> None:
        channels = len(self.normalise.mean)
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != channels:
            raise InputError(
                f"the augmentation is for bytes of shape (N, {channels}, H, W), not for "
                f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
            )


def _in_slices(function: Callable[[slice], Tensor], images: Tensor, pixels: int) -> Tensor:
    """Put images through a function that gives so many pixels an image, in slices that need little memory."""
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
