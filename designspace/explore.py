"""Sample several spaces, train their networks, and compare them."""

from __future__ import annotations

from designspace.sweeps import head_start

if __name__ == "__main__":
    head_start.begin_early()  # torch takes twice as long as the imports below and the checks

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import analyze, data, launch
from designspace.cli import app
from designspace.cli.decisions import DECISIONS_FILE, DecisionLog
from designspace.cli.design_loop import Budget, LoopOptions, Study, check_loop, refine_in_rounds
from designspace.cli.early_stops import checked_fidelity, train_some_to_the_end
from designspace.cli.latency import sample_for, with_threads
from designspace.cli.looks import LookedAt, rule_of, train_with_looks
from designspace.cli.options import Count, Fields, StopOptions
from designspace.cli.recipes import Seeds, TrainingOptions, with_available_images, with_seeds
from designspace.data.data_source import DataSource, check_unchanged, note_of
from designspace.spaces import catalog
from designspace.spaces.population import Population
from designspace.spaces.population_files import read_seed
from designspace.spaces.seeds import independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError, RunError
from designspace.support.text import counted, prefixed
from designspace.sweeps.launch import check_fit
from designspace.sweeps.preflight import check_launch, check_population
from designspace.trials.data_note import write_note
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe_axes import RecipeAxes


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Keys of configs/explore.yaml, which describes them."""

    name: str
    spaces: tuple[str, ...] | None
    n: Count
    regimes: tuple[tuple[float, ...], ...] | None
    seeds: Seeds
    run: Path
    stop: StopOptions
    refine: LoopOptions
    budget: Budget
    space: Fields


def run(options: Options) -> None:
    """Fetch the images, sample, check everything, train the networks that are not done, and analyse the runs."""
    with head_start.importing_torch(options.launcher.is_local):
        folders = train_spaces(options)
    analyze.show(folders, options.run, trends="flops" if options.regimes else None)


def train_spaces(options: Options) -> list[RunFolder]:
    """Fetch the images, sample, check everything, train the networks that are not done, and return the runs."""
    name, root = options.data.known_name, options.data.root or data.default_root()
    spaces = spaces_of(options)
    devices = options.launcher.gpus_per_trial or options.recipe["devices"]
    fields = {**options.recipe, "data": name, "devices": devices}
    axes = RecipeAxes.from_fields(fields)
    recipe, note = with_available_images(axes.recipe(fields), DataSource(name, root), options)
    plan = Plan(recipe, options.seed, axes=axes)
    check_loop(options.refine, options.budget, options.n, options.n * options.seeds * len(spaces))
    fidelity = checked_fidelity(options.stop, plan, seeds=options.seeds, rounds=options.refine.rounds)
    for space in spaces:
        check_fit(space.template, recipe, root)
    origin, launcher = options.provenance(), options.launcher.make(options, root)
    data.prepare(name, root)
    folders = [RunFolder(options.run / space.name) for space in spaces]
    populations = [
        sample_for(folder, space, options.n, population_seed(folder, space, options.seed))
        for folder, space in zip(folders, spaces, strict=True)
    ]
    for population in populations:
        check_population(plan, population, root)
    for folder in folders:
        check_unchanged(folder, DataSource(name, root))
    for folder, population in zip(folders, populations, strict=True):
        folder.create(population, origin)
        write_note(folder.path, note_of(name, options.data.root))
    plans = {folder: with_seeds(folder, plan, options.seeds) for folder in folders}
    forecast = check_launch(plans, launcher)
    for line in filter(None, (note, shared_seed_note(populations), *forecast.notes)):
        print(line)
    each = f"{counted(options.n, 'network')} from each of {counted(len(folders), 'space')}"
    print(f"{options.name}: {each}, in {options.run}")
    plans = {folder: forecast.with_metric(plan) for folder, plan in plans.items()}
    if options.stop.looks > 1:
        sweep = LookedAt(plans, (), rule_of(options.stop), options.run / DECISIONS_FILE)
        train_with_looks(sweep, lambda some, keys: launch.train(some, launcher, wait=True, only=keys))
    elif fidelity is not None:
        train_some_to_the_end(
            plans, fidelity, lambda some, keys, end: launch.train(some, launcher, wait=True, only=keys, epochs=end)
        )
    else:
        launch.train(plans, launcher, wait=True)
    if options.refine.rounds:
        study = Study(
            path=options.run,
            plan=plans[folders[0]],
            n=options.n,
            seed=options.seed,
            train=lambda more: launch.train(more, launcher, wait=True),
            budget=options.budget,
            provenance=origin,
            log=DecisionLog(options.run / DECISIONS_FILE),
            runs=list(folders),
        )
        folders = [run for start in folders for run in refine_in_rounds(study, start, options.refine)]
    return folders


def spaces_of(options: Options) -> list[DesignSpace]:
    """Return the spaces of a study, each once, in each regime.

    Raises:
        InputError: there are none, or a regime is not a band.
    """
    if not options.spaces:
        raise InputError("spaces is empty; give names of design spaces, such as spaces=[AnyNetXA,RegNetX]")
    settings = {key: value for key, value in options.space.items() if key != "name"}
    spaces = [with_threads(catalog.space(name, **settings)) for name in options.spaces if not options.regimes]
    for name in options.spaces if options.regimes else ():
        for regime in options.regimes or ():
            if len(regime) != 2 or not 0 < regime[0] < regime[1]:
                raise InputError(
                    f"each of regimes must be a minimum and a maximum of multiply-adds, such as "
                    f"[[1e6,1.5e6],[4e6,6e6]], not {list(regime)}"
                )
            space = with_threads(catalog.space(name, **{**settings, "flops": list(regime)}))
            spaces.append(dataclasses.replace(space, name=regime_name(name, regime)))
    return list({space.name: space for space in spaces}.values())  # a space that is listed twice is one run


def regime_name(space: str, regime: Sequence[float]) -> str:
    """Return the name of a space in a regime.

    >>> regime_name("RegNetX", (1e6, 1.44e6))
    'RegNetX-1.20MF'
    """
    return f"{space}-{prefixed(math.sqrt(regime[0] * regime[1])).replace(' ', '')}F"


def population_seed(folder: RunFolder, space: DesignSpace, seed: int) -> int:
    """Return the seed for the population of a space; each space has its own, so that populations are independent.

    A run that an earlier version sampled with ``seed`` itself keeps it, so that it can be resumed and extended.
    """
    if folder.exists():
        with contextlib.suppress(RunError):  # `RunFolder.create` reports or repairs a damaged run
            if read_seed(folder.path) == seed:
                return seed
    return independent_seed(space, seed)


def shared_seed_note(populations: Sequence[Population]) -> str:
    """Return a note if an earlier version sampled several populations with the same seed, else an empty text."""
    seeds = [population.seed for population in populations]
    names = [population.space.name for population in populations if seeds.count(population.seed) > 1]
    if not names:
        return ""
    return (
        f"note: an earlier version sampled {', '.join(names)} with the same seed, so these populations share random "
        "numbers and are not independent; a new study (name=...) samples each with its own seed"
    )


if __name__ == "__main__":
    app.main("explore", run)
