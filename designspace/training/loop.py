"""Training one network: epochs of steps, each followed by a measurement on the test images.

Nothing here depends on global random state. The random numbers of an epoch follow from the seed, the network and the
number of the epoch, so a trial gives the same numbers alone, beside others, or resumed (bit for bit on a CPU).
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from designspace.data.images import ImageData
from designspace.data.recipe_fit import check_labels_stay_in_place
from designspace.models import AnyNet, cpu
from designspace.models.drop import set_generator
from designspace.networks.network import Network
from designspace.support.errors import InputError
from designspace.training import checkpoint as checkpoints
from designspace.training.capture import CapturedStep, capture_step
from designspace.training.device_data import DeviceData, on_device
from designspace.training.evaluation import evaluate, heldout_error
from designspace.training.failures import Diverged, Interrupted
from designspace.training.feed import Feed
from designspace.training.frozen import frozen_parts
from designspace.training.memory import PeakMemory
from designspace.training.optimiser import learning_rate
from designspace.training.scoring import Scoring, scoring_of
from designspace.training.shard import ALONE, Shard
from designspace.training.state import Layout, State
from designspace.training.step import Step
from designspace.training.sync_norm import shared_norms
from designspace.trials.metric import DEFAULT_METRIC, check_built_in
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, TrialResult

OnEpoch = Callable[[tuple[EpochRecord, ...]], None]
ShouldStop = Callable[[], bool]


def train(
    network: Network,
    recipe: Recipe,
    data: ImageData | DeviceData,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
) -> TrialResult:
    """Train a network from its initial weights and return the result, without the weights.

    Args:
        network: the network to train. Its initial weights follow from ``seed`` and the network.
        recipe: the recipe. Its images are taken from ``data`` (for many trials, upload them once as `DeviceData`).
        data: the data set that the recipe names.
        seed: determines all random numbers, together with the network.
        device: the device to train on; by default that of ``data``, or the CPU.
        checkpoint: a file to write after each epoch, and to resume from if it exists. If it is damaged, this is logged
            and the trial starts afresh.
        on_epoch: called after each epoch with the history so far, and once with the history from a checkpoint.
        should_stop: called before every step.

    Raises:
        InputError: the data do not fit the network or the recipe, the recipe has several devices (see
            `train_on_devices`), or the checkpoint is of another trial.
        Diverged: the training loss of an epoch is not finite.
        Interrupted: ``should_stop`` returned true; the epochs before are in the checkpoint.
        RunError: the checkpoint cannot be read or written.
    """
    return train_model(
        initial_model(network, recipe, seed),
        recipe,
        data,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        should_stop=should_stop,
    )


def initial_model(network: Network, recipe: Recipe, seed: int) -> AnyNet:
    """Build the module of a network with the initial weights of a training."""
    weights = _derived_seed(seed, network.id, 0)
    return AnyNet(
        network,
        seed=weights,
        zero_init_residual=recipe.zero_init_residual,
        dropout=recipe.dropout,
        drop_path=recipe.drop_path,
        drop_block=recipe.drop_block,
    )


def train_model(
    model: nn.Module,
    recipe: Recipe,
    data: ImageData | DeviceData,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
) -> TrialResult:
    """Train a module in place, starting from its weights: (N, C, H, W) -> logits (N, num_classes).

    For a class per pixel, the logits are (N, num_classes, h, w), and are resized to the labels.

    Afterwards it is on the device, channels last, in evaluation mode. Arguments and errors are those of `train`. A
    module that is not an `AnyNet` is identified by its class name only, so use different checkpoint files for
    different modules.
    """
    if recipe.devices > 1:
        raise InputError(f"the recipe trains on {recipe.devices} devices; use train_on_devices for that")
    images = on_device(data, recipe, device)
    return train_part(
        model, recipe, images, ALONE, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch, should_stop=should_stop
    )


def train_part(
    model: nn.Module,
    recipe: Recipe,
    images: DeviceData,
    shard: Shard,
    *,
    seed: int,
    checkpoint: Path | None,
    on_epoch: OnEpoch | None,
    should_stop: ShouldStop | None,
) -> TrialResult:
    """Do one device's part of `train_model`, on the device of ``images``.

    All devices of a training call this in the same way, and get the same result except for times. All resume from the
    checkpoint; only rank 0 writes it. Errors are those of `train`.
    """
    recipe.check_device(images.device.type)
    check_built_in(recipe.loss, recipe.metric, images.target, images.num_classes, images.name)
    if images.target == "dense":
        check_labels_stay_in_place(recipe, images.name)
    if isinstance(model, AnyNet):
        _check_fit(model.network, images)
    name = model.network.id if isinstance(model, AnyNet) else type(model).__name__
    memory = PeakMemory(images.device)
    model.to(device=images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with contextlib.ExitStack() as stack:
        if recipe.sync_norm and shard.world > 1:
            stack.enter_context(shared_norms(model))
        frozen = stack.enter_context(frozen_parts(model, recipe))
        if images.device.type == "cpu":
            cpu.keep_freed_memory()
            stack.enter_context(cpu.fused(model))
        scoring = scoring_of(recipe, images)
        training = _Training(State(model, recipe), recipe, images, shard, name, seed, frozen, scoring)
        try:
            before, history = training.run(checkpoint, on_epoch, should_stop)
        finally:
            training.release()
    model.eval()
    peak_bytes = memory.bytes() if len(history) > before else None
    return TrialResult.of_history(history, _device_name(images.device, shard.world), peak_bytes, scoring.metric)


class _Training:
    """One device's part of a training, with the state that persists between epochs."""

    def __init__(
        self,
        state: State,
        recipe: Recipe,
        data: DeviceData,
        shard: Shard,
        name: str,
        seed: int,
        frozen: Sequence[nn.Module],
        scoring: Scoring,
    ) -> None:
        self._state, self._recipe, self._data, self._shard = state, recipe, data, shard
        self._name, self._seed, self._frozen, self._scoring = name, seed, frozen, scoring
        self._feed = Feed(data, recipe, shard)
        self._drop_generator = torch.Generator(data.device)
        """Generator for dropout, drop-path and drop-block."""
        set_generator(state.model, self._drop_generator)
        self._captured: CapturedStep | None = None
        self._capture_s = 0.0

    def run(
        self, checkpoint: Path | None, on_epoch: OnEpoch | None, should_stop: ShouldStop | None
    ) -> tuple[int, tuple[EpochRecord, ...]]:
        """Train to the last epoch. Return the number of epochs restored from a checkpoint, and the whole history."""
        fingerprint = checkpoints.fingerprint_of(self._name, self._recipe, self._seed)
        history: tuple[EpochRecord, ...] = ()
        if checkpoint and (saved := checkpoints.read(checkpoint, fingerprint)):
            self._state.load_state_dict(saved[0])
            history = saved[1]
        if history and on_epoch:
            on_epoch(history)
        restored = len(history)
        # Only after the weights are restored, because all devices start with those of the first one.
        self._step = Step(self._state, self._shard.parallel(self._state.model), self._recipe, self._frozen)
        if restored < self._recipe.epochs:
            self._capture(self._recipe.epochs - restored)
        for number in range(restored + 1, self._recipe.epochs + 1):
            history = (*history, self._epoch(number, should_stop))
            if checkpoint and self._shard.rank == 0:
                checkpoints.save(checkpoint, self._state.state_dict(), history, fingerprint)
            if on_epoch:
                on_epoch(history)
        self._state.lay_out(Layout())
        if self._state.average is not None:
            self._state.average.copy_to_module()
        return restored, history

    def _capture(self, epochs: int) -> None:
        """Capture the step for a number of epochs, if the device allows it."""
        if self._data.device.type == "cuda" and self._shard.world == 1:
            start = time.perf_counter()
            batch = self._feed.example()
            self._captured = capture_step(self._step, *batch, epochs * self._feed.steps, [self._drop_generator])
            self._capture_s = time.perf_counter() - start

    def _epoch(self, number: int, should_stop: ShouldStop | None) -> EpochRecord:
        """Train for one epoch, and measure the errors."""
        start = time.perf_counter() - self._capture_s  # counted in the first epoch's time
        self._capture_s = 0.0
        rate = self._train(number, should_stop)
        # This synchronises with a GPU, once per epoch.
        loss = float(self._shard.total(self._step.loss)) / self._shard.world / self._feed.steps
        if not math.isfinite(loss):
            raise Diverged(f"the training loss of epoch {number} is {loss}")
        wrong = int(self._shard.total(self._step.wrong))
        average = self._state.average
        with average.swapped() if average is not None else contextlib.nullcontext():
            test = evaluate(self._state.model, self._data, self._shard, self._feed.augmentation.test, self._scoring)
            heldout = heldout_error(self._state.model, self._data, self._feed, self._shard, self._scoring)
        return EpochRecord(
            epoch=number,
            lr=rate,
            train_loss=loss,
            train_error=100 * wrong / self._feed.images if self._recipe.metric == DEFAULT_METRIC else None,
            test_error=test,
            wall_s=round(time.perf_counter() - start, 4),
            heldout_error=heldout,
        )

    def _train(self, number: int, should_stop: ShouldStop | None) -> float:
        """Run the steps of an epoch, and return the learning rate of the last one."""
        steps = self._feed.steps
        generator = torch.Generator().manual_seed(_derived_seed(self._seed, self._name, number))
        # Each device drops different values; the first one draws the same values as a single device.
        of_device = f"/{self._shard.rank}" if self._shard.rank else ""
        self._drop_generator.manual_seed(_derived_seed(self._seed, f"{self._name}/drop{of_device}", number))
        self._step.begin()
        run = self._captured or self._step
        rate = self._recipe.lr
        with contextlib.closing(self._feed.epoch(generator)) as batches:
            for step in range(steps):
                if should_stop is not None and should_stop():
                    raise Interrupted(f"in epoch {number}, before step {step + 1} of {steps}")
                rate = learning_rate(self._recipe, (number - 1) * steps + step, steps)
                self._state.set_learning_rate(rate)
                run(*next(batches))
        return rate

    def release(self) -> None:
        """Remove what the training added to the module and the device."""
        set_generator(self._state.model, None)
        if self._captured is not None:
            self._captured.release()
            self._captured = None
            torch.cuda.empty_cache()


def _check_fit(network: Network, data: DeviceData) -> None:
    """Raise `InputError` unless the network takes the images' channels and has an output for every class."""
    channels = data.train_images.shape[1]
    if (network.in_channels, network.num_classes) != (channels, data.num_classes):
        raise InputError(
            f"{data.name} has {channels} channels and {data.num_classes} classes, but network {network.id} takes "
            f"{network.in_channels} channels and has {network.num_classes} classes"
        )


def _derived_seed(seed: int, name: str, epoch: int) -> int:
    """Derive the seed for one epoch of one network; epoch 0 stands for the initial weights."""
    digest = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def _device_name(device: torch.device, count: int) -> str:
    """Return the device name for a results table: ``cpu`` or the product's name, preceded by the count if not 1."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return name if count == 1 else f"{count} x {name}"
