"""Measures a model's accuracy: how often its first guess (top-1) or one of its first five (top-5) is right."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from designspace.data.augment import normalise
from designspace.data.classes import unmatched
from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData, largest_value
from designspace.data.loading import Batch, batches
from designspace.data.presets import Preset
from designspace.data.recipe_fit import check_target
from designspace.models import AnyNet, cpu
from designspace.models.info import ModelInfo
from designspace.networks.network import Network
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.text import as_utf8, counted
from designspace.training.devices import choose_device
from designspace.training.failures import is_out_of_memory

OnBatch = Callable[[int, int], None]
"""Callback after each batch, with the number of images so far, and of those whose first guess was right."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Measured accuracies, in percent of the images that could be read."""

    top1: float
    top5: float
    """Always 100 if there are at most five classes."""
    images: int
    unreadable: tuple[str, ...] = ()
    """Paths and problems of the images that were left out."""
    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64), compare=False, repr=False)
    """Number of images of each class (row) that the model takes for each (column), of shape (N, N) for N classes."""


def verify(
    model: nn.Module,
    images: ImageFolder | ImageData,
    preset: Preset | None = None,
    *,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    on_batch: OnBatch | None = None,
) -> Verification:
    """Measure top-1 and top-5 in float32. Afterwards the module is on the device and in evaluation mode.

    Classes are matched by name if the model has names for its own (see `match_classes`). Among equal logits, the class
    with the lower number comes first.

    Args:
        model: (N, C, H, W) -> logits (N, number of classes).
        images: a folder, or the test images of a data set in memory.
        preset: how images are prepared; images in memory are only normalised. None for the default of `preset_for`.
        device: device of the model; by default a GPU if there is one (see `choose_device`).
        batch_size: images per batch.
        workers: number of processes that read a folder; 0 to read in this process, None for one per core.
        on_batch: see `OnBatch`.

    Raises:
        InputError: the images do not fit the model, or a number is out of range.
        RunError: the model returns NaN, no image can be read, memory ran out, or a process that reads images was
            killed.
    """
    if isinstance(images, ImageData):
        check_target(images.name, images.target)
    preset = preset_for(images) if preset is None else preset
    network = model.network if isinstance(model, AnyNet) else None  # other modules do not describe their classes
    if network is not None:
        images = match_classes(images, network, known_classes(model))
    count = images.num_classes
    confusion = np.zeros((count, count), np.int64)
    among_five = 0
    unreadable: list[str] = []
    for batch, logits in logits_of(model, images, preset, device=device, batch_size=batch_size, workers=workers):
        unreadable += batch.unreadable
        if len(batch.labels):
            labels = batch.labels.to(logits.device)
            ranks = _ranks(logits, labels, count)
            among_five += int((ranks < 5).sum())
            guesses = torch.where(ranks < 1, labels, logits.argmax(1))
            confusion += np.bincount((labels * count + guesses).cpu().numpy(), minlength=count**2).reshape(count, count)
        if on_batch:
            on_batch(int(confusion.sum()) + len(unreadable), int(confusion.trace()))
    seen = int(confusion.sum())
    if not seen:
        raise RunError(f"none of {len(unreadable)} images can be read; the first: {unreadable[0]}")
    return Verification(
        100 * int(confusion.trace()) / seen, 100 * among_five / seen, seen, tuple(unreadable), confusion
    )


def logits_of(
    model: nn.Module,
    images: ImageFolder | ImageData,
    preset: Preset,
    *,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    workers: int | None = None,
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield batches of images with the model's logits (n, number of classes) in float32, on the device.

    Arguments and errors are those of `verify`. Afterwards the module is on the device and in evaluation mode.
    """
    batch_size = whole("batch_size", batch_size, 1)
    workers = None if workers is None else whole("workers", workers, 0)
    _check_channels(model.network if isinstance(model, AnyNet) else None, images, preset)
    device = choose_device(device)
    model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    unit = largest_value(images.dtype) if isinstance(images, ImageData) else 255.0
    mean, std = (torch.tensor(v, device=device).mul_(unit).view(-1, 1, 1) for v in (preset.mean, preset.std))
    # By default the convolutions of newer GPUs round their inputs to ten bits ("TF32"), which is disabled here.
    with (
        closing(_batches(images, preset, batch_size, workers)) as source,
        _clear_errors(batch_size),
        cpu.fused(model) if device.type == "cpu" else nullcontext(),
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        for batch in source:
            has_images = bool(len(batch.labels))
            yield batch, model(normalise(batch.images.to(device), mean, std)) if has_images else torch.empty(0)


def preset_for(
    images: ImageFolder | ImageData,
    preset: Preset | None = None,
    crop: int | None = None,
    resize: int | None = None,
    interpolation: str | None = None,
) -> Preset:
    """Return how images are prepared for a model.

    Args:
        images: the images. Images in memory keep their size.
        preset: the model's preset; by default `Preset()` for a folder, and the data set's mean and standard deviation
            for images in memory.
        crop: pixels of the crop, instead of the preset's (see `Preset.changed`). For a folder only.
        resize: pixels of the shorter side, instead of the preset's. For a folder only.
        interpolation: name of the interpolation, instead of the preset's. For a folder only.

    Raises:
        InputError: the images cannot be prepared in this way.
    """
    if isinstance(images, ImageFolder):
        return (preset or Preset()).changed(crop, resize, interpolation)
    if any(value is not None for value in (crop, resize, interpolation)):
        raise InputError(f"images of {images.name} keep their size: crop, resize and interpolation are for folders")
    mean, std = (preset.mean, preset.std) if preset else (images.mean, images.std)
    dtype = preset.dtype if preset else images.dtype
    return Preset(crop=images.shape[1], resize=images.shape[1], mean=mean, std=std, dtype=dtype)


def known_classes(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a model's classes in the order of its logits; empty if they are not known."""
    weights: ModelInfo | None = getattr(model, "weights", None)
    return weights.classes if weights else ()


def match_classes(images: ImageFolder | ImageData, network: Network, known: Sequence[str]) -> ImageFolder | ImageData:
    """Return images whose labels are the network's class numbers; the network may have more classes than the images.

    Args:
        images: the images.
        network: the network.
        known: names of the network's classes in the order of its logits. If there are none, the images keep their
            labels and must have the network's number of classes.

    Raises:
        InputError: the network does not have some of the classes; the error names some of them.
    """
    if not known or not images.classes:
        check_classes(network, images)
        return images
    try:
        return images.with_classes(known, "the model")
    except InputError as error:
        raise InputError(f"{error}{_hint(images)}") from error


def describe_matching(images: ImageFolder | ImageData, known: Sequence[str]) -> str:
    """Return a text on how the classes of images are matched with those of a model (see `match_classes`)."""
    if not known or not images.classes:
        order = "in the order of the folders" if isinstance(images, ImageFolder) else f"as in {images.name}"
        return f"{order}, because the model has no names of classes"
    count = "all" if len(images.classes) == len(known) else f"{len(images.classes):,} of the model's {len(known):,}"
    by_number = unmatched(images.classes, known)
    return f"{count}, {'the folders are named by their numbers' if by_number else 'matched by name'}"


def check_classes(network: Network, images: ImageFolder | ImageData) -> None:
    """Raise an error unless a network and images have the same number of classes.

    Raises:
        InputError: the numbers differ; the error has both.
    """
    if network.num_classes == images.num_classes:
        return
    name = images.name if isinstance(images, ImageData) else f"folder {as_utf8(str(images.path))}"
    raise InputError(
        f"{name} has {counted(images.num_classes, 'class')}, but the model has {network.num_classes}{_hint(images)}"
    )


def _hint(images: ImageFolder | ImageData) -> str:
    """Return which folder to give if the given one contains the folders of training and validation images."""
    if isinstance(images, ImageFolder) and "val" in images.classes:
        return f"; for the validation images below it, give {as_utf8(str(images.path / 'val'))}"
    return ""


def _check_channels(network: Network | None, images: ImageFolder | ImageData, preset: Preset) -> None:
    """Raise `InputError` unless images are prepared with the channels that they and the network have."""
    channels = len(preset.mean)
    dtype = "uint8" if isinstance(images, ImageFolder) else images.dtype
    if (dtype == "float32") != (preset.dtype == "float32"):  # whole numbers of 8 and of 16 bits both become 0 to 1
        raise InputError(
            f"the images are {dtype}, but the model was trained on {preset.dtype}, whose units are unknown here; test "
            "it on its own data set"
        )
    if isinstance(images, ImageFolder) and channels not in (1, 3):
        raise InputError(f"images of a folder have 3 channels or 1, but mean and std have {channels}")
    if isinstance(images, ImageData) and channels != images.shape[0]:
        raise InputError(f"{images.name} has {images.shape[0]} channels, but mean and std have {channels}")
    if network is not None and network.in_channels != channels:
        raise InputError(f"the model takes {network.in_channels} channels, but images are prepared with {channels}")


def _batches(images: ImageFolder | ImageData, preset: Preset, size: int, workers: int | None) -> Generator[Batch]:
    """Yield batches of images, from a folder as bytes, or from memory in the types of `streaming.rows`."""
    if isinstance(images, ImageFolder):
        yield from batches(images, preset, size, workers)
        return
    for start in range(0, len(images.test_images), size):
        part = slice(start, start + size)
        pixels = images.test_images[part]
        pixels = pixels.astype(np.float32) if pixels.dtype == np.uint16 else pixels
        yield Batch(torch.tensor(pixels), torch.tensor(images.test_labels[part]), [])


def _ranks(logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return how many classes come before the right one: (N, classes), (N,) -> (N,)."""
    if logits.shape != (len(labels), classes):
        raise InputError(f"the model returns {tuple(logits.shape)} for {len(labels)} images of {classes} classes")
    if logits.isnan().any():
        raise RunError("the model returns NaN: its weights are damaged, or its values are too large for float32")
    right = logits.gather(1, labels[:, None])  # (N, 1)
    lower = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]  # (N, classes)
    return ((logits > right) | ((logits == right) & lower)).sum(1)


@contextmanager
def _clear_errors(batch_size: int) -> Iterator[None]:
    """Add advice to errors about memory that ran out, and about a process that was killed."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        first_line = str(error).split("\n")[0]
        if is_out_of_memory(error):
            raise RunError(f"out of memory with batches of {batch_size} images; use a smaller batch_size") from error
        if "DataLoader worker" in first_line:  # raised at any point, because torch is notified by a signal
            raise RunError(f"a process that reads images was killed ({first_line}); use fewer workers") from error
        raise
