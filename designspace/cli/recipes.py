"""The recipe and the seeds that a person chose for a run: what was typed, over what the run has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.data.of_run import DataSource, data_of
from designspace.support.errors import InputError
from designspace.support.text import command
from designspace.sweeps.launch import check_fit
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan, further_seeds
from designspace.trials.trial import Recipe


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


def chosen_for(run: RunFolder, config: app.Config, typed: Sequence[str]) -> Chosen:
    """Return the recipe and the seeds for the trials of a run.

    A run that has a recipe keeps it, and its seeds and data set, as far as nothing else is typed. Single values, such
    as ``recipe.epochs=5``, stand for the run's recipe with these values, ``recipe=quick`` for all of that one.

    Raises:
        InputError: what was typed is not what the run is trained with, or cannot be.
        RunError: a file of the run is damaged.
    """
    plan = run.plan()
    name, root = config["data"]["name"], config["data"]["root"]
    source = data_of(run, name, None if root is None else Path(root).expanduser())
    notes = []
    if source.is_guess:
        notes.append(f"note: {source.name} is the only data set here that fits the networks of {run.path}; it is used")
    seed = config["seed"] if plan is None or app.is_typed("seed", typed) else plan.seed
    if plan is not None and not app.is_typed("recipe", typed):
        fields = {key: config["recipe"][key] for key in _typed_fields(typed)}
        recipe = dataclasses.replace(plan.recipe, data=source.name, **fields)
    else:
        recipe, note = usable(Recipe.from_dict({**config["recipe"], "data": source.name}), source, typed)
        notes += [note] if note else []
    recipe = _on_devices(recipe, config["launcher"]["gpus_per_trial"], run, typed)
    check_fit(run.space().template, recipe, source.root)
    chosen = with_seeds(run, Plan(recipe, seed), config["seeds"])
    asked = len(chosen.seeds)
    if app.is_typed("seeds", typed) and asked > config["seeds"]:
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


def usable(recipe: Recipe, source: DataSource, typed: Sequence[str]) -> tuple[Recipe, str]:
    """Take all images where a recipe's own number of them, which nobody typed, is more than there are; and say so."""
    counts = data.counts(source.name, source.root)
    keys = [
        key
        for key, count in (("train_images", counts.train), ("test_images", counts.test))
        if (getattr(recipe, key) or 0) > count and not app.is_typed(f"recipe.{key}", typed)
    ]
    if not keys:
        return recipe, ""
    values = ", ".join(f"recipe.{key}={getattr(recipe, key)}" for key in keys)
    note = f"note: {source.name} has fewer images than {values} of the recipe: all of them are used"
    return Recipe.from_dict({**recipe.to_dict(), **dict.fromkeys(keys)}), note


def _typed_fields(typed: Sequence[str]) -> list[str]:
    """The fields of the recipe that were typed one by one."""
    keys = [word.partition("=")[0].lstrip("+") for word in typed]
    return [key.removeprefix("recipe.") for key in dict.fromkeys(keys) if key.startswith("recipe.")]


def _on_devices(recipe: Recipe, devices: int | None, run: RunFolder, typed: Sequence[str]) -> Recipe:
    """The recipe on ``launcher.gpus_per_trial`` devices, if that was typed."""
    if devices is None or devices == recipe.devices:
        return recipe
    if app.is_typed("recipe.devices", typed):
        raise InputError(
            f"launcher.gpus_per_trial={devices} and recipe.devices={recipe.devices} contradict each other; "
            "leave one out"
        )
    if run.plan() is not None and not app.is_typed("recipe", typed):
        raise InputError(
            f"launcher.gpus_per_trial={devices}, but {run.path} is already being trained with recipe.devices="
            f"{recipe.devices}, and all trials of a run are trained alike; leave launcher.gpus_per_trial out"
        )
    return dataclasses.replace(recipe, devices=devices)
