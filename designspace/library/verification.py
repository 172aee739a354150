"""How often a model is right: its first guess (top-1), or one of its first five (top-5)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from designspace.data.augment import normalise
from designspace.data.classes import unmatched
from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData
from designspace.data.loading import Batch, batches
from designspace.data.presets import Preset
from designspace.models import AnyNet, cpu
from designspace.models.info import ModelInfo
from designspace.networks.network import Network
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.text import as_utf8, counted
from designspace.training.devices import choose_device
from designspace.training.failures import is_out_of_memory

OnBatch = Callable[[int, int], None]
"""Told after each batch: images so far, and how many of them the first guess was right for."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was measured, in per cent of the images that could be read."""

    top1: float
    top5: float
    """Of fewer than five classes, any guess is right."""
    images: int
    unreadable: tuple[str, ...] = ()
    """What is wrong with the images that are left out, with their paths."""


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
    """Measure top-1 and top-5 in float32. The module is on the device and in evaluation mode afterwards.

    Classes are matched by name where the model has names for its own (see `match_classes`).
    Where logits are equal, the class with the lower number is the likelier one.

    Args:
        model: (N, C, H, W) -> logits (N, number of classes).
        images: a folder, or the test images of a data set in memory.
        preset: how images are prepared; those in memory are only normalised. See `preset_for` for None.
        device: where the model runs; by default a GPU where there is one (see `choose_device`).
        batch_size: images a batch.
        workers: processes that read a folder; 0 reads in this one; None: as many as cores.
        on_batch: see `OnBatch`.

    Raises:
        InputError: the images do not fit the model, or a number is out of range.
        RunError: the model gives NaN, no image can be read, memory ran out, or a process that reads images died.
    """
    batch_size = whole("batch_size", batch_size, 1)
    workers = None if workers is None else whole("workers", workers, 0)
    preset = preset_for(images) if preset is None else preset
    network = model.network if isinstance(model, AnyNet) else None  # other modules say too little of themselves
    if network is not None:
        images = match_classes(images, network, known_classes(model))
    _check_channels(network, images, preset)
    device = choose_device(device)
    model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = (torch.tensor(v, device=device).mul_(255).view(-1, 1, 1) for v in (preset.mean, preset.std))
    seen = first = among_five = 0
    unreadable: list[str] = []
    # By default the convolutions of newer GPUs round their inputs to ten bits ("TF32").
    with (
        closing(_batches(images, preset, batch_size, workers)) as source,
        _clear_errors(batch_size),
        cpu.fused(model) if device.type == "cpu" else nullcontext(),
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        for batch in source:
            unreadable += batch.unreadable
            if len(batch.labels):
                logits = model(normalise(batch.images.to(device), mean, std))
                ranks = _ranks(logits, batch.labels.to(device), images.num_classes)
                first += int((ranks < 1).sum())
                among_five += int((ranks < 5).sum())
                seen += len(ranks)
            if on_batch:
                on_batch(seen + len(unreadable), first)
    if not seen:
        raise RunError(f"none of {len(unreadable)} images can be read; the first: {unreadable[0]}")
    return Verification(100 * first / seen, 100 * among_five / seen, seen, tuple(unreadable))


def preset_for(
    images: ImageFolder | ImageData,
    preset: Preset | None = None,
    crop: int | None = None,
    resize: int | None = None,
    interpolation: str | None = None,
) -> Preset:
    """How images are prepared for a model.

    Args:
        images: which images. Those in memory stay as large as they are.
        preset: the model's own; without one, `Preset()` for a folder, and the data set's own mean and deviation for
            images in memory.
        crop: in the place of the preset's, as the next two: see `Preset.changed`. For a folder only.
        resize: pixels.
        interpolation: name.

    Raises:
        InputError: images cannot be prepared so.
    """
    if isinstance(images, ImageFolder):
        return (preset or Preset()).changed(crop, resize, interpolation)
    if any(value is not None for value in (crop, resize, interpolation)):
        raise InputError(f"images of {images.name} stay as they are: crop, resize and interpolation are for folders")
    mean, std = (preset.mean, preset.std) if preset else (images.mean, images.std)
    return Preset(crop=images.shape[1], resize=images.shape[1], mean=mean, std=std)


def known_classes(model: nn.Module) -> tuple[str, ...]:
    """The names of a model's classes, in the order of its logits; empty where they are not known."""
    weights: ModelInfo | None = getattr(model, "weights", None)
    return weights.classes if weights else ()


def match_classes(images: ImageFolder | ImageData, network: Network, known: Sequence[str]) -> ImageFolder | ImageData:
    """Give classes the numbers that a network has for them, which may tell more classes apart than there are here.

    Args:
        images: which images.
        network: tells the classes apart.
        known: the names of the network's classes, in the order of its logits. Without any, the classes of the images
            keep their numbers, and there must be as many of them.

    Raises:
        InputError: there are classes that the network does not know; the error names some.
    """
    if not known or not images.classes:
        check_classes(network, images)
        return images
    try:
        return images.with_classes(known, "the model")
    except InputError as error:
        raise InputError(f"{error}{_hint(images)}") from error


def describe_matching(images: ImageFolder | ImageData, known: Sequence[str]) -> str:
    """Say how the classes of images are matched with those of a model (see `match_classes`)."""
    if not known or not images.classes:
        order = "in the order of the folders" if isinstance(images, ImageFolder) else f"as in {images.name}"
        return f"{order}: the model has no names for its own"
    count = "all" if len(images.classes) == len(known) else f"{len(images.classes):,} of the model's {len(known):,}"
    by_number = unmatched(images.classes, known)
    return f"{count}, {'the folders are named by their numbers' if by_number else 'matched by name'}"


def check_classes(network: Network, images: ImageFolder | ImageData) -> None:
    """Raise unless a network tells as many classes apart as the images have.

    Raises:
        InputError: it does not; the error has both numbers.
    """
    if network.num_classes == images.num_classes:
        return
    what = images.name if isinstance(images, ImageData) else f"folder {as_utf8(str(images.path))}"
    raise InputError(
        f"{what} has {counted(images.num_classes, 'class')}, but the model tells {network.num_classes} apart"
        f"{_hint(images)}"
    )


def _hint(images: ImageFolder | ImageData) -> str:
    """What to give instead of a folder that holds the folders of images."""
    if isinstance(images, ImageFolder) and "val" in images.classes:
        return f"; for the validation images below it, give {as_utf8(str(images.path / 'val'))}"
    return ""


def _check_channels(network: Network | None, images: ImageFolder | ImageData, preset: Preset) -> None:
    """Raise unless images are prepared with the channels that they have, and that a network takes."""
    given = len(preset.mean)
    if isinstance(images, ImageFolder) and given not in (1, 3):
        raise InputError(f"images of a folder have 3 channels or 1, but mean and std have {given}")
    if isinstance(images, ImageData) and given != images.shape[0]:
        raise InputError(f"{images.name} has {images.shape[0]} channels, but mean and std have {given}")
    if network is not None and network.in_channels != given:
        raise InputError(f"the model takes {network.in_channels} channels, but images are prepared with {given}")


def _batches(images: ImageFolder | ImageData, preset: Preset, size: int, workers: int | None) -> Generator[Batch]:
    """The images as bytes, from a folder or from memory."""
    if isinstance(images, ImageFolder):
        yield from batches(images, preset, size, workers)
        return
    for start in range(0, len(images.test_images), size):
        part = slice(start, start + size)
        yield Batch(torch.tensor(images.test_images[part]), torch.tensor(images.test_labels[part]), [])


def _ranks(logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many classes are likelier than the right one: (N, classes), (N,) -> (N,)."""
    if logits.shape != (len(labels), classes):
        raise InputError(f"the model gives {tuple(logits.shape)} for {len(labels)} images of {classes} classes")
    if logits.isnan().any():
        raise RunError("the model gives NaN: its weights are damaged, or its numbers grow too large for float32")
    own = logits.gather(1, labels[:, None])  # (N, 1)
    lower = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]  # (N, classes)
    return ((logits > own) | ((logits == own) & lower)).sum(1)


@contextmanager
def _clear_errors(batch_size: int) -> Iterator[None]:
    """Say what a person can do about memory that ran out, and about a process that was killed."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        first_line = str(error).split("\n")[0]
        if is_out_of_memory(error):
            raise RunError(f"out of memory with batches of {batch_size} images; give a smaller batch_size") from error
        if "DataLoader worker" in first_line:  # raised wherever we are, for torch learns of it by a signal
            raise RunError(f"a process that reads images died ({first_line}); try fewer workers") from error
        raise
