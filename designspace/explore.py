"""Sample several spaces, train their networks, compare them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import analyze, data, launch
from designspace.cli import app
from designspace.cli.options import Count, Fields
from designspace.cli.recipes import Seeds, TrainingOptions, usable, with_seeds
from designspace.data.data_source import DataSource
from designspace.spaces import catalog
from designspace.spaces.population import Population
from designspace.spaces.population_files import read_seed
from designspace.spaces.seeds import independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError, RunError
from designspace.support.text import counted
from designspace.sweeps.launch import check_fit
from designspace.sweeps.preflight import check_launch, check_training
from designspace.trials.data_note import write_note
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Keys of configs/explore.yaml, which says what they mean."""

    name: str
    spaces: tuple[str, ...] | None
    n: Count
    seeds: Seeds
    run: Path
    space: Fields


def run(options: Options) -> None:
    """Fetch the images, sample, check everything, train what is not done, analyse."""
    name, root = options.data.known_name, options.data.root or data.default_root()
    settings = {key: value for key, value in options.space.items() if key != "name"}
    if not options.spaces:
        raise InputError("spaces is empty; give names of design spaces, as spaces=[AnyNetXA,RegNetX]")
    named = (catalog.space(each, **settings) for each in options.spaces)
    spaces = list({space.name: space for space in named}.values())  # one that is listed twice is one run
    devices = options.launcher.gpus_per_trial or options.recipe["devices"]
    given = Recipe.from_dict({**options.recipe, "data": name, "devices": devices})
    recipe, note = usable(given, DataSource(name, root), options)
    for space in spaces:
        check_fit(space.template, recipe, root)
    origin, launcher = options.provenance(), options.launcher.make(options, root)
    data.prepare(name, root)
    folders = [RunFolder(options.run / space.name) for space in spaces]
    populations = [
        space.sample(options.n, population_seed(folder, space, options.seed))
        for folder, space in zip(folders, spaces, strict=True)
    ]
    for population in populations:
        check_training(recipe, population.space.network_columns(population.columns), root)
    for folder, population in zip(folders, populations, strict=True):
        folder.create(population, origin)
        write_note(folder.path, options.data.note(name))
    plans = {folder: with_seeds(folder, Plan(recipe, options.seed), options.seeds) for folder in folders}
    forecast = check_launch(plans, launcher)
    for line in filter(None, (note, shared_seed_note(populations), *forecast.notes)):
        print(line)
    each = f"{counted(options.n, 'network')} from each of {counted(len(folders), 'space')}"
    print(f"{options.name}: {each}, in {options.run}")
    launch.train(plans, launcher, wait=True)
    analyze.show(folders, options.run)


def population_seed(folder: RunFolder, space: DesignSpace, seed: int) -> int:
    """Return the seed to draw a space's population with: one of its own, so that populations are independent.

    A run that an earlier version drew with the typed seed itself keeps that, so that it is resumed and extended.
    """
    if folder.exists():
        with contextlib.suppress(RunError):  # `RunFolder.create` says what is wrong with a damaged run, or mends it
            if read_seed(folder.path) == seed:
                return seed
    return independent_seed(space, seed)


def shared_seed_note(populations: Sequence[Population]) -> str:
    """Say that an earlier version drew several of the populations with one seed; returns an empty text if not."""
    seeds = [population.seed for population in populations]
    names = [population.space.name for population in populations if seeds.count(population.seed) > 1]
    if not names:
        return ""
    return (
        f"note: an earlier version drew {', '.join(names)} with one seed, so these populations share random words and "
        "are not independent; another study (name=...) draws each with a seed of its own"
    )


if __name__ == "__main__":
    app.main("explore", run)
