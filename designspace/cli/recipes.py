"""The recipe and the seed that a person chose for a run: what was typed, over what the run has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.data.of_run import DataSource, data_of
from designspace.support.errors import InputError
from designspace.sweeps.launch import check_fit
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a run is to be trained."""

    recipe: Recipe
    seed: int
    root: Path
    """The folder of all data sets."""
    notes: tuple[str, ...] = ()
    """What the user should know of values that nobody typed."""


def chosen_for(run: RunFolder, config: app.Config, typed: Sequence[str]) -> Chosen:
    """Return the recipe and the seed for the trials of a run.

    A run that has a recipe keeps it, and its seed and data set, as far as nothing else is typed. Single values, such as
    ``recipe.epochs=5``, stand for the run's recipe with these values, ``recipe=quick`` for all of that one.

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
    seed = config["seed"] if plan is None or app.is_typed("seed", typed) else plan[1]
    if plan is not None and not app.is_typed("recipe", typed):
        fields = {key: config["recipe"][key] for key in _typed_fields(typed)}
        recipe = dataclasses.replace(plan[0], data=source.name, **fields)
    else:
        recipe, note = usable(Recipe.from_dict({**config["recipe"], "data": source.name}), source, typed)
        notes += [note] if note else []
    recipe = _on_devices(recipe, config["launcher"]["gpus_per_trial"], run, typed)
    check_fit(run.space().template, recipe, source.root)
    run.check_plan(recipe, seed)
    return Chosen(recipe, seed, source.root, tuple(notes))


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
