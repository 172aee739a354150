"""What a person at the terminal sees of a launch before it begins."""

from __future__ import annotations

import dataclasses

from designspace.cli.recipes import Chosen
from designspace.support.text import counted, duration, quantity
from designspace.sweeps.preflight import Forecast
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe

_SHOWN = ("epochs", "batch_size", "lr", "weight_decay")
"""Fields of a recipe that are always shown; the others are where they differ from the papers' sweep."""
_ELSEWHERE = ("data", "train_images", "test_images", "heldout_images")


def print_forecast(run: RunFolder, chosen: Chosen, forecast: Forecast, *, is_local: bool) -> None:
    """Print networks, images, recipe, workers and the expected time of a launch."""
    recipe, population, images = chosen.recipe, forecast.populations[0], forecast.images
    costs = [
        f"{quantity(float(column.min()))} to {quantity(float(column.max()))} {name}"
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
            f"{recipe.data}, in {chosen.root}: {images.train:,} training{heldout} and {images.test:,} test images of "
            f"{shape.channels} x {shape.size} x {shape.size}, {shape.num_classes} classes",
        ),
        ("recipe", ", ".join(f"{name} {value}" for name, value in _fields(recipe).items())),
        ("recipe of the run", "as above" if run.plan() else "none yet; the launch fixes this one"),
        _seeds(chosen.plan, forecast),
        ("steps", f"{images.steps:,} an epoch, of {images.batch:,} images"),
    ]
    if forecast.workers:
        each = f"about {duration(forecast.trial_s)} per trial"
        if is_local:
            whole = forecast.trial_s * -(-forecast.waiting // forecast.workers)
            rows += [
                ("workers", f"{forecast.workers} ({forecast.device})"),
                ("expected time", f"{duration(whole)}, {each}"),
            ]
        else:
            rows += [
                ("workers", f"{forecast.workers} ({forecast.device}) per task"),
                ("expected time", f"{each} on one worker"),
            ]
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
    print()


def _seeds(plan: Plan, forecast: Forecast) -> tuple[str, str]:
    """Return the row of the seeds: one, or several with the number of trials that they make."""
    if not plan.repeats:
        return "seed", str(plan.seed)
    fresh = counted(len(plan.repeats.fresh), "network")
    more = f"; fresh seeds for {fresh} that {'were' if len(plan.repeats.fresh) > 1 else 'was'} chosen by error"
    trials = f"; {counted(forecast.waiting + forecast.finished, 'trial')} in all"
    return "seeds", f"{', '.join(map(str, plan.seeds))}{more if plan.repeats.fresh else ''}{trials}"


def _fields(recipe: Recipe) -> dict[str, object]:
    """The values of a recipe that tell it from others."""
    return {
        field.name: getattr(recipe, field.name)
        for field in dataclasses.fields(recipe)
        if field.name in _SHOWN or (field.name not in _ELSEWHERE and getattr(recipe, field.name) != field.default)
    }
