"""The figures of a report: which ones the results have data for, and how several are drawn at the same time."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial

from designspace.analysis.comparison import Comparison
from designspace.analysis.figures import Drawing
from designspace.analysis.overview import (
    MOST_PAIRS,
    curves_figure,
    effects_figure,
    importance_figure,
    maps_figure,
    networks_figure,
    pair_figures,
    paired_figure,
    parameters_figure,
    pareto_figure,
    search_figure,
)
from designspace.analysis.papers.designing import complexity_of_networks, parameter_trends
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions import same_training
from designspace.analysis.quantities import varying_quantities
from designspace.analysis.results import Results
from designspace.analysis.trends import common_parameters
from designspace.support.errors import InputError
from designspace.support.forks import in_forks

FILES = ("svg", "csv")
"""Formats of the files of each figure."""
EDF_FILES = ("pdf", "png")
"""Further formats of the EDFs."""
_BUDGET = re.compile(r"-\d+(\.\d+)?[kMG]?F$")
"""The budget at the end of a name: multiply-adds."""
Draw = Callable[[], Drawing | None]
"""Draws a figure; returns None if the results turn out to have too little data for it."""


def figures_of(
    results: Sequence[Results],
    comparisons: Sequence[Comparison],
    *,
    every: bool = False,
    level: float = 0.05,
    seed: int = 0,
) -> list[Draw]:
    """Return functions that draw the figures of a report besides its EDFs, as far as the results have the data.

    Args:
        results: the results of one or more runs.
        comparisons: comparisons of all pairs of runs that can be compared.
        every: also draw the figures of each run that take longer.
        level: one minus the confidence of bands and intervals.
        seed: seed of bootstraps and forests.
    """
    finished = Populations.of(results).with_errors.members
    done = [population for population in finished if (population.table["status"] == "done").any()]
    figures: list[Draw] = []
    if comparisons:
        figures += [
            partial(effects_figure, finished, comparisons),
            partial(pair_figures, finished, level=level, seed=seed),
        ]
    for number, pair in enumerate(pairs_of_same_networks(finished)[:MOST_PAIRS], start=1):
        figures.append(partial(_numbered, paired_figure, *pair, number=number))
    if finished:
        figures.append(partial(search_figure, finished))
    costed = [population for population in done if population.table["flops"].notna().any()]
    if costed:
        figures.append(partial(pareto_figure, costed))
    staged = [population for population in done if population.num_stages]
    if staged:
        figures.append(partial(networks_figure, staged))
    if any(population.histories for population in done):
        figures.append(partial(curves_figure, done))
    if every and costed:
        figures.append(partial(complexity_of_networks, costed))
    for number, population in enumerate(finished if every else (), start=1):
        if {"d", "w_mean", "flops", "activations"} <= {varying.name for varying in varying_quantities(population)}:
            figures.append(partial(_numbered, maps_figure, population, number=number))
        if varying_quantities(population):
            figures.append(partial(_numbered, parameters_figure, population, number=number))
        figures.append(partial(_importance_figure, population, number, seed=seed))
    return figures


def _numbered(figure: Callable[..., Drawing], *results: Results, number: int) -> Drawing:
    """Draw a figure of which a report has several, with its number in its name."""
    drawing = figure(*results)
    return dataclasses.replace(drawing, name=f"{drawing.name}_{number}")


def _importance_figure(results: Results, number: int, *, seed: int) -> Drawing | None:
    """Draw which parameters of a population matter, or return None if that cannot be estimated."""
    with contextlib.suppress(InputError):  # too few networks, or nothing that could decide
        return _numbered(partial(importance_figure, seed=seed), results, number=number)
    return None


def pairs_of_same_networks(results: Sequence[Results]) -> list[tuple[Results, Results]]:
    """Return the pairs of runs with at least five finished networks in common that were trained differently."""
    networks = {run.name: set(run.table["id"][run.counted()]) for run in results}
    unique = [run for run in results if len(networks[run.name]) == int(run.counted().sum())]
    return [
        (a, b)
        for a, b in itertools.combinations(unique, 2)
        if len(networks[a.name] & networks[b.name]) >= 5 and not _are_same_trials(a, b)
    ]


def _are_same_trials(a: Results, b: Results) -> bool:
    """Return whether common networks have the same recipe and seed, so that a comparison would be pointless."""
    seeds = [set(run.table["seed"]) for run in (a, b)]
    return seeds[0] == seeds[1] and same_training(a, b).holds


def trend_figures(results: Sequence[Results], x: str) -> list[Draw]:
    """Return functions that draw the best values of each parameter of a space with several budgets against a quantity.

    Runs belong to one space if their names are equal without the budget at the end: RegNetX-1.20MF, RegNetX-4.80MF.
    """
    groups: dict[str, list[Results]] = {}
    for run in results:
        if run.counted().any():
            groups.setdefault(_BUDGET.sub("", run.name), []).append(run)
    return [
        partial(_trend_figure, name, regimes, x)
        for name, regimes in groups.items()
        if len(regimes) > 1 and common_parameters(regimes)
    ]


def _trend_figure(name: str, regimes: Sequence[Results], x: str) -> Drawing:
    """Draw the best values of each parameter of a space against a quantity."""
    return dataclasses.replace(parameter_trends(regimes, x), name=f"trends_{name}", title=f"Trends of {name}")


def drawn(edf: Drawing, figures: Sequence[Draw]) -> list[Drawing]:
    """Draw figures, and render the files of these and of the EDFs, several at a time; return the EDFs first."""
    tasks: list[Draw] = [partial(edf.prepared, *FILES, *EDF_FILES), *(partial(_drawn, figure) for figure in figures)]
    return [drawing for drawing in in_forks(tasks) if drawing]


def _drawn(figure: Draw) -> Drawing | None:
    """Draw a figure and render its files."""
    drawing = figure()
    return None if drawing is None else drawing.prepared(*FILES)
