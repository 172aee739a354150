"""The recipe and the seeds that a person chose for a run: what was typed, over what the run has."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from designspace import data
from designspace.cli.options import Count, DataOptions, Fields, OptionalCount, Options, Seed, whole_number
from designspace.data.data_source import DataSource, data_of
from designspace.support.errors import InputError
from designspace.support.text import command
from designspace.sweeps.launch import Launcher, check_fit
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan, further_seeds
from designspace.trials.recipe import Recipe

Seeds = Annotated[int, whole_number(1, 10_000)]


@dataclass(frozen=True, kw_only=True)
class LauncherOptions:
    """Keys of the files in configs/launcher."""

    name: str
    device: str
    workers: OptionalCount
    workers_per_gpu: Count
    gpus_per_trial: OptionalCount
    fields: Fields
    """All values, for `Launcher.from_dict`, which checks those that have no field here."""

    def make(self, options: Options, root: Path, **changes: str) -> Launcher:
        """Return the launcher of a command for data sets below ``root``, with some values changed."""
        return Launcher.from_dict({**self.fields, **changes}, root, options.provenance())


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """Keys that all commands with a recipe have."""

    recipe: Fields
    data: DataOptions
    launcher: LauncherOptions
    seed: Seed


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a run is to be trained."""

    plan: Plan
    root: Path
    """The folder of all data sets."""
    notes: tuple[str, ...] = ()
    """What the user should know of values that nobody typed."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of all trials."""
        return self.plan.recipe


def chosen_for(run: RunFolder, options: TrainingOptions, seeds: int) -> Chosen:
    """Return the recipe and the seeds of the trials of a run: at least ``seeds`` of them.

    A run that has a recipe keeps it, and its seeds and data set, as far as nothing else is typed. Single values, such
    as ``recipe.epochs=5``, stand for the run's recipe with these values, ``recipe=quick`` for all of that one.

    Raises:
        InputError: what was typed is not what the run is trained with, or cannot be.
        RunError: a file of the run is damaged.
    """
    plan = run.plan()
    source = data_of(run, options.data.name, options.data.root)
    notes = []
    if source.is_guess:
        notes.append(f"note: {source.name} is the only data set here that fits the networks of {run.path}; it is used")
    seed = options.seed if plan is None or options.is_typed("seed") else plan.seed
    if plan is not None and not options.is_typed("recipe"):
        fields = {key: value for key, value in options.recipe.items() if options.is_typed(f"recipe.{key}")}
        recipe = dataclasses.replace(plan.recipe, data=source.name, **fields)
    else:
        recipe, note = usable(Recipe.from_dict({**options.recipe, "data": source.name}), source, options)
        notes += [note] if note else []
    recipe = _on_devices(recipe, run, options)
    check_fit(run.space().template, recipe, source.root)
    chosen = with_seeds(run, Plan(recipe, seed), seeds)
    asked = len(chosen.seeds)
    if options.is_typed("seeds") and asked > seeds:
        notes.append(f"note: {run.path} was asked for {asked} seeds before, and keeps them")
    return Chosen(chosen, source.root, tuple(notes))


def plan_of(run: RunFolder) -> Chosen:
    """Return how a run is trained already, with its data set where the run notes it.

    Raises:
        InputError: the run has not been launched.
        RunError: a file of the run is damaged.
    """
    plan = run.plan()
    if plan is None:
        raise InputError(f"no network of {run.path} has been trained yet; first: {command('launch', run=run.path)}")
    return Chosen(plan, data_of(run, plan.recipe.data).root)


def with_seeds(run: RunFolder, plan: Plan, count: int) -> Plan:
    """Return a plan with ``count`` seeds of all networks, or more where the run was asked for more.

    Raises:
        InputError: there is no such number of seeds, or the run is trained with another recipe or first seed.
        RunError: a file of the run is damaged.
    """
    run.check_plan(plan.recipe, plan.seed)
    before = run.plan()
    repeats = further_seeds(plan.seed, count)
    return dataclasses.replace(plan, repeats=before.repeats.with_more(repeats) if before else repeats)


def usable(recipe: Recipe, source: DataSource, options: Options) -> tuple[Recipe, str]:
    """Take all images where a recipe's own number of them, which nobody typed, is more than there are; and say so."""
    counts = data.counts(source.name, source.root)
    keys = [
        key
        for key, count in (("train_images", counts.train), ("test_images", counts.test))
        if (getattr(recipe, key) or 0) > count and not options.is_typed(f"recipe.{key}")
    ]
    if not keys:
        return recipe, ""
    values = ", ".join(f"recipe.{key}={getattr(recipe, key)}" for key in keys)
    note = f"note: {source.name} has fewer images than {values} of the recipe: all of them are used"
    return Recipe.from_dict({**recipe.to_dict(), **dict.fromkeys(keys)}), note


def _on_devices(recipe: Recipe, run: RunFolder, options: TrainingOptions) -> Recipe:
    """The recipe on ``launcher.gpus_per_trial`` devices, if that was typed."""
    devices = options.launcher.gpus_per_trial
    if devices is None or devices == recipe.devices:
        return recipe
    if options.is_typed("recipe.devices"):
        raise InputError(
            f"launcher.gpus_per_trial={devices} and recipe.devices={recipe.devices} contradict each other; "
            "leave one out"
        )
    if run.plan() is not None and not options.is_typed("recipe"):
        raise InputError(
            f"launcher.gpus_per_trial={devices}, but {run.path} is already being trained with recipe.devices="
            f"{recipe.devices}, and all trials of a run are trained alike; leave launcher.gpus_per_trial out"
        )
    return dataclasses.replace(recipe, devices=devices)
