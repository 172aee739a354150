"""Results of trained runs, matched with the spaces that were screened."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.results import Results
from designspace.spaces.constraints import Band
from designspace.spaces.population import Population
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder


@dataclass(frozen=True, eq=False)
class TrainedRuns:
    """Results of runs, each with the name of the screened space."""

    results: tuple[Results, ...]
    notes: tuple[str, ...]
    """What makes the runs differ from what was screened."""


def trained_results(
    runs: Sequence[RunFolder], spaces: Mapping[str, DesignSpace], limits: Sequence[Band]
) -> TrainedRuns:
    """Read the results of runs whose space and resolution were screened, without the networks that exceed a limit.

    Args:
        runs: run folders.
        spaces: the screened spaces, by name.
        limits: the limits of the screening.

    Raises:
        InputError: a folder is not a run, its space was not screened at this resolution, or all of its networks exceed
            a limit; or two runs are of the same space and resolution.
        RunError: a run cannot be read.
    """
    results: dict[str, Results] = {}
    notes = []
    for run in runs:
        if not run.exists():
            raise InputError(f"trained: {run.path} is not a run folder (of designspace.sample)")
        population = run.population()
        name = _name(run, population, spaces)
        if name in results:
            raise InputError(f"trained: more than one run is of {name}; give one of them")
        found = Results.read(run, name=name)
        fits = _meets(population, limits)
        kept = found.table["id"].isin(np.array(population.ids)[fits]).to_numpy()
        if not kept.any():
            raise InputError(f"trained: no network of {run.path} meets the limits")
        if not kept.all():
            notes.append(f"{run.path}: {int((~kept).sum())} of {kept.size} trials exceed a limit and are left out.")
        results[name] = dataclasses.replace(found, table=found.table[kept].reset_index(drop=True))
        notes += _other_limits(run, population, spaces[name], limits)
    return TrainedRuns(tuple(results.values()), tuple(notes))


def _name(run: RunFolder, population: Population, spaces: Mapping[str, DesignSpace]) -> str:
    """Return the name of the screened space that a run is of."""
    key = population.space.name, population.space.template.resolution
    names = {(space.name, space.template.resolution): name for name, space in spaces.items()}
    if key not in names:
        raise InputError(
            f"trained: {run.path} is of {key[0]} at {key[1]} pixels, which was not screened; screened are: "
            f"{', '.join(f'{space} at {side}' for space, side in names)}"
        )
    return names[key]


def _meets(population: Population, limits: Sequence[Band]) -> NDArray[np.bool_]:
    """Return which networks of a population meet the limits."""
    mask = np.ones(len(population), np.bool_)
    for limit in limits:
        mask &= limit.allows({limit.quantity: population.quantity(limit.quantity)})
    return mask


def _other_limits(run: RunFolder, population: Population, screened: DesignSpace, limits: Sequence[Band]) -> list[str]:
    """Return a note if the networks of a run were drawn from a space that differs from the screened one."""
    space = population.space
    if not isinstance(space, DesignSpace):
        return [f"{run.path}: its networks are a given list, so they need not be like those of the space."]
    plain = dataclasses.replace(space, constraints=screened.constraints)
    if plain != screened:
        return [f"{run.path}: its space has other axes or images than the screened space of this name."]
    others = [limit for limit in space.constraints if limit not in (*screened.constraints, *limits)]
    if others:
        words = ", ".join(f"no {limit}" for limit in others)
        return [f"{run.path}: its networks also had to meet limits that were not screened: {words}."]
    return []
