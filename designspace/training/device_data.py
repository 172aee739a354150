"""A data set on a device: uploaded once, as bytes, and shared by all trials of a worker."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from designspace.data.augment import Augmentation, normalise
from designspace.data.images import ImageData
from designspace.support.errors import InputError
from designspace.trials.trial import Recipe

_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class DeviceData:
    """The images and labels of an `ImageData` as tensors on one device. Made by `DeviceData.of`."""

    name: str
    num_classes: int
    train_images: Tensor
    """uint8, shape (N, C, H, W)."""
    train_labels: Tensor
    """int64, shape (N,)."""
    test_images: Tensor
    """uint8, shape (M, C, H, W)."""
    test_labels: Tensor
    """int64, shape (M,)."""
    mean: Tensor
    """Mean of each channel in the images' units, 0 to 255. float32, shape (C, 1, 1)."""
    std: Tensor
    """Standard deviation of each channel in the images' units. float32, shape (C, 1, 1)."""

    @staticmethod
    def of(data: ImageData, device: str | torch.device = "cpu") -> DeviceData:
        """Copy a data set to a device, as bytes."""

        def per_channel(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, device=device).mul_(255).view(-1, 1, 1)

        return DeviceData(
            data.name,
            data.num_classes,
            train_images=torch.tensor(data.train_images, device=device),
            train_labels=torch.tensor(data.train_labels, device=device),
            test_images=torch.tensor(data.test_images, device=device),
            test_labels=torch.tensor(data.test_labels, device=device),
            mean=per_channel(data.mean),
            std=per_channel(data.std),
        )

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.train_images.device

    def train_batch(
        self, indices: Tensor, recipe: Recipe, generator: torch.Generator, part: slice = _ALL
    ) -> tuple[Tensor, Tensor]:
        """Take training images, augmented and normalised: float32 (n, C, H, W) channels last, and labels (n,).

        With ``part``, only that part of the batch. The augmentation is drawn for the whole batch all the same, so what
        becomes of an image does not depend on how batches are divided.
        """
        augmentation = Augmentation.of(recipe, self.mean, self.std, self.train_images.shape[-1])
        images = augmentation.train(self.train_images.index_select(0, indices), generator, part)
        return images, self.train_labels[indices[part]]

    def test_batch(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Take test images, normalised: float32 (n, C, H, W) channels last, and labels (n,), n <= count at the end."""
        images = self.test_images[start : start + count]
        return normalise(images, self.mean, self.std), self.test_labels[start : start + count]


def on_device(data: ImageData | DeviceData, recipe: Recipe, device: str | torch.device | None) -> DeviceData:
    """Bring the images that a recipe asks for to a device; data that are on a device stay there, and are checked.

    Raises:
        InputError: the data set is not the one that the recipe names, is on another device than ``device``, or has not
            the number of images that the recipe asks for.
    """
    if isinstance(data, ImageData):
        return DeviceData.of(images_for(recipe, data), device or "cpu")
    _check_name(recipe, data)
    # "cuda" is whichever GPU is the current one, so let torch say where a tensor would go.
    if device is not None and torch.empty(0, device=device).device != data.device:
        raise InputError(f"the data set is on {data.device}, but the trial is to run on {device}")
    for split in ("train_images", "test_images"):
        wanted, given = getattr(recipe, split), len(getattr(data, split))
        if wanted is not None and wanted != given:
            raise InputError(
                f"the recipe asks for {split}={wanted}, but the data set on {data.device} has {given}; "
                f"load it with {split}={wanted}"
            )
    return data


def images_for(recipe: Recipe, data: ImageData) -> ImageData:
    """Take the images that a recipe asks for.

    Raises:
        InputError: the data set is not the one that the recipe names, or has fewer images than it asks for.
    """
    _check_name(recipe, data)
    return data.subset(recipe.train_images, recipe.test_images)


def _check_name(recipe: Recipe, data: ImageData | DeviceData) -> None:
    if data.name != recipe.data:
        raise InputError(f"the recipe trains on {recipe.data!r}, but the data set given is {data.name!r}")
