"""Draw a population of networks from a design space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app, data_words
from designspace.cli.options import Count, DataOptions, Fields, Seed
from designspace.cli.tables import print_table
from designspace.data.data_source import data_of
from designspace.spaces import catalog, size
from designspace.spaces.constraints import QUANTITIES, Band
from designspace.spaces.own import read_own
from designspace.spaces.population import DRAWS, DUPLICATE, Population
from designspace.spaces.seeds import drawn_with_same_seed, independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.text import command, counted, exact, quantity
from designspace.trials.data_note import read_note, write_note
from designspace.trials.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/sample.yaml, which says what they mean."""

    space: Fields
    data: DataOptions
    n: Count
    seed: Seed
    run: Path | None
    file: Path | None
    regime: str
    count: bool


def run(options: Options) -> None:
    """Sample, write, and say what was drawn; or only count."""
    space = catalog.space(**options.space) if options.file is None else own_space(options.file, options)
    if options.count:
        show_size(space)
        return
    name = named_data(space, options)
    population = space.sample(options.n, options.seed)
    folder = RunFolder(options.run or Path(f"runs/{space.name}"))
    population = folder.create(population, options.provenance())
    if name is not None and (options.is_typed("data", "data.name", "input") or read_note(folder.path) is None):
        write_note(folder.path, options.data.note(name))
    show(population)
    if options.file is None and (note := budget_note(population, options)):
        print(note)
    for note in filter(None, (duplicates_note(population), shared_seed_note(folder, population))):
        print(note)
    number = len(population)
    print(f"{counted(number, 'network')} {'is' if number == 1 else 'are'} in {folder.path / 'population.csv'}")
    show_next(folder, options.data.root)


def named_data(space: DesignSpace, options: Options) -> str | None:
    """Return the data set that the networks of a space are for; None if it was described but not named.

    Raises:
        InputError: the data set that was typed has other images, or one class alone.
    """
    template, name = space.template, options.data.name
    if template.num_classes < 2:
        raise InputError(f"{space.name}: nothing can be learned from images of one class; there must be 2 or more")
    if name is None:
        return None
    shape = data.shape(name, options.data.root)
    is_scaled = name == "imagenet"  # its recipes crop it to any size
    fits = (template.in_channels, template.num_classes) == (shape.channels, shape.num_classes)
    if fits and (template.resolution == shape.size or is_scaled):
        return name
    if options.is_typed("data", "data.name"):
        drawn_for = data.DataShape(template.in_channels, template.resolution, template.num_classes)
        raise InputError(
            f"data={name} has {shape.describe()}, but the networks of {space.name} would be for "
            f"{drawn_for.describe()}; leave space.in_channels, space.resolution and space.num_classes out, or data"
        )
    return None


def budget_note(population: Population, options: Options) -> str:
    """Say what would suit the images better, where it was not typed; an empty text if there is nothing to say."""
    space = population.space
    template = space.template
    is_small = template.resolution <= data_words.SMALL
    hints = []
    if is_small and template.stem.kind != "cifar" and not options.is_typed("space.stem"):
        hints.append(f"the {template.stem.kind} stem shrinks images that are small already: space.stem=cifar does not")
    limited = {constraint.quantity for constraint in space.constraints if isinstance(constraint, Band)}
    is_limited = limited or options.is_typed(*(f"space.{key}" for key in QUANTITIES))
    if not is_limited and space.name not in data_words.WITHOUT_BUDGET:
        column = population.columns["flops"]
        low, high = (quantity(float(cost)) for cost in (column.min(), column.max()))
        band = "[{:g}e6,{:g}e6]".format(*(cost / 1e6 for cost in data_words.budget(template.resolution)))
        hints.append(
            f"no limit was set on cost, {low} to {high} multiply-adds: space.flops={band} would suit the images"
        )
    return f"note: {'; '.join(hints)}" if hints else ""


NOTABLE_DUPLICATES = 0.05
"""Share of duplicates among the accepted draws above which `sample` says what they do to a population."""


def duplicates_note(population: Population) -> str:
    """Say that many draws were duplicates, and what that does; returns an empty text if they were few."""
    duplicates = population.rejected.get(DUPLICATE, 0)
    share = duplicates / (len(population) + duplicates)
    if share <= NOTABLE_DUPLICATES:
        return ""
    remedy = (
        f"weights by the column {DRAWS} make up for it: edf(results.errors(), results.draws())"
        if DRAWS in population.columns
        else f"a new run folder would have the column {DRAWS}, which makes up for it"
    )
    return (
        f"note: {share:.0%} of the accepted draws gave an earlier network again, so the population is flatter than the "
        f"law of the space; {remedy}"
    )


def shared_seed_note(folder: RunFolder, population: Population) -> str:
    """Say which run beside this one shares its random words; returns an empty text if there is none."""
    other = drawn_with_same_seed(folder.path, population.space, population.seed)
    if other is None:
        return ""
    return (
        f"note: {other} was drawn from another space with seed {population.seed} too, so the two populations share "
        "random words and are not independent; for an independent one, sample into another folder (run=...) with "
        f"seed={independent_seed(population.space, population.seed)}"
    )


def show_next(folder: RunFolder, root: Path | None) -> None:
    """Print the commands that train the networks."""
    try:
        source = data_of(folder, root=root)
    except InputError as error:
        print(f"to train them: {error}")
        return
    if not data.is_prepared(source.name, source.root):
        print(f"prepare the images first: {data.how_to_prepare(source.name)}")
    print(f"train them: {command('launch', run=folder.path)}")


SHAPE = ("in_channels", "num_classes", "resolution")
"""What the images demand of networks: it must hold in a file too."""
USUAL = ("stem", "stem_width", "flops")
"""What a choice of images brings along, unless the file says otherwise."""


def own_space(file: Path, options: Options) -> DesignSpace:
    """Read the space of a file, and complete it by what was typed about images, stem and limits.

    Raises:
        InputError: the file describes no space, or disagrees with what was typed.
    """
    if options.is_typed("space"):
        raise InputError("file=... and space=... are two spaces; leave one of them out")
    if options.regime != "paper":
        raise InputError("regime=auto chooses the ranges of axes, and file=... has its own; leave one of them out")
    values = options.space
    told = {name: value for name, value in values.items() if options.is_typed(f"space.{name}")}
    usual = {}
    if options.is_typed("input", "data", "data.name"):
        told = {**{name: values[name] for name in SHAPE}, **told}
        usual = {name: values[name] for name in USUAL if name not in told}
    space = read_own(file, told, usual)
    template = space.template
    print(
        f"{space.name}, from {file}: for images of {template.in_channels} channels and {template.resolution} "
        f"x {template.resolution} pixels in {template.num_classes} classes, {template.stem.kind} stem"
    )
    return space


def show_size(space: DesignSpace) -> None:
    """Print how many networks a space has."""
    distinct = size.distinct_networks(space)
    rows = [
        ("settings, as drawn", *exact(size.settings(space))),
        ("by the formulas of the paper's table 1", "", exact(round(size.paper_figure(space)))[1]),
        (
            "distinct networks, group widths repaired",
            *(exact(distinct) if distinct is not None else ("too many to list", "")),
        ),
    ]
    print_table(f"{space.name}, {space.num_stages} stages", ("", "exactly", "about"), rows)
    print("limits on flops, params and activations are not taken into account; nothing was sampled")


def show(population: Population) -> None:
    """Print how a population was drawn and what its networks cost."""
    import numpy as np

    name = population.space.name
    rows = [("drawn", f"{population.drawn:,}", "")]
    reasons = {"accepted": len(population), **population.rejected}
    rows += [(reason, f"{k:,}", f"{k / population.drawn:.2%}") for reason, k in reasons.items()]
    print_table(f"{name}, seed {population.seed}", ("", "networks", "of draws"), rows)
    depth = sum(population.columns[f"d{i}"] for i in range(1, population.space.num_stages + 1))
    quantities = {q: population.columns[q] for q in ("flops", "params", "activations")} | {"depth": depth}
    points = (0, 5, 25, 50, 75, 95, 100)
    # What np.percentile does, without the 26 ms that its first call takes to import masked arrays.
    ranks = np.array(points) / 100 * (len(population) - 1)
    quantiles = {q: np.interp(ranks, np.arange(len(population)), np.sort(column)) for q, column in quantities.items()}
    table = [(q, *(quantity(v) for v in values)) for q, values in quantiles.items()]
    header = ("quantiles", "min", *(f"{p}%" for p in points[1:-1]), "max")
    print_table("", header, table)


if __name__ == "__main__":
    app.main("sample", run)
