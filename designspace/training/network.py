"""The library's function `designspace.train_network`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

import torch

from designspace.data.images import ImageData
from designspace.models import AnyNet
from designspace.networks.network import Network
from designspace.support.checks import whole
from designspace.support.notebook import NotebookBar, in_notebook
from designspace.training.device_data import DeviceData, on_device
from designspace.training.loop import OnEpoch, ShouldStop, initial_model, train_model
from designspace.training.scoring import scoring_of
from designspace.trials.metric import TOP1_ERROR
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, TrialResult


@overload
def train_network(
    network: Network,
    recipe: Recipe,
    data: ImageData | DeviceData,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    progress: bool | None = None,
    return_model: Literal[False] = False,
) -> TrialResult: ...


@overload
def train_network(
    network: Network,
    recipe: Recipe,
    data: ImageData | DeviceData,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    progress: bool | None = None,
    return_model: Literal[True],
) -> tuple[TrialResult, AnyNet]: ...


def train_network(
    network: Network,
    recipe: Recipe,
    data: ImageData | DeviceData,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    progress: bool | None = None,
    return_model: bool = False,
) -> TrialResult | tuple[TrialResult, AnyNet]:
    """Train a network from its initial weights, and return the result.

    The numbers are those that a trial of the same network, recipe and seed has in a run.

    Args:
        network: the network to train, such as ``population[0]``.
        recipe: the training recipe.
        data: the data set that the recipe names, as returned by `designspace.load_data`.
        seed: determines all random numbers, together with the network.
        device: the device to train on; by default that of ``data``, or the CPU.
        checkpoint: a file to write after each epoch, and to resume from if it exists.
        on_epoch: called after each epoch with the history so far.
        should_stop: called before every step; if it returns true, `Interrupted` is raised.
        progress: whether to show progress, as a bar in a notebook or as a line per epoch elsewhere. None for a bar in
            a notebook and nothing elsewhere.
        return_model: return ``(result, model)``: the trained `AnyNet` too, in evaluation mode on the device.

    Raises:
        InputError: the data do not fit the network or the recipe, or the checkpoint is of another training.
        Diverged: the training loss of an epoch is not finite.
        RunError: the checkpoint cannot be read or written.
    """
    seed = whole("seed", seed, 0)
    data = on_device(data, recipe, device) if recipe.devices == 1 else data
    metric = scoring_of(recipe, data).metric if isinstance(data, DeviceData) else TOP1_ERROR
    bar = NotebookBar("epochs", recipe.epochs) if in_notebook() and progress is not False else None

    def after_epoch(history: tuple[EpochRecord, ...]) -> None:
        if bar is not None:
            bar.update(len(history), history[-1].describe(recipe.epochs, metric).partition(": ")[2])
        elif progress:
            print(history[-1].describe(recipe.epochs, metric), flush=True)
        if on_epoch is not None:
            on_epoch(history)

    model = initial_model(network, recipe, seed)
    result = train_model(
        model,
        recipe,
        data,
        seed=seed,
        device=device,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        on_epoch=after_epoch,
        should_stop=should_stop,
    )
    return (result, model) if return_model else result
