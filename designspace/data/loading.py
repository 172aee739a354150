"""Batches of an image folder, read by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from designspace.data.image_folder import ImageFolder
from designspace.data.presets import Preset
from designspace.support.errors import RunError
from designspace.support.machine import available_cores


class Batch(NamedTuple):
    """A batch of images of a folder."""

    images: Tensor
    """uint8, shape (N, C, crop, crop)."""
    labels: Tensor
    """int64, shape (N,)."""
    unreadable: list[str]
    """Errors of the images of the batch that are left out because they cannot be read."""


def batches(folder: ImageFolder, preset: Preset, batch_size: int, workers: int | None = None) -> Iterator[Batch]:
    """Read all images of a folder, in batches of ``batch_size`` files.

    The classes are interleaved, so that the first images are already representative. The order is always the same.

    Args:
        folder: the images.
        preset: the preparation of the images; the caller normalises them on its device.
        batch_size: the number of files per batch; those that cannot be read are left out.
        workers: the number of processes that read; 0 for this process, None for one per available core.
    """
    loader = DataLoader(
        _PreparedImages(folder, preset),
        batch_size,
        sampler=_interleave_classes(folder.labels),
        num_workers=available_cores() if workers is None else workers,
        collate_fn=_collate,
    )
    for images, labels, unreadable in loader:
        yield Batch(torch.from_numpy(images), torch.from_numpy(labels), unreadable)


def _interleave_classes(labels: NDArray[np.int64]) -> list[int]:
    """Return the order of images that spreads each class evenly; the labels are sorted."""
    counts = np.bincount(labels)
    position = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels]  # within its class
    order: list[int] = np.argsort((position + 0.5) / counts[labels], kind="stable").tolist()
    return order


_Item = tuple[NDArray[np.uint8], int] | str


class _PreparedImages(Dataset[_Item]):
    """The prepared images of a folder with their labels; an item is an error message if the image cannot be read."""

    def __init__(self, folder: ImageFolder, preset: Preset) -> None:
        self._folder = folder
        self._preset = preset

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, index: int) -> _Item:
        try:
            return self._folder.read(index, self._preset), int(self._folder.labels[index])
        except RunError as error:
            return str(error)


def _collate(items: Sequence[_Item]) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Collate a batch as numpy arrays because torch would send tensors through /dev/shm, small in containers."""
    good = [item for item in items if not isinstance(item, str)]
    images = np.stack([image for image, _ in good]) if good else np.empty((0, 1, 1, 1), np.uint8)
    return images, np.array([label for _, label in good], np.int64), [item for item in items if isinstance(item, str)]
