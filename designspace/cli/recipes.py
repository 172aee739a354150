"""The recipe and the seeds of a run, from the options of a command and the existing settings of the run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from designspace import data
from designspace.cli.options import Count, DataOptions, Fields, OptionalCount, Options, Seed, whole_number
from designspace.data.data_source import DataSource, check_unchanged, data_of
from designspace.support.errors import InputError
from designspace.support.text import command
from designspace.sweeps.launch import Launcher, check_fit
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan, further_seeds
from designspace.trials.recipe import Recipe
from designspace.trials.recipe_axes import RecipeAxes

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
    """All values, for `Launcher.from_dict`, which validates those without a field here."""

    @property
    def is_local(self) -> bool:
        """Whether trials are trained on this machine."""
        return self.name == "local"

    def make(self, options: Options, root: Path, **changes: str) -> Launcher:
        """Return the launcher of a command for the data sets in ``root``, with some values changed."""
        return Launcher.from_dict({**self.fields, **changes}, root, options.provenance())


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """Keys of all commands with a recipe."""

    recipe: Fields
    data: DataOptions
    launcher: LauncherOptions
    seed: Seed


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """How to train a run."""

    plan: Plan
    root: Path
    """The folder of all data sets."""
    notes: tuple[str, ...] = ()
    """Notes for the user about values that were chosen automatically."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of all trials; drawn fields have their greatest value."""
        return self.plan.recipe


def choose_setup(run: RunFolder, options: TrainingOptions, seeds: int) -> TrainingSetup:
    """Return the recipe and at least ``seeds`` seeds for the trials of a run.

    A run that already has a recipe keeps its recipe, seeds and data set unless others are given. Single values, such as
    ``recipe.epochs=5``, change these values of the run's recipe; ``recipe=quick`` replaces the whole recipe.

    Raises:
        InputError: the options are invalid, or contradict the recipe or seeds of the run.
        RunError: a file of the run is damaged.
    """
    plan = run.plan()
    source = data_of(run, options.data.name, options.data.root)
    check_unchanged(run, source)
    notes = []
    if source.is_guess:
        notes.append(f"note: using {source.name}, the only data set here that fits the networks of {run.path}")
    seed = options.seed if plan is None or options.is_given("seed") else plan.seed
    if plan is not None and not options.is_given("recipe"):
        changed = {key: value for key, value in options.recipe.items() if options.is_given(f"recipe.{key}")}
        fields = {**plan.recipe_fields(), "data": source.name, **changed}
        axes = RecipeAxes.from_fields(fields)
        recipe = axes.recipe(fields)
    else:
        fields = {**options.recipe, "data": source.name}
        axes = RecipeAxes.from_fields(fields)
        recipe, note = with_available_images(axes.recipe(fields), source, options)
        notes += [note] if note else []
    recipe = _with_devices(recipe, run, options)
    check_fit(run.space().template, recipe, source.root)
    chosen = with_seeds(run, Plan(recipe, seed, axes=axes), seeds)
    if options.is_given("seeds") and len(chosen.seeds) > seeds:
        notes.append(f"note: {run.path} already has {len(chosen.seeds)} seeds per network and keeps them")
    return TrainingSetup(chosen, source.root, tuple(notes))


def existing_setup(run: RunFolder) -> TrainingSetup:
    """Return the recipe and seeds that a run already has, with the location of its data set.

    Raises:
        InputError: the run has not been launched.
        RunError: a file of the run is damaged.
    """
    plan = run.plan()
    if plan is None:
        raise InputError(f"no network of {run.path} has been trained yet; first run: {command('launch', run=run.path)}")
    source = data_of(run, plan.recipe.data)
    check_unchanged(run, source)
    return TrainingSetup(plan, source.root)


def with_seeds(run: RunFolder, plan: Plan, count: int) -> Plan:
    """Return a plan with ``count`` seeds per network, or more if the run already has more.

    Raises:
        InputError: the number of seeds is invalid, or the run has another recipe or first seed.
        RunError: a file of the run is damaged.
    """
    run.check_plan(plan.recipe, plan.seed, plan.axes)
    existing = run.plan()
    repeats = further_seeds(plan.seed, count)
    return dataclasses.replace(plan, repeats=existing.repeats.with_more(repeats) if existing else repeats)


def with_available_images(recipe: Recipe, source: DataSource, options: Options) -> tuple[Recipe, str]:
    """Use all images if the recipe's default asks for more than the data set has; also return a note about it."""
    counts = data.counts(source.name, source.root)
    keys = [
        key
        for key, count in (("train_images", counts.train), ("test_images", counts.test))
        if (getattr(recipe, key) or 0) > count and not options.is_given(f"recipe.{key}")
    ]
    if not keys:
        return recipe, ""
    values = ", ".join(f"recipe.{key}={getattr(recipe, key)}" for key in keys)
    note = f"note: {source.name} has fewer images than {values} of the recipe; all of them are used"
    return Recipe.from_dict({**recipe.to_dict(), **dict.fromkeys(keys)}), note


def _with_devices(recipe: Recipe, run: RunFolder, options: TrainingOptions) -> Recipe:
    """Return the recipe for ``launcher.gpus_per_trial`` devices, if that was given."""
    devices = options.launcher.gpus_per_trial
    if devices is None or devices == recipe.devices:
        return recipe
    if options.is_given("recipe.devices"):
        raise InputError(
            f"launcher.gpus_per_trial={devices} and recipe.devices={recipe.devices} contradict each other; "
            "leave one of them out"
        )
    if run.plan() is not None and not options.is_given("recipe"):
        raise InputError(
            f"launcher.gpus_per_trial={devices}, but {run.path} already has recipe.devices="
            f"{recipe.devices}, and all trials of a run share one recipe; leave out launcher.gpus_per_trial"
        )
    return dataclasses.replace(recipe, devices=devices)
