"""A data set on a device: uploaded once, as bytes, and shared by all trials of a worker."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from designspace.data.augment import normalise
from designspace.data.images import ImageData
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe

_SHARE = 0.5
"""Part of a GPU's free memory that images may take; the rest is for training."""


@dataclass(frozen=True, eq=False, repr=False)
class DeviceData(Outlined):
    """The images and labels of an `ImageData` as tensors for one device. Made by `DeviceData.of`.

    Images that would take more than half of a GPU's free memory stay on the host, and are read ahead batch by batch
    (see `designspace.training.streaming.rows`). All else is on the device.
    """

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
        """Bring a data set to a device, as bytes.

        Arrays that cannot be written to, such as those mapped from a file, are not copied on a CPU: processes share
        the file's pages.
        """

        def per_channel(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, device=device).mul_(255).view(-1, 1, 1)

        return DeviceData(
            data.name,
            data.num_classes,
            # The test images go first: they are fewer.
            test_images=_images_for(data.test_images, torch.device(device)),
            train_images=_images_for(data.train_images, torch.device(device)),
            train_labels=torch.tensor(data.train_labels, device=device),
            test_labels=torch.tensor(data.test_labels, device=device),
            mean=per_channel(data.mean),
            std=per_channel(data.std),
        )

    @property
    def device(self) -> torch.device:
        """Where the training is to be."""
        return self.mean.device

    def normalise(self, images: Tensor) -> Tensor:
        """Bring bytes to mean 0 and deviation 1: uint8 (N, C, H, W) -> float32, channels last."""
        return normalise(images, self.mean, self.std)


def _images_for(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Images as a tensor on a device, or on the host where they are too many for it."""
    if device.type == "cuda" and images.nbytes <= _SHARE * torch.cuda.mem_get_info(device)[0]:
        return _as_tensor(images).to(device)
    if device.type not in ("cpu", "cuda"):
        return torch.tensor(images, device=device)
    return _as_tensor(images) if not images.flags.writeable else torch.tensor(images)


def _as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """A tensor that shares an array's memory, and is only read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(images))


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
