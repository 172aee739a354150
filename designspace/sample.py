"""Sample networks from a design space, or take those of a given list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app, data_option
from designspace.cli.given_list import SHAPE, given_list
from designspace.cli.options import Count, DataOptions, Fields, Seed
from designspace.cli.tables import print_table
from designspace.data.data_source import DataSource, check_unchanged, data_of, note_of
from designspace.networks.quantities import COUNTED
from designspace.spaces import catalog, size
from designspace.spaces.constraints import QUANTITIES, Band
from designspace.spaces.custom import read_custom_space
from designspace.spaces.network_list import NetworkSource
from designspace.spaces.population import DRAWS, DUPLICATE, Population
from designspace.spaces.seeds import drawn_with_same_seed, independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.text import command, counted, exact, prefixed
from designspace.trials.data_note import read_note, write_note
from designspace.trials.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/sample.yaml, which describes them."""

    space: Fields
    data: DataOptions
    n: Count
    seed: Seed
    run: Path | None
    file: Path | None
    networks: tuple[str, ...] | None
    regime: str
    count: bool


def run(options: Options) -> None:
    """Sample and write a population, and print a summary; or only count the networks of the space."""
    if options.networks is not None:
        take_list(options.networks, options)
        return
    space = catalog.space(**options.space) if options.file is None else custom_space(options.file, options)
    if options.count:
        show_size(space)
        return
    name = named_data(space, options)
    folder, population = write(space.sample(options.n, options.seed), name, options)
    show_draws(population)
    show_costs(population)
    if options.file is None and (note := budget_note(space, population, options)):
        print(note)
    for note in filter(None, (duplicates_note(population), shared_seed_note(folder, space, population))):
        print(note)
    show_next(folder, len(population), options.data.root)


def take_list(items: Sequence[str], options: Options) -> None:
    """Write the networks of a list as a population, and print a summary."""
    networks, note = given_list(items, options, options.space)
    name = named_data(networks, options)
    folder, population = write(networks.population(), name, options)
    side = networks.resolution
    print(f"{networks.name}, a given list: counted for images of {side} x {side} pixels")
    show_costs(population)
    if note:
        print(note)
    show_next(folder, len(population), options.data.root)


def write(population: Population, name: str | None, options: Options) -> tuple[RunFolder, Population]:
    """Write a population to its run folder, with the data set if that is known; return both as they are then."""
    folder = RunFolder(options.run or Path(f"runs/{population.space.name}"))
    if name is not None:
        check_unchanged(folder, DataSource(name, options.data.root or data.default_root()))
    population = folder.create(population, options.provenance())
    if name is not None and (options.is_given("data", "data.name", "input") or read_note(folder.path) is None):
        write_note(folder.path, note_of(name, options.data.root))
    return folder, population


def named_data(space: NetworkSource, options: Options) -> str | None:
    """Return the data set for the networks of a space or list; None if its images were described instead of named.

    Raises:
        InputError: the given data set has other images, or only one class.
    """
    template, name = space.template, options.data.name
    if template.num_classes < 2:
        raise InputError(
            f"{space.name}: images of a single class cannot be used for training; at least 2 classes are needed"
        )
    if name is None:
        return None
    shape = data.shape(name, options.data.root)
    is_scaled = name == "imagenet"  # its recipes crop the images to any size
    fits = (template.in_channels, template.num_classes) == (shape.channels, shape.num_classes)
    if fits and (template.resolution == shape.size or is_scaled):
        return name
    if options.is_given("data", "data.name"):
        channels, size, classes = template.in_channels, template.resolution, template.num_classes
        space_shape = shape._replace(channels=channels, size=size, num_classes=classes)
        raise InputError(
            f"data={name} has {shape.describe()}, but the networks of {space.name} would be for "
            f"{space_shape.describe()}; leave out space.in_channels, space.resolution and space.num_classes, or data"
        )
    return None


def budget_note(space: DesignSpace, population: Population, options: Options) -> str:
    """Return a note on options that would suit the images better and were not given; may be an empty text."""
    template = space.template
    is_small = template.resolution <= data_option.SMALL_SIDE
    hints = []
    if is_small and template.stem.kind != "cifar" and not options.is_given("space.stem"):
        hints.append(f"the {template.stem.kind} stem shrinks images that are already small; space.stem=cifar does not")
    limited_quantities = {constraint.quantity for constraint in space.constraints if isinstance(constraint, Band)}
    is_limited = limited_quantities or options.is_given(*(f"space.{key}" for key in COUNTED))
    if not is_limited and space.name not in data_option.WITHOUT_BUDGET:
        column = population.columns["flops"]
        low, high = (prefixed(float(cost)) for cost in (column.min(), column.max()))
        band = "[{:g}e6,{:g}e6]".format(*(cost / 1e6 for cost in data_option.budget(template.resolution)))
        hints.append(
            f"the cost is not limited: {low} to {high} multiply-adds; space.flops={band} would suit the images"
        )
    return f"note: {'; '.join(hints)}" if hints else ""


NOTABLE_DUPLICATES = 0.05
"""Fraction of duplicates among the accepted draws above which `sample` prints a note about their effect."""


def duplicates_note(population: Population) -> str:
    """Return a note on the effect of duplicates if many draws were duplicates, else an empty text."""
    duplicates = population.rejected.get(DUPLICATE, 0)
    share = duplicates / (len(population) + duplicates)
    if share <= NOTABLE_DUPLICATES:
        return ""
    remedy = (
        f"to correct for this, weight by the column {DRAWS}: edf(results.errors(), results.draws())"
        if DRAWS in population.columns
        else f"a new run folder would have the column {DRAWS}, which corrects for this"
    )
    return (
        f"note: {share:.0%} of the accepted draws repeated an earlier network, so the population is flatter than the "
        f"distribution of the space; {remedy}"
    )


def shared_seed_note(folder: RunFolder, space: DesignSpace, population: Population) -> str:
    """Return a note if another run in the same folder shares the random numbers, else an empty text."""
    other = drawn_with_same_seed(folder.path, space, population.seed)
    if other is None:
        return ""
    return (
        f"note: {other} was also sampled with seed {population.seed}, from another space, so the two populations share "
        "random numbers and are not independent; for an independent one, sample into another folder (run=...) with "
        f"seed={independent_seed(space, population.seed)}"
    )


def show_next(folder: RunFolder, number: int, root: Path | None) -> None:
    """Print where the networks are, and the commands to type next to train them."""
    print(f"{counted(number, 'network')} {'is' if number == 1 else 'are'} in {folder.path / 'population.csv'}")
    try:
        source = data_of(folder, root=root)
    except InputError as error:
        print(f"to train them: {error}")
        return
    if not data.is_prepared(source.name, source.root):
        print(f"prepare the images first: {data.how_to_prepare(source.name)}")
    print(f"train them: {command('launch', run=folder.path)}")


IMAGE_DEFAULTS = ("stem", "stem_width", "flops")
"""Settings with defaults that depend on the images, unless the file has them."""


def custom_space(file: Path, options: Options) -> DesignSpace:
    """Read a space from a file, and complete it with the given options for images, stem and limits.

    Raises:
        InputError: the file does not describe a space, or contradicts the options.
    """
    if options.is_given("space"):
        raise InputError("file=... and space=... are two spaces; leave one of them out")
    if options.regime != "paper":
        raise InputError("regime=auto chooses the ranges of the axes, but file=... has its own; leave one of them out")
    values = options.space
    given = {name: value for name, value in values.items() if options.is_given(f"space.{name}")}
    defaults = {}
    if options.is_given("input", "data", "data.name"):
        given = {**{name: values[name] for name in SHAPE}, **given}
        defaults = {name: values[name] for name in IMAGE_DEFAULTS if name not in given}
    space = read_custom_space(file, given, defaults)
    template = space.template
    print(
        f"{space.name}, from {file}: for images of {template.in_channels} channels and {template.resolution} "
        f"x {template.resolution} pixels in {template.num_classes} classes, {template.stem.kind} stem"
    )
    return space


def show_size(space: DesignSpace) -> None:
    """Print the number of networks in a space."""
    distinct = size.distinct_networks(space)
    rows = [
        ("settings, as sampled", *exact(size.settings(space))),
        ("by the formulas of the paper's table 1", "", exact(round(size.paper_size(space)))[1]),
        (
            "distinct networks, group widths repaired",
            *(exact(distinct) if distinct is not None else ("too many to list", "")),
        ),
    ]
    print_table(f"{space.name}, {space.num_stages} stages", ("", "exact", "approximate"), rows)
    print("limits on costs are not taken into account; nothing was sampled")


def show_draws(population: Population) -> None:
    """Print how a population was sampled."""
    name = population.space.name
    rows = [("sampled", f"{population.drawn:,}", "")]
    reasons = {"accepted": len(population), **population.rejected}
    rows += [(reason, f"{k:,}", f"{k / population.drawn:.2%}") for reason, k in reasons.items()]
    print_table(f"{name}, seed {population.seed}", ("", "networks", "of draws"), rows)


def show_costs(population: Population) -> None:
    """Print the costs of the networks of a population."""
    import numpy as np

    # Custom classes would be run once per shape to find their peak memory.
    names = QUANTITIES if population.space.imported_names else (*QUANTITIES, "peak_memory")
    depth = sum(population.columns[f"d{i}"] for i in range(1, population.space.num_stages + 1))
    columns = {name: population.quantity(name) for name in names} | {"depth": depth}
    points = (0, 5, 25, 50, 75, 95, 100)
    # The same as np.percentile, whose first call takes 26 ms to import masked arrays.
    ranks = np.array(points) / 100 * (len(population) - 1)
    table = []
    for name, column in columns.items():
        unit = COUNTED[name].unit if name in COUNTED else ""
        quantiles = np.interp(ranks, np.arange(len(population)), np.sort(column))
        table.append((name, *(prefixed(value, unit) for value in quantiles)))
    header = ("quantiles", "min", *(f"{p}%" for p in points[1:-1]), "max")
    print_table("", header, table)


if __name__ == "__main__":
    app.main("sample", run)
