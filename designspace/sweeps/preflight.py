"""Checks before a training writes anything: recipe, networks and images fit, and workers can train here.

All errors that would make every trial of a launch fail are detected here, before the recipe of the run is written, so
that another recipe can be chosen after a failed launch. A dry run only runs these checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from designspace import data
from designspace.data.recipe_fit import check_augmentation, check_labels_stay_in_place
from designspace.networks.columns import NetworkColumns, network_parts
from designspace.spaces.network_list import columns_of
from designspace.spaces.population import Population
from designspace.support.errors import InputError, RunError
from designspace.sweeps import snapshot
from designspace.sweeps.estimate import Costs, trial_seconds
from designspace.sweeps.import_check import import_problem
from designspace.sweeps.launch import Launcher, check_fit
from designspace.sweeps.objective import check_same_metric, is_usual, settle_metric
from designspace.trials.folder import RunFolder
from designspace.trials.metric import Metric, check_built_in
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe
from designspace.trials.siblings import shared_results_note


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Forecast of a launch of some runs."""

    waiting: int
    """Number of trials that are not finished."""
    finished: int
    """Number of trials that are finished."""
    populations: tuple[Population, ...]
    images: Images
    workers: int = 0
    """Number of workers of the local pool, or of each array task on SLURM; 0 if there is nothing to train."""
    device: str = "cpu"
    """Device of the workers: cpu or cuda."""
    trial_s: float = 0.0
    """Seconds that a trial takes on one worker."""
    notes: tuple[str, ...] = ()
    metric: Metric | None = None
    """What the networks are measured by; None for the default metric."""

    def with_metric(self, plan: Plan) -> Plan:
        """Return the plan of a run with what its networks are measured by."""
        return dataclasses.replace(plan, metric=self.metric)


@dataclass(frozen=True, slots=True)
class Images:
    """Numbers of the images of a data set that a recipe uses."""

    shape: data.DataShape
    train: int
    """Training images, without held-out images."""
    test: int
    """Test images."""
    batch: int
    """Images per step."""

    @property
    def steps(self) -> int:
        """Steps per epoch. Images that do not fill a batch are left out of the epoch."""
        return self.train // self.batch


def check_training(recipe: Recipe, networks: NetworkColumns, root: Path | None = None) -> Images:
    """Raise unless a recipe can train networks on its data set. This only compares numbers.

    Args:
        recipe: how to train, and on which data set.
        networks: a single network, or all networks of a population.
        root: the folder of all data sets; None for the default one.

    Raises:
        InputError: there are fewer images than the recipe uses or holds out, devices cannot share a batch, an
            augmentation does not fit the images, there is only one class, or batch-norm sees only one value.
        RunError: the description of the data set is damaged.
    """
    name, shape, counts = recipe.data, data.shape(recipe.data, root), data.counts(recipe.data, root)
    if shape.num_classes < 2 and shape.target in ("class", "dense"):
        raise InputError(f"{name} has images of only one class; prepare 2 classes or more")
    if recipe.trainer is None:  # a custom trainer may learn anything
        check_built_in(recipe.loss, recipe.metric, shape.target, shape.num_classes, name)
        if shape.target == "dense":
            check_labels_stay_in_place(recipe, name)
    for key, count, what in (("train_images", counts.train, "training"), ("test_images", counts.test, "test")):
        value = getattr(recipe, key)
        if value is not None and value > count:
            raise InputError(
                f"{name} has {count:,} {what} images: recipe.{key} must be 1 to {count}, not {value}; null takes all"
            )
    train = (recipe.train_images or counts.train) - recipe.heldout_images
    if train < 1:
        raise InputError(
            f"{name}: recipe.heldout_images={recipe.heldout_images} leaves none of "
            f"{recipe.train_images or counts.train:,} training images"
        )
    check_augmentation(recipe, shape.channels, shape.size, shape.dtype)
    batch = min(recipe.batch_size, train)
    if batch % recipe.devices:
        raise InputError(
            f"{name}: a batch of all {batch} training images cannot be shared by {recipe.devices} devices; "
            f"choose recipe.batch_size={max(1, batch // recipe.devices) * recipe.devices}, or fewer devices"
        )
    if recipe.trainer is None:  # a custom trainer may train something else
        parts = 1 + len(networks.stages)
        if recipe.frozen_stages > parts:
            raise InputError(
                f"recipe.frozen_stages={recipe.frozen_stages}, but stem and stages are {parts} parts: it must be at "
                f"most {parts}"
            )
        _check_norms(recipe, networks, recipe.crop_size or shape.size, batch)
    return Images(shape, train, recipe.test_images or counts.test, batch)


def check_launch(plans: Mapping[RunFolder, Plan], launcher: Launcher, only: Collection[str] | None = None) -> Forecast:
    """Raise unless a launch can train the unfinished trials of some runs, and return a forecast. Changes nothing.

    Args:
        plans: the plan of each run, all with the same recipe.
        launcher: how to train.
        only: keys of the trials to train; by default all.

    Raises:
        InputError: a run has another recipe or seed, the images or the recipe do not fit the networks (see
            `check_training`), the data set or the trainer does not exist, or workers are not available or their
            devices cannot train with the recipe.
        RunError: the images, or a file of a run, are damaged or missing.
    """
    for run, plan in plans.items():
        run.check_plan(plan.recipe, plan.seed, plan.axes)
    plan = next(iter(plans.values()))
    recipe = plan.recipe
    populations = tuple(run.population() for run in plans)
    states = {
        run: run.states([key for key in run.trial_keys(plan) if only is None or key in only])
        for run, plan in plans.items()
    }
    total = sum(map(len, states.values()))
    waiting = sum(not state.is_finished for each in states.values() for state in each)
    for population in populations:
        check_fit(population.space.template, recipe, launcher.data_root)
        images = check_population(plan, population, launcher.data_root)
    known = next((settled.metric for run in plans if (settled := run.plan())), None)
    forecast = Forecast(waiting=waiting, finished=total - waiting, populations=populations, images=images, metric=known)
    if not waiting:
        return forecast
    notes = [_check_images(recipe, launcher)]
    notes.append(_check_imports(recipe, populations, launcher))
    if not is_usual(recipe):
        forecast = dataclasses.replace(forecast, metric=_check_metric(recipe, plans, launcher))
    for run in plans:
        snapshot.check_path(run.code)
    costs = [Costs.of(each, recipe.crop_size or images.shape.size) for each in populations]
    if launcher.slurm is not None:
        device, workers = launcher.slurm_workers(recipe)
    else:
        slots, memory_note = launcher.slots(costs, recipe)
        device, workers = slots[0].device, len(slots)
        notes.append(memory_note)
    recipe.check_device(device)
    for run, each in states.items():
        keys = [state.key for state in each if state.status in ("waiting", "stopped")]
        notes.append(shared_results_note(run, keys, plans[run]))
    trial_s = max(
        trial_seconds(run, each, recipe, device, launcher.data_root) for run, each in zip(plans, costs, strict=True)
    )
    notes = list(filter(None, notes))
    return dataclasses.replace(forecast, workers=workers, device=device, trial_s=trial_s, notes=tuple(notes))


def check_population(plan: Plan, population: Population, root: Path) -> Images:
    """Raise unless all recipes of a plan, also the drawn ones, can train a population (see `check_training`)."""
    if shared := set(plan.axes.by_field).intersection(population.column_names()):
        raise InputError(f"recipe.{min(shared)} cannot be drawn: the networks have a parameter of that name")
    for networks in columns_of(population):
        for recipe in plan.axes.samples(plan.recipe):
            check_training(recipe, networks, root)
        images = check_training(plan.recipe, networks, root)
    return images


def _check_norms(recipe: Recipe, networks: NetworkColumns, side: int, batch: int) -> None:
    """Raise if batch-norm would see a single value per channel, from one image with a map of 1 x 1."""
    part_size = batch // recipe.devices
    part_size //= min(recipe.accumulate, part_size)
    if part_size * (recipe.devices if recipe.sync_norm else 1) > 1:
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
        f"batches of {batch}{shared} are one image at a time, but batch-norm needs two or more in networks with "
        f"{'split attention (radix)' if has_radix else 'final maps of 1 x 1 pixels'}: choose "
        f"{'fewer parts, or ' if parts else ''}recipe.batch_size={2 * recipe.devices * recipe.accumulate} or more, "
        "and at least as many images"
    )


def _check_images(recipe: Recipe, launcher: Launcher) -> str:
    """Raise unless the images can be read; on SLURM, where nodes may have other disks, return a warning instead."""
    try:
        data.load(recipe.data, launcher.data_root)
    except (InputError, RunError) as error:
        if launcher.slurm is None:
            raise
        return (
            f"warning: on this machine, {error}. Prepare it before the tasks start, unless their nodes have it in "
            f"{launcher.data_root}"
        )
    return ""


def _check_metric(recipe: Recipe, runs: Collection[RunFolder], launcher: Launcher) -> Metric | None:
    """Raise unless the loss and the metric of a recipe work on its images; return the metric, None for the default."""
    images = data.load(recipe.data, launcher.data_root, recipe.train_images, recipe.test_images)
    metric = settle_metric(recipe, images)
    for run in runs:
        if plan := run.plan():
            check_same_metric(run.path, plan, metric)
    return metric


def _check_imports(recipe: Recipe, populations: Sequence[Population], launcher: Launcher) -> str:
    """Raise unless workers can import the user's objects; on SLURM, whose ``setup`` may change the path, warn."""
    problem = import_problem(recipe, populations)
    if not problem:
        return ""
    if launcher.slurm is not None and launcher.slurm.setup:
        return f"warning: on this machine, {problem}"
    raise InputError(problem)
