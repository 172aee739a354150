"""What a person at the terminal sees of one network's training."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from designspace.cli import WAITING
from designspace.cli.data_words import SMALL
from designspace.cli.tables import Count, counting, print_table
from designspace.data.images import ImageData
from designspace.library.one_network import images_per_epoch, steps_per_epoch, trained_images
from designspace.networks.blocks import STEM_STRIDES
from designspace.networks.complexity import complexity
from designspace.networks.network import Network
from designspace.support.text import counted, duration, quantity
from designspace.training.loop import OnEpoch
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, Trial


def print_summary(name: str, trial: Trial, images: ImageData, recipe_name: str, device: object, out: object) -> None:
    """Print what is about to be trained, on what, and how."""
    network, recipe = trial.network, trial.recipe
    channels, height, width = images.shape
    side = recipe.crop_size or height
    flops, params, activations = (quantity(int(value)) for value in complexity(network, side))
    trained = trained_images(recipe, images)
    heldout = f", {recipe.heldout_images:,} held-out" if recipe.heldout_images else ""
    kinds = f"{trained:,} training{heldout} and {recipe.test_images or len(images.test_images):,} test images"
    rows = [
        ("network", f"{network.id}, {network.stem.kind} stem; it begins with {trial.weights}"),
        (
            "complexity",
            f"{flops} multiply-adds, {params} parameters, {activations} activations at {side} x {side} pixels",
        ),
        ("data", f"{images.name}: {kinds} of {channels} x {height} x {width}, {counted(images.num_classes, 'class')}"),
        (
            "recipe",
            f"{recipe_name}: {counted(recipe.epochs, 'epoch')} of {counted(steps_per_epoch(recipe, images), 'step')}",
        ),
        ("learning rate", f"{recipe.lr:g} at its highest, for batches of {_batch(recipe)}"),
        ("device", f"{recipe.devices} x {device}" if recipe.devices > 1 else device),
        *_waiting(recipe, device),
        ("folder", out),
    ]
    print_table("", ("model", name), rows, texts=(0, 1))


def _waiting(recipe: Recipe, device: object) -> list[tuple[str, object]]:
    """What to say of several threads on a CPU: how they wait for each other."""
    if recipe.devices > 1 or str(device) != "cpu" or torch.get_num_threads() == 1:
        return []
    set_to = ", ".join(f"{name}={os.environ[name]}" for name in (*WAITING, "KMP_BLOCKTIME") if name in os.environ)
    return [("threads", f"{torch.get_num_threads()}; how they wait for each other: {set_to}")]


def lr_note(recipe: Recipe, usual_batch: int, recipe_name: str, *, lr_typed: bool) -> str | None:
    """What to bear in mind where the batch is not the recipe's and the learning rate is; None where it is."""
    if lr_typed or recipe.batch_size == usual_batch:
        return None
    scaled = recipe.lr * recipe.batch_size / usual_batch
    return (
        f"note: the learning rate stays {recipe.lr:g}, which {recipe_name} has for batches of {usual_batch:,}; in "
        f"proportion to the batch (arXiv 1706.02677, section 2.1) it would be recipe.lr={scaled:g}"
    )


def stem_note(network: Network, side: int, *, is_typed: bool) -> str | None:
    """What to bear in mind where a network for large images gets small ones; None where it does not.

    Args:
        network: what is trained.
        side: of its images, in pixels.
        is_typed: whether the stem was chosen.
    """
    stride = STEM_STRIDES[network.stem.kind] * math.prod(stage.stride for stage in network.stages)
    last = -(-side // stride)
    if is_typed or network.stem.kind == "cifar" or side > SMALL:
        return None
    return (
        f"note: at {side} x {side} pixels the {network.stem.kind} stem and the stages leave maps of {last} x {last} "
        "pixels; stem=cifar, of stride 1, suits small images better"
    )


class TrainingProgress:
    """How far a training is: told of every step and epoch, it says so."""

    def __init__(self, recipe: Recipe, images: ImageData, count: Count | None) -> None:
        self._recipe = recipe
        self._count = count
        self._steps = steps_per_epoch(recipe, images)
        self._images = images_per_epoch(recipe, images)
        self._record: EpochRecord | None = None
        self._epochs = 0
        self._begun = 0
        """Steps of the epoch that have begun."""
        self._start: tuple[float, int] | None = None
        """When this process began its first step, and how many were done before."""

    def on_step(self) -> None:
        """Take in that a step begins."""
        self._begun += 1
        if self._start is None:
            self._start = (time.monotonic(), self._done)
        elif self._count is not None:
            self._count(self._done, self._words())

    def on_epoch(self, history: tuple[EpochRecord, ...]) -> None:
        """Take in the epochs so far, perhaps of a former process."""
        self._record, self._epochs, self._begun = history[-1], len(history), 0
        if self._count is not None:
            self._count(self._done, self._words())
        else:
            sys.stderr.write(f"{history[-1].describe(self._recipe.epochs)}{self._speed()}\n")
            sys.stderr.flush()

    @property
    def _done(self) -> int:
        """Steps that are done, of all epochs."""
        return self._epochs * self._steps + min(max(0, self._begun - 1), self._steps)

    def _words(self) -> str:
        """Where it stands, in a line beside a bar."""
        if self._record is None:
            return f"epoch 1/{self._recipe.epochs}{self._speed()}"
        heldout = self._record.heldout_error
        error = f"error {self._record.test_error:.1f}%" if heldout is None else f"held-out error {heldout:.1f}%"
        epoch = f"epoch {min(self._epochs + 1, self._recipe.epochs)}/{self._recipe.epochs}"
        return f"{epoch}, loss {self._record.train_loss:.2f}, {error}{self._speed()}"

    def _speed(self) -> str:
        """Images a second since this process began, evaluation included, and the time that is left at that speed."""
        if self._start is None:
            return ""
        began, before = self._start
        speed = (self._done - before) / max(time.monotonic() - began, 1e-9)
        left = self._recipe.epochs * self._steps - self._done
        left_s = left / speed if speed else None
        return f", {speed * self._images / self._steps:.0f} images/s" + (
            f", time left {duration(left_s)}" if left else ""
        )


@contextmanager
def training_progress(
    recipe: Recipe, images: ImageData, *, silent: bool
) -> Iterator[tuple[Callable[[], None] | None, OnEpoch | None]]:
    """Show how far a training is while the block runs: on a terminal a bar of steps, elsewhere a line an epoch.

    The block gets what to call before each step and after each epoch; ``silent``, for all but one of many processes,
    gives nothing.
    """
    if silent:
        yield None, None
    elif sys.stderr.isatty():
        with counting("steps") as start:
            progress = TrainingProgress(recipe, images, start(recipe.epochs * steps_per_epoch(recipe, images)))
            yield progress.on_step, progress.on_epoch
    else:
        progress = TrainingProgress(recipe, images, None)
        yield progress.on_step, progress.on_epoch


def _batch(recipe: Recipe) -> str:
    """A batch, and how it is shared."""
    parts = recipe.devices * recipe.accumulate
    if parts == 1:
        return counted(recipe.batch_size, "image")
    turns = f", {recipe.accumulate} times one after the other" if recipe.accumulate > 1 else ""
    devices = f" on each of {recipe.devices} devices" if recipe.devices > 1 else ""
    return f"{recipe.batch_size:,} images: {recipe.batch_size // parts:,}{devices}{turns}"
