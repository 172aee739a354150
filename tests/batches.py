"""Batches of training images, computed without the data feed of the trainer."""

import torch
from torch import Tensor

from designspace.data.augment import Augmentation
from designspace.training import DeviceData
from designspace.trials.recipe import Recipe


def train_batch(
    images: DeviceData, indices: Tensor, recipe: Recipe, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return training images, augmented and normalised: float32 (n, C, H, W) channels last, and labels (n,)."""
    augmentation = Augmentation.of(recipe, images.mean, images.std, images.train_images.shape[2])
    return augmentation.train(images.train_images[indices], generator, slice(None)), images.train_labels[indices]
