"""Batches of an image folder, read by processes beside the one that uses them."""

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
    """Images of a folder."""

    images: Tensor
    """uint8, shape (N, C, crop, crop)."""
    labels: Tensor
    """int64, shape (N,)."""
    unreadable: list[str]
    """What is wrong with those images of the batch that are left out."""


def batches(folder: ImageFolder, preset: Preset, batch_size: int, workers: int | None = None) -> Iterator[Batch]:
    """Read all images of a folder, in batches of ``batch_size`` files.

    Classes take turns, so that the first images already stand for all. The order is always the same.

    Args:
        folder: the images.
        preset: how they are prepared; normalising is left to the caller, on its device.
        batch_size: files a batch, of which those that cannot be read are left out.
        workers: processes that read; 0 reads in this one; None: as many as there are cores for this process.
    """
    loader = DataLoader(
        _Prepared(folder, preset),
        batch_size,
        sampler=_classes_in_turn(folder.labels),
        num_workers=available_cores() if workers is None else workers,
        collate_fn=_collate,
    )
    for images, labels, unreadable in loader:
        yield Batch(torch.from_numpy(images), torch.from_numpy(labels), unreadable)


def _classes_in_turn(labels: NDArray[np.int64]) -> list[int]:
    """The order of images that spreads each class evenly; the labels are sorted."""
    counts = np.bincount(labels)
    place = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels]  # within its class
    order: list[int] = np.argsort((place + 0.5) / counts[labels], kind="stable").tolist()
    return order


_Item = tuple[NDArray[np.uint8], int] | str


class _Prepared(Dataset[_Item]):
    """The images of a folder, prepared, with their labels; or what is wrong with one."""

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
    """Put a batch together, of numpy's arrays: torch would send tensors through /dev/shm, small in containers."""
    good = [item for item in items if not isinstance(item, str)]
    images = np.stack([image for image, _ in good]) if good else np.empty((0, 1, 1, 1), np.uint8)
    return images, np.array([label for _, label in good], np.int64), [item for item in items if isinstance(item, str)]
