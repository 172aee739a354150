"""Draw a population of networks from a design space into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.cli.provenance import provenance
from designspace.cli.tables import print_table
from designspace.spaces import catalog, size
from designspace.spaces.own import read_own
from designspace.spaces.population import Population
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.text import exact, quantity
from designspace.trials.folder import RunFolder


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Sample, write, and say what was drawn; or only count."""
    space = own_space(config, typed) if config["file"] else catalog.space(**config["space"])
    if config["count"]:
        show_size(space)
        return
    population = space.sample(config["n"], config["seed"])
    folder = RunFolder(Path(config["run"] or f"runs/{space.name}"))
    folder.create(population, provenance("sample", typed))
    show(population)
    print(f"{len(population)} networks are in {folder.path / 'population.csv'}")
    print(f"train them: python -m designspace.launch run={folder.path}")


SHAPE = ("in_channels", "num_classes", "resolution")
"""What the images demand of networks: it must hold in a file too."""
USUAL = ("stem", "stem_width", "flops")
"""What a choice of images brings along, unless the file says otherwise."""


def own_space(config: app.Config, typed: Sequence[str]) -> DesignSpace:
    """Read the space of a file, and complete it by what was typed about images, stem and limits.

    Raises:
        InputError: the file describes no space, or disagrees with what was typed.
    """
    if app.is_typed("space", typed):
        raise InputError("file=... and space=... are two spaces; leave one of them out")
    if config["regime"] != "paper":
        raise InputError("regime=auto chooses the ranges of axes, and file=... has its own; leave one of them out")
    values = config["space"]
    told = {name: value for name, value in values.items() if app.is_typed(f"space.{name}", typed)}
    usual = {}
    if any(app.is_typed(key, typed) for key in ("input", "data", "data.name")):
        told = {**{name: values[name] for name in SHAPE}, **told}
        usual = {name: values[name] for name in USUAL if name not in told}
    space = read_own(Path(str(config["file"])), told, usual)
    template = space.template
    print(
        f"{space.name}, from {config['file']}: for images of {template.in_channels} channels and {template.resolution} "
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
