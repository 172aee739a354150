"""Summary of a launch that is printed before it starts."""

from __future__ import annotations

import dataclasses

from designspace.cli.recipes import TrainingSetup
from designspace.support.text import counted, duration, prefixed
from designspace.sweeps.preflight import Forecast
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan

_SHOWN = ("epochs", "batch_size", "lr", "weight_decay")
"""Fields of a recipe that are always shown; other fields are shown if they differ from the default."""
_IN_DATA_ROW = ("data", "train_images", "test_images", "heldout_images")
"""Fields of a recipe that are shown in the row of the data set."""


def print_forecast(run: RunFolder, setup: TrainingSetup, forecast: Forecast, *, is_local: bool) -> None:
    """Print the networks, images, recipe, workers and expected time of a launch."""
    recipe, population, images = setup.recipe, forecast.populations[0], forecast.images
    costs = [
        f"{prefixed(float(column.min()))} to {prefixed(float(column.max()))} {name}"
        for name, column in (
            ("multiply-adds", population.columns["flops"]),
            ("parameters", population.columns["params"]),
        )
    ]
    shape = images.shape
    heldout = f", {recipe.heldout_images:,} held-out" if recipe.heldout_images else ""
    rows = [
        ("networks", f"{len(population):,} of {population.space.name}: {', '.join(costs)}"),
        (
            "data",
            f"{recipe.data}, in {setup.root}: {images.train:,} training{heldout} and {images.test:,} test images of "
            f"{shape.channels} x {shape.size} x {shape.size}, {shape.num_classes} classes",
        ),
        ("recipe", ", ".join(f"{name} {value}" for name, value in _fields(setup.plan).items())),
        ("recipe of the run", "as above" if run.plan() else "none yet; the launch will set this one"),
        _seeds(setup.plan, forecast),
        ("steps", f"{images.steps:,} per epoch, of {images.batch:,} images"),
    ]
    if forecast.workers:
        each = f"about {duration(forecast.trial_s)} per trial"
        if is_local:
            total = forecast.trial_s * -(-forecast.waiting // forecast.workers)
            rows += [
                ("workers", f"{forecast.workers} ({forecast.device})"),
                ("expected time", f"{duration(total)}, {each}"),
            ]
        else:
            rows += [
                ("workers", f"{forecast.workers} ({forecast.device}) per array task"),
                ("expected time", f"{each} on one worker"),
            ]
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
    print()


def _seeds(plan: Plan, forecast: Forecast) -> tuple[str, str]:
    """Return the row of the seed or seeds; several seeds with the total number of trials."""
    if not plan.repeats:
        return "seed", str(plan.seed)
    fresh = counted(len(plan.repeats.fresh), "network")
    more = f"; fresh seeds for {fresh} that {'were' if len(plan.repeats.fresh) > 1 else 'was'} chosen by error"
    trials = f"; {counted(forecast.waiting + forecast.finished, 'trial')} in all"
    return "seeds", f"{', '.join(map(str, plan.seeds))}{more if plan.repeats.fresh else ''}{trials}"


def _fields(plan: Plan) -> dict[str, object]:
    """Return the fields of the recipe that are shown, with their values or how these are drawn."""
    recipe, drawn = plan.recipe, {name: axis.describe() for name, axis in plan.axes.by_field.items()}
    return {
        field.name: drawn.get(field.name, getattr(recipe, field.name))
        for field in dataclasses.fields(recipe)
        if field.name in (*_SHOWN, *drawn)
        or (field.name not in _IN_DATA_ROW and getattr(recipe, field.name) != field.default)
    }
