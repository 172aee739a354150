"""The batches of a trial's epochs: the choice and order of images, and their augmentation."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import torch
from torch import Tensor

from designspace.data.augment import Augmentation
from designspace.data.images import balanced
from designspace.support.errors import InputError
from designspace.training.device_data import DeviceData
from designspace.training.shard import Shard
from designspace.training.streaming import rows
from designspace.trials.recipe import Recipe

_CHUNK_IMAGES = 4096
_CHUNK_BYTES = 64 << 20
"""Maximal number of images that a GPU augments at once, and their maximal size in bytes as float32."""
_HELDOUT_SEED = 2


class Feed:
    """The training images of a recipe on a device, or a part of each batch if several devices share them.

    Random values are drawn on the host, without synchronising with a GPU, and for the whole batch, so the augmentation
    of an image does not depend on the number of devices. There are two exceptions: mixup pairs images within a device's
    part (with the same weights on all devices), and a single GPU draws for several batches at once, because launching
    many small kernels would slow it down.

    Raises:
        InputError: there are too few images for the recipe, or they cannot be shared or prepared according to it.
    """

    def __init__(self, data: DeviceData, recipe: Recipe, shard: Shard) -> None:
        self._data = data
        height = data.train_images.shape[2]
        self.augmentation = Augmentation.of(recipe, data.mean, data.std, height, data.train_images.dtype)
        self._train_indices, self.heldout = _split(data, recipe)
        self._count = len(data.train_images) if self._train_indices is None else len(self._train_indices)
        self._batch = min(recipe.batch_size, self._count)
        if self._batch % shard.world:
            raise InputError(
                f"{data.name}: a batch of all {self._batch} images cannot be shared by {shard.world} devices"
            )
        self.steps = self._count // self._batch
        """Steps per epoch; images that do not fill a batch are left out of the epoch."""
        self.images = self.steps * self._batch
        """Images per epoch."""
        self._part = shard.part(self._batch)
        self._batches_at_once = 1
        if data.device.type == "cuda" and shard.world == 1:
            side = recipe.crop_size or height
            image_bytes = 4 * data.train_images.shape[1] * max(side**2, data.train_images[0, 0].numel())
            at_once = min(_CHUNK_IMAGES, _CHUNK_BYTES // image_bytes)
            self._batches_at_once = max(1, min(self.steps, at_once // self._batch))

    def epoch(self, generator: torch.Generator) -> Generator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches: images, float32 (n, C, S, S) channels last, and targets (see `Step`).

        ``generator`` is a generator on the CPU.
        """
        order = torch.randperm(self._count, generator=generator)
        if self._train_indices is not None:
            order = self._train_indices[order]
        if self._data.device.type == "cuda":
            order = order.pin_memory()  # so that parts of it are copied to the device asynchronously
        return self._batches(order, generator)

    def example(self) -> tuple[Tensor, Tensor]:
        """Return a batch like those of an epoch."""
        return next(self._batches(torch.arange(self._batch), torch.Generator().manual_seed(0)))

    def _batches(self, order: Tensor, generator: torch.Generator) -> Generator[tuple[Tensor, Tensor]]:
        """Yield batches of images in the given order, leaving out those that do not fill a batch."""
        data, batch = self._data, self._batch
        count = len(order) // batch * batch
        chunks = order[:count].split(batch * self._batches_at_once)  # type: ignore[no-untyped-call]
        part = self._part if self._batches_at_once == 1 else slice(None)
        size = self._part.stop - self._part.start
        with closing(rows(data.train_images, chunks, data.device)) as source:
            for chunk, raw in zip(chunks, source, strict=True):
                images = self.augmentation.train(raw, generator, part)
                labels = data.train_labels[chunk[part].to(data.device, non_blocking=True)]
                for start in range(0, len(images), size):
                    part_of_images = slice(start, start + size)
                    yield self.augmentation.mix(
                        images[part_of_images], labels[part_of_images], data.num_classes, generator
                    )


def _split(data: DeviceData, recipe: Recipe) -> tuple[Tensor | None, Tensor | None]:
    """Return the indices of the training and held-out images, on the host, or None twice if none are held out.

    The choice depends on the labels alone; every class keeps its share (see `ImageData.subset`).
    """
    if not recipe.heldout_images:
        return None, None
    labels = data.train_labels.cpu().numpy()
    if recipe.heldout_images >= len(labels):
        raise InputError(
            f"{data.name}: heldout_images must be below the number of training images, {len(labels)}, "
            f"not {recipe.heldout_images}"
        )
    chosen = torch.from_numpy(
        balanced(f"{data.name}: heldout_images", labels, recipe.heldout_images, seed=_HELDOUT_SEED)
    )
    is_trained = torch.ones(len(labels), dtype=torch.bool)
    is_trained[chosen] = False
    return is_trained.nonzero().squeeze(1), chosen
