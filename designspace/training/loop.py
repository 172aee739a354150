"""Training one network: epochs of steps, each followed by its test error.

Nothing here depends on global random state. What is random in an epoch follows from the seed, the network and the
number of the epoch, so a trial gives the same numbers alone, beside others, or resumed (to the bit on a CPU).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.data.images import ImageData
from designspace.models import AnyNet
from designspace.networks.network import Network
from designspace.support.errors import InputError
from designspace.training import checkpoint as checkpoints
from designspace.training.device_data import DeviceData, on_device
from designspace.training.failures import Diverged, Interrupted
from designspace.training.memory import PeakMemory
from designspace.training.optimiser import learning_rate, make_optimiser
from designspace.training.shard import ALONE, Shard
from designspace.trials.trial import EpochRecord, Recipe, TrialResult

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
    """Train a network from its first weights, and give what came of it; the weights themselves are let go.

    Args:
        network: what to train. Its first weights follow from ``seed`` and the network.
        recipe: how. Its images are taken from ``data`` (see `DeviceData`: upload once for many trials).
        data: the data set that the recipe names.
        seed: decides everything random, together with the network.
        device: where to train; by default where ``data`` is, or the CPU.
        checkpoint: a file to write after each epoch, and to go on from where it exists. A damaged one is logged and
            the trial starts afresh.
        on_epoch: called with the history so far after each epoch, and once with what a checkpoint restored.
        should_stop: asked before every step.

    Raises:
        InputError: the data do not fit the network or the recipe, the recipe asks for several devices (see
            `train_on_devices`), or the checkpoint is of another trial.
        Diverged: the training loss of an epoch is not finite.
        Interrupted: ``should_stop`` said yes; the epochs before are in the checkpoint.
        RunError: the checkpoint cannot be read or written.
    """
    return train_model(
        first_model(network, recipe, seed),
        recipe,
        data,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        should_stop=should_stop,
    )


def first_model(network: Network, recipe: Recipe, seed: int) -> AnyNet:
    """Build the module of a network with the first weights of a training."""
    weights = _derived_seed(seed, network.id, 0)
    return AnyNet(network, seed=weights, zero_init_residual=recipe.zero_init_residual)


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
    """Train a module in place, from the weights that it has: (N, C, H, W) -> logits (N, num_classes).

    It ends on the device, channels last, in evaluation mode. Arguments and errors are those of `train`. A module that
    is no `AnyNet` is known by the name of its class: give checkpoints of different ones different files.
    """
    if recipe.devices > 1:
        raise InputError(f"the recipe trains on {recipe.devices} devices: that is what train_on_devices does")
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

    All devices of a training call this alike, and get the same result up to the times in it. All go on from the
    checkpoint; rank 0 alone writes it. Errors are those of `train`.
    """
    if isinstance(model, AnyNet):
        _check_fit(model.network, images)
    name = model.network.id if isinstance(model, AnyNet) else type(model).__name__
    memory = PeakMemory(images.device)
    model.to(device=images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(model, recipe)
    question = checkpoints.question_of(name, recipe, seed)
    history = checkpoints.restore(checkpoint, model, optimiser, question) if checkpoint else ()
    if history and on_epoch:
        on_epoch(history)
    restored = len(history)
    parallel = shard.parallel(model)
    for epoch in range(restored + 1, recipe.epochs + 1):
        generator = torch.Generator(images.device).manual_seed(_derived_seed(seed, name, epoch))
        record = _epoch(model, parallel, optimiser, recipe, images, shard, epoch, generator, should_stop)
        history = (*history, record)
        if checkpoint and shard.rank == 0:
            checkpoints.save(checkpoint, model, optimiser, history, question)
        if on_epoch:
            on_epoch(history)
    model.eval()
    needed = memory.bytes() if len(history) > restored else None
    return TrialResult.of_history(history, _device_name(images.device, shard.world), needed)


def evaluate(model: nn.Module, data: DeviceData, shard: Shard = ALONE) -> float:
    """Give the top-1 error on the test images, in per cent. The module is in evaluation mode afterwards.

    Of several devices each takes a part of the images, with the batch-norm statistics of rank 0.
    """
    model.eval()
    shard.share_buffers(model)
    # On a CPU the maps of larger batches no longer fit its caches (measured: half as fast with 1000 as with 250).
    batch = 250 if data.device.type == "cpu" else 1000
    wrong = torch.zeros((), dtype=torch.int64, device=data.device)
    count = len(data.test_images)
    part = shard.part(count)
    with torch.inference_mode():
        for start in range(part.start, part.stop, batch):
            images, labels = data.test_batch(start, min(batch, part.stop - start))
            wrong += _wrong(model(images), labels)
    return 100 * int(shard.total(wrong)) / count


def _epoch(
    model: nn.Module,
    parallel: nn.Module,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    data: DeviceData,
    shard: Shard,
    epoch: int,
    generator: torch.Generator,
    should_stop: ShouldStop | None,
) -> EpochRecord:
    """Train for one epoch, through the wrapper that ``parallel`` is, and measure the test error."""
    start = time.perf_counter()
    sums = _train_epoch(parallel, optimiser, recipe, data, shard, epoch, generator, should_stop)
    train_loss = float(sums.loss) / sums.steps
    if not math.isfinite(train_loss):
        raise Diverged(f"the training loss of epoch {epoch} is {train_loss}")
    return EpochRecord(
        epoch=epoch,
        lr=sums.lr,
        train_loss=train_loss,
        train_error=100 * int(sums.wrong) / sums.images,
        test_error=evaluate(model, data, shard),
        wall_s=round(time.perf_counter() - start, 4),
    )


class _EpochSums(NamedTuple):
    """Sums over an epoch's steps and all devices, kept on the device: reading them in every step would make us wait."""

    loss: Tensor
    """Sum of the batches' mean losses. float64, shape ()."""
    wrong: Tensor
    """Images whose class was not the likeliest one. int64, shape ()."""
    steps: int
    images: int
    lr: float
    """Learning rate of the last step."""


def _train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    data: DeviceData,
    shard: Shard,
    epoch: int,
    generator: torch.Generator,
    should_stop: ShouldStop | None,
) -> _EpochSums:
    """Take the steps of one epoch; images that do not fill a batch wait for another epoch's order."""
    model.train()
    count = len(data.train_images)
    batch = min(recipe.batch_size, count)
    steps = count // batch
    order = torch.randperm(count, generator=generator, device=data.device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=data.device)
    wrong = torch.zeros((), dtype=torch.int64, device=data.device)
    lr = recipe.lr
    for step in range(steps):
        if should_stop is not None and should_stop():
            raise Interrupted(f"in epoch {epoch}, before step {step + 1} of {steps}")
        lr = learning_rate(recipe, (epoch - 1) * steps + step, steps)
        for group in optimiser.param_groups:
            group["lr"] = lr
        indices = order[step * batch : (step + 1) * batch]
        images, labels = data.train_batch(indices, recipe, generator, shard.part(batch))
        logits = model(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss_sum += loss.detach()
        wrong += _wrong(logits.detach(), labels)
    return _EpochSums(shard.total(loss_sum) / shard.world, shard.total(wrong), steps, steps * batch, lr)


def _wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Count the images whose likeliest class is not theirs: (N, num_classes), (N,) -> ()."""
    return (logits.argmax(1) != labels).sum()


def _check_fit(network: Network, data: DeviceData) -> None:
    """Raise unless the network takes the images' channels and has an output for every class."""
    channels = data.train_images.shape[1]
    if (network.in_channels, network.num_classes) != (channels, data.num_classes):
        raise InputError(
            f"{data.name} has {channels} channels and {data.num_classes} classes, but network {network.id} takes "
            f"{network.in_channels} channels and tells {network.num_classes} classes apart"
        )


def _derived_seed(seed: int, name: str, epoch: int) -> int:
    """Mix a seed for one epoch of one network; epoch 0 is that of the first weights."""
    digest = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits without a sign


def _device_name(device: torch.device, count: int) -> str:
    """What a results table calls so many devices: ``cpu`` or the product's name, after the number if it is not 1."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return name if count == 1 else f"{count} x {name}"
