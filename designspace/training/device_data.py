"""A data set on a device: uploaded once, in its own type, and shared by all trials of a worker."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from designspace.data.augment import normalise
from designspace.data.images import ImageData, largest_value
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import target_of
from designspace.trials.recipe import Recipe

_SHARE = 0.5
"""Fraction of a GPU's free memory that images may take; the rest is for training."""


@dataclass(frozen=True, eq=False, repr=False)
class DeviceData(Outlined):
    """The images and labels of an `ImageData` as tensors for one device. Created by `DeviceData.of`.

    Images that would take more than half of a GPU's free memory stay on the host, and are read ahead batch by batch
    (see `designspace.training.streaming.rows`). All other tensors are on the device.
    """

    name: str
    num_classes: int
    train_images: Tensor
    """uint8, uint16 or float32, shape (N, C, H, W)."""
    train_labels: Tensor
    """As `ImageData.train_labels`; for classes int64, shape (N,)."""
    test_images: Tensor
    """The same type, shape (M, C, H, W)."""
    test_labels: Tensor
    """As `ImageData.test_labels`."""
    mean: Tensor
    """Mean of each channel in the images' units, 0 to 255 for bytes. float32, shape (C, 1, 1)."""
    std: Tensor
    """Standard deviation of each channel in the images' units. float32, shape (C, 1, 1)."""

    @staticmethod
    def of(data: ImageData, device: str | torch.device = "cpu") -> DeviceData:
        """Copy a data set to a device, without changing the types of its values.

        On a CPU, read-only arrays such as those mapped from a file are not copied, so that processes share the file's
        pages.
        """

        def per_channel(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, device=device).mul_(largest_value(data.dtype)).view(-1, 1, 1)

        return DeviceData(
            data.name,
            data.num_classes,
            # The test images come first because they are fewer.
            test_images=_images_for(data.test_images, torch.device(device)),
            train_images=_images_for(data.train_images, torch.device(device)),
            train_labels=torch.tensor(data.train_labels, device=device),
            test_labels=torch.tensor(data.test_labels, device=device),
            mean=per_channel(data.mean),
            std=per_channel(data.std),
        )

    @property
    def target(self) -> str:
        """What is learned (see `ImageData.target`)."""
        return target_of(self.test_labels.dim(), "f" if self.test_labels.is_floating_point() else "i")

    @property
    def device(self) -> torch.device:
        """The device of the training."""
        return self.mean.device

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images to mean 0 and standard deviation 1: (N, C, H, W) -> float32, channels last."""
        return normalise(images, self.mean, self.std)


def _images_for(images: NDArray[Any], device: torch.device) -> Tensor:
    """Return images as a tensor on a device, or on the host if they are too large for it."""
    if device.type == "cuda" and images.nbytes <= _SHARE * torch.cuda.mem_get_info(device)[0]:
        return _as_tensor(images).to(device)
    if device.type not in ("cpu", "cuda"):
        return torch.tensor(images, device=device)
    return _as_tensor(images) if not images.flags.writeable else torch.tensor(images)


def _as_tensor(images: NDArray[Any]) -> Tensor:
    """Return a tensor that shares an array's memory and must only be read."""
    if min(images.strides) < 0:  # torch has no reversed views, but takes those whose axes are exchanged
        images = np.ascontiguousarray(images)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def on_device(data: ImageData | DeviceData, recipe: Recipe, device: str | torch.device | None) -> DeviceData:
    """Copy the images that a recipe uses to a device; data that are already on a device are checked and returned.

    Raises:
        InputError: the data set is not the one that the recipe names, is on another device than ``device``, or does
            not have the number of images in the recipe.
    """
    if isinstance(data, ImageData):
        return DeviceData.of(images_for(recipe, data), device or "cpu")
    _check_name(recipe, data)
    # "cuda" means the current GPU, so create a tensor to see which one that is.
    if device is not None and torch.empty(0, device=device).device != data.device:
        raise InputError(f"the data set is on {data.device}, but the trial is to run on {device}")
    for split in ("train_images", "test_images"):
        expected, actual = getattr(recipe, split), len(getattr(data, split))
        if expected is not None and expected != actual:
            raise InputError(
                f"the recipe has {split}={expected}, but the data set on {data.device} has {actual}; "
                f"load it with {split}={expected}"
            )
    return data


def images_for(recipe: Recipe, data: ImageData) -> ImageData:
    """Return the images that a recipe uses.

    Raises:
        InputError: the data set is not the one that the recipe names, or has fewer images than the recipe uses.
    """
    _check_name(recipe, data)
    return data.subset(recipe.train_images, recipe.test_images)


def _check_name(recipe: Recipe, data: ImageData | DeviceData) -> None:
    if data.name != recipe.data:
        raise InputError(f"the recipe trains on {recipe.data!r}, but the data set is {data.name!r}")
