"""Summary, notes and progress of training one network, for the terminal."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from designspace.cli import WAITING
from designspace.cli.data_option import SMALL_SIDE
from designspace.cli.tables import ProgressUpdate, counting, print_table
from designspace.data.images import ImageData
from designspace.library.one_network import images_per_epoch, steps_per_epoch, trained_images
from designspace.networks import stems
from designspace.networks.complexity import complexity
from designspace.networks.network import Network
from designspace.support.text import counted, duration, prefixed
from designspace.training.loop import OnEpoch
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.recipe import Recipe
from designspace.trials.trial import FIRST_WEIGHTS, EpochRecord, Trial


def print_summary(name: str, trial: Trial, images: ImageData, recipe_name: str, device: object, out: object) -> None:
    """Print the network, images, recipe and device before training starts."""
    network, recipe = trial.network, trial.recipe
    channels, height, width = images.shape
    side = recipe.crop_size or height
    flops, params, activations = (prefixed(int(value)) for value in complexity(network, side))
    trained = trained_images(recipe, images)
    heldout = f", {recipe.heldout_images:,} held-out" if recipe.heldout_images else ""
    initial_weights = "random" if trial.weights == FIRST_WEIGHTS else trial.weights
    image_counts = f"{trained:,} training{heldout} and {recipe.test_images or len(images.test_images):,} test images"
    rows = [
        ("network", f"{network.id}, {network.stem.kind} stem; initial weights: {initial_weights}"),
        (
            "complexity",
            f"{flops} multiply-adds, {params} parameters, {activations} activations at {side} x {side} pixels",
        ),
        (
            "data",
            f"{images.name}: {image_counts} of {channels} x {height} x {width}, {counted(images.num_classes, 'class')}",
        ),
        (
            "recipe",
            f"{recipe_name}: {counted(recipe.epochs, 'epoch')} of {counted(steps_per_epoch(recipe, images), 'step')}",
        ),
        ("learning rate", f"{recipe.lr:g} at its peak, for batches of {_batch(recipe)}"),
        ("device", f"{recipe.devices} x {device}" if recipe.devices > 1 else device),
        *_thread_row(recipe, device),
        ("folder", out),
    ]
    print_table("", ("model", name), rows, texts=(0, 1))


def _thread_row(recipe: Recipe, device: object) -> list[tuple[str, object]]:
    """Return a row on how the threads wait for each other, if several are used on a CPU."""
    if recipe.devices > 1 or str(device) != "cpu" or torch.get_num_threads() == 1:
        return []
    set_to = ", ".join(f"{name}={os.environ[name]}" for name in (*WAITING, "KMP_BLOCKTIME") if name in os.environ)
    return [("threads", f"{torch.get_num_threads()}; how they wait for each other: {set_to}")]


def lr_note(recipe: Recipe, default_batch: int, recipe_name: str, *, is_lr_given: bool) -> str | None:
    """Return a note if the batch size was changed but not the learning rate, else None."""
    if is_lr_given or recipe.batch_size == default_batch:
        return None
    scaled = recipe.lr * recipe.batch_size / default_batch
    return (
        f"note: the learning rate stays {recipe.lr:g}, which {recipe_name} uses for batches of {default_batch:,}; "
        f"scaled with the batch size (arXiv 1706.02677, section 2.1) it would be recipe.lr={scaled:g}"
    )


def stem_note(network: Network, side: int, *, is_given: bool) -> str | None:
    """Return a note if a network for large images gets small ones, else None.

    Args:
        network: the network to train.
        side: side of its images in pixels.
        is_given: whether the stem was given on the command line.
    """
    stride = stems.get(network.stem.kind).stride * math.prod(stage.stride for stage in network.stages)
    last = -(-side // stride)
    if is_given or network.stem.kind == "cifar" or side > SMALL_SIDE:
        return None
    return (
        f"note: at {side} x {side} pixels the {network.stem.kind} stem and the stages leave maps of {last} x {last} "
        "pixels; stem=cifar, of stride 1, is better suited to small images"
    )


class TrainingProgress:
    """Progress of a training, updated after every step and epoch and shown as a bar or as lines."""

    def __init__(
        self, recipe: Recipe, images: ImageData, update: ProgressUpdate | None, metric: Metric = TOP1_ERROR
    ) -> None:
        self._recipe, self._metric = recipe, metric
        self._update = update
        self._steps = steps_per_epoch(recipe, images)
        self._images = images_per_epoch(recipe, images)
        self._record: EpochRecord | None = None
        self._epochs = 0
        self._started = 0
        """Number of steps of this epoch that have started."""
        self._start: tuple[float, int] | None = None
        """Time at which this process started its first step, and number of steps done before."""

    def on_step(self) -> None:
        """Record the start of a step."""
        self._started += 1
        if self._start is None:
            self._start = (time.monotonic(), self._done)
        elif self._update is not None:
            self._update(self._done, self._status())

    def on_epoch(self, history: tuple[EpochRecord, ...]) -> None:
        """Record the epochs so far, which may include those of an earlier process."""
        self._record, self._epochs, self._started = history[-1], len(history), 0
        if self._update is not None:
            self._update(self._done, self._status())
        else:
            sys.stderr.write(f"{history[-1].describe(self._recipe.epochs, self._metric)}{self._speed()}\n")
            sys.stderr.flush()

    @property
    def _done(self) -> int:
        """Number of finished steps in all epochs."""
        return self._epochs * self._steps + min(max(0, self._started - 1), self._steps)

    def _status(self) -> str:
        """Return the status text beside the bar."""
        if self._record is None:
            return f"epoch 1/{self._recipe.epochs}{self._speed()}"
        metric, heldout = self._metric, self._record.heldout_error
        score = self._record.test_error if heldout is None else heldout
        error = f"{'' if heldout is None else 'held-out '}{metric.name} {metric.text(score, metric.digits - 1)}"
        epoch = f"epoch {min(self._epochs + 1, self._recipe.epochs)}/{self._recipe.epochs}"
        return f"{epoch}, loss {self._record.train_loss:.2f}, {error}{self._speed()}"

    def _speed(self) -> str:
        """Return the images per second of this process, including evaluation, and the time left at this speed."""
        if self._start is None:
            return ""
        began, done_before = self._start
        speed = (self._done - done_before) / max(time.monotonic() - began, 1e-9)
        left = self._recipe.epochs * self._steps - self._done
        left_s = left / speed if speed else None
        return f", {speed * self._images / self._steps:.0f} images/s" + (
            f", time left {duration(left_s)}" if left else ""
        )


@contextmanager
def training_progress(
    recipe: Recipe, images: ImageData, metric: Metric, *, silent: bool
) -> Iterator[tuple[Callable[[], None] | None, OnEpoch | None]]:
    """Show the progress of a training while the block runs: a bar on a terminal, otherwise one line per epoch.

    The block gets two functions, to be called before each step and after each epoch. With ``silent``, for all but one
    of many processes, they are None.
    """
    if silent:
        yield None, None
    elif sys.stderr.isatty():
        with counting("steps") as start:
            bar = start(recipe.epochs * steps_per_epoch(recipe, images))
            progress = TrainingProgress(recipe, images, bar, metric)
            yield progress.on_step, progress.on_epoch
    else:
        progress = TrainingProgress(recipe, images, None, metric)
        yield progress.on_step, progress.on_epoch


def _batch(recipe: Recipe) -> str:
    """Return the batch size as text, with its parts per device and accumulation step."""
    parts = recipe.devices * recipe.accumulate
    if parts == 1:
        return counted(recipe.batch_size, "image")
    repeats = f", accumulated {recipe.accumulate} times" if recipe.accumulate > 1 else ""
    devices = f" on each of {recipe.devices} devices" if recipe.devices > 1 else ""
    return f"{recipe.batch_size:,} images: {recipe.batch_size // parts:,}{devices}{repeats}"
