"""What must hold before a training fixes anything: recipe, networks and images fit, and workers can train here.

Everything that would make all trials of a launch fail is looked for here, before the run's recipe is written, so that a
launch that fails leaves the choice of the recipe open. A dry run is this check.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from designspace import data
from designspace.data.recipe_fit import check_augmentation
from designspace.networks.layers import NetworkColumns, network_parts
from designspace.spaces.population import Population
from designspace.support.errors import InputError, RunError
from designspace.sweeps import snapshot
from designspace.sweeps.estimate import Costs, trial_seconds
from designspace.sweeps.launch import Launcher, check_fit
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe
from designspace.trials.siblings import shared_results_note

_CALLABLE = "import importlib, sys; sys.exit(not callable(getattr(importlib.import_module(sys.argv[1]), sys.argv[2])))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a launch of some runs is about to do."""

    waiting: int
    """Trials that have not finished."""
    finished: int
    populations: tuple[Population, ...]
    images: Images
    workers: int = 0
    """Workers of the local pool, or of each array task on SLURM; 0 where nothing is left to do."""
    device: str = "cpu"
    """Of the workers: cpu or cuda."""
    trial_s: float = 0.0
    """Seconds that a trial takes on one worker."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Images:
    """The images that a recipe takes of its data set."""

    shape: data.DataShape
    train: int
    """Images to train on, those held out not among them."""
    test: int
    batch: int
    """Images per step."""

    @property
    def steps(self) -> int:
        """Steps per epoch: images that do not fill a batch wait for the next epoch."""
        return self.train // self.batch


def check_training(recipe: Recipe, networks: NetworkColumns, root: Path | None = None) -> Images:
    """Raise unless networks can learn by a recipe from the images that its data set has, by arithmetic alone.

    Args:
        recipe: how to train, and on which data set.
        networks: a single one, or all of a population.
        root: the folder of all data sets; None for the usual one.

    Raises:
        InputError: fewer images than the recipe takes or holds out, a batch that devices cannot share, an augmentation
            that does not fit the images, one class, or batch-norm over a single value.
        RunError: the description of the data set is damaged.
    """
    name, shape, counts = recipe.data, data.shape(recipe.data, root), data.counts(recipe.data, root)
    if shape.num_classes < 2:
        raise InputError(f"{name} has images of one class: nothing can be learned from them; prepare 2 classes or more")
    for key, count, what in (("train_images", counts.train, "training"), ("test_images", counts.test, "test")):
        given = getattr(recipe, key)
        if given is not None and given > count:
            raise InputError(
                f"{name} has {count:,} {what} images: recipe.{key} must be 1 to {count}, not {given}; null takes all"
            )
    train = (recipe.train_images or counts.train) - recipe.heldout_images
    if train < 1:
        raise InputError(
            f"{name}: recipe.heldout_images={recipe.heldout_images} leaves none of "
            f"{recipe.train_images or counts.train:,} training images"
        )
    check_augmentation(recipe, shape.channels, shape.size)
    batch = min(recipe.batch_size, train)
    if batch % recipe.devices:
        raise InputError(
            f"{name}: a batch of all {batch} training images cannot be shared by {recipe.devices} devices; "
            f"take recipe.batch_size={max(1, batch // recipe.devices) * recipe.devices}, or fewer devices"
        )
    if recipe.trainer is None:  # one's own may train something else
        _check_norms(recipe, networks, recipe.crop_size or shape.size, batch)
    return Images(shape, train, recipe.test_images or counts.test, batch)


def check_launch(plans: Mapping[RunFolder, Plan], launcher: Launcher, only: Collection[str] | None = None) -> Forecast:
    """Raise unless a launch can train what is left of some runs, and say what it is about to do. Changes nothing.

    Args:
        plans: how the networks of each run are to be trained: all with one recipe.
        launcher: how to train.
        only: keys of the trials to train; by default all.

    Raises:
        InputError: another recipe or seed than a run has, images or recipe that do not fit the networks (see
            `check_training`), a data set or a trainer that is not there, workers that cannot be had, or whose
            devices cannot train by the recipe.
        RunError: the images, or a file of a run, are damaged or missing.
    """
    for run, plan in plans.items():
        run.check_plan(plan.recipe, plan.seed)
    recipe = next(iter(plans.values())).recipe
    populations = tuple(run.population() for run in plans)
    states = {
        run: run.states([key for key in run.trial_keys(plan) if only is None or key in only])
        for run, plan in plans.items()
    }
    total = sum(map(len, states.values()))
    waiting = sum(not state.has_ended for each in states.values() for state in each)
    for population in populations:
        images = _check_population(population, recipe, launcher.data_root)
    forecast = Forecast(waiting=waiting, finished=total - waiting, populations=populations, images=images)
    if not waiting:
        return forecast
    notes = [_check_images(recipe, launcher)]
    if recipe.trainer is not None:
        notes.append(_check_trainer(recipe.trainer, launcher))
    for run in plans:
        snapshot.check_path(run.code)
    costs = [Costs.of(each, recipe.crop_size or images.shape.size) for each in populations]
    if launcher.slurm is not None:
        device, workers = launcher.on_slurm(recipe)
    else:
        slots, memory = launcher.places(costs, recipe)
        device, workers = slots[0].device, len(slots)
        notes.append(memory)
    recipe.check_device(device)
    for run, each in states.items():
        keys = [state.key for state in each if state.status == "waiting"]
        notes.append(shared_results_note(run, keys, plans[run]))
    trial_s = max(
        trial_seconds(run, each, recipe, device, launcher.data_root) for run, each in zip(plans, costs, strict=True)
    )
    said = tuple(filter(None, notes))
    return dataclasses.replace(forecast, workers=workers, device=device, trial_s=trial_s, notes=said)


def _check_population(population: Population, recipe: Recipe, root: Path) -> Images:
    """Raise unless a population fits the recipe and its images."""
    check_fit(population.space.template, recipe, root)
    return check_training(recipe, population.space.network_columns(population.columns), root)


def _check_norms(recipe: Recipe, networks: NetworkColumns, side: int, batch: int) -> None:
    """Raise where batch-norm would see a single value of each channel: in one image, with maps of 1 x 1."""
    part = batch // recipe.devices
    part //= min(recipe.accumulate, part)
    if part * (recipe.devices if recipe.sync_norm else 1) > 1:
        return
    if not any(
        layer.kind == "batch_norm" and np.any((layer.pixels == 1) & (layer.out_width * repeats > 0))
        for layers, repeats in network_parts(networks, side)
        for layer in layers
    ):
        return
    parts = [f"recipe.{key}={getattr(recipe, key)}" for key in ("accumulate", "devices") if getattr(recipe, key) > 1]
    shared = f" in parts by {' and '.join(parts)}" if parts else ""
    has_radix = networks.radix.any()
    raise InputError(
        f"batches of {batch}{shared} are one image at a time, and batch-norm needs two or more in networks with "
        f"{'split attention (radix)' if has_radix else 'final maps of 1 x 1 pixels'}: take "
        f"{'fewer parts, or ' if parts else ''}recipe.batch_size={2 * recipe.devices * recipe.accumulate} or more, "
        "and at least as many images"
    )


def _check_images(recipe: Recipe, launcher: Launcher) -> str:
    """Raise unless the images can be read; on SLURM, where nodes may see other disks, give a warning."""
    try:
        data.load(recipe.data, launcher.data_root)
    except (InputError, RunError) as error:
        if launcher.slurm is None:
            raise
        return (
            f"warning: as seen from here, {error}. Prepare it before the tasks start, unless their nodes have it in "
            f"{launcher.data_root}"
        )
    return ""


def _check_trainer(trainer: str, launcher: Launcher) -> str:
    """Raise unless workers can import a trainer; on SLURM, where ``setup`` may add to the path, give a warning."""
    module, _, name = trainer.partition(":")
    environment = {**os.environ, **snapshot.environment(snapshot.PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", _CALLABLE, module, name],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return ""
    words = done.stderr.strip().splitlines()[-1:] or [f"{name} is not a function"]
    here = Path(module.split(".")[0])
    is_here = here.with_suffix(".py").is_file() or here.is_dir()
    hint = " For this folder: PYTHONPATH=. python -m designspace.launch ..." if is_here else ""
    message = f"recipe: trainer {trainer} cannot be imported ({words[0]}); is it on PYTHONPATH?{hint}"
    if launcher.slurm is not None and launcher.slurm.setup:
        return f"warning: as seen from here, {message}"
    raise InputError(message)
