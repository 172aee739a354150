"""Sampling of populations for commands, also under a limit on latency, which takes measurements."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from designspace.cli.tables import counting
from designspace.spaces.candidates import ACCEPTED
from designspace.spaces.latency import LatencyLimit
from designspace.spaces.population import Population
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.machine import available_cores
from designspace.support.text import counted
from designspace.trials.folder import RunFolder

if TYPE_CHECKING:
    from designspace.measurement.limited import LimitedSampling


def with_threads(space: DesignSpace) -> DesignSpace:
    """Return a space whose limit on latency, if any, names the number of threads: by default all available cores."""
    return space if space.latency is None else dataclasses.replace(space, latency=with_all_cores(space.latency))


def with_all_cores(limit: LatencyLimit) -> LatencyLimit:
    """Return a limit that names the number of threads: by default all available cores."""
    if limit.setting.threads or limit.setting.device == "cuda":
        return limit
    return dataclasses.replace(limit, setting=dataclasses.replace(limit.setting, threads=available_cores()))


def sample_for(folder: RunFolder, space: DesignSpace, n: int, seed: int) -> Population:
    """Draw a population for a run folder. If the space has a limit on latency, measure networks and say how many.

    Raises:
        InputError: the space has too few networks, or they cannot be measured.
        RunError: a file cannot be read or written.
    """
    if space.latency is None:
        return space.sample(n, seed)
    _check_folder(folder, space, seed)
    from designspace.measurement.limited_folder import sample_into  # imports torch, which other spaces do not need

    with counting(f"{space.name}, measuring") as start:
        update = start(n)
        population, search = sample_into(
            folder.path, space, n, seed, lambda search: update(search.accepted, f"{len(search.measured)} measured")
        )
    print(_summary(search, population))
    return population


def _check_folder(folder: RunFolder, space: DesignSpace, seed: int) -> None:
    """Raise before anything is measured for a folder that holds another population."""
    if not folder.exists():
        return
    existing = folder.population(verify=False)
    if (existing.space, existing.seed) != (space, seed):
        raise InputError(
            f"{folder.path} already holds another population: {len(existing)} networks of {existing.described}. "
            "Nothing was measured; choose another folder with run=..."
        )


def _summary(search: LimitedSampling, population: Population) -> str:
    """Return what a search measured, as text."""
    measured, candidates = search.measured, search.decisions.values()
    accepted = sum(candidate.verdict == ACCEPTED for candidate in candidates)
    lines = [
        f"{search.limit}: {accepted} of {counted(len(candidates), 'candidate')} accepted, {len(measured)} measured "
        f"({len(measured) / len(population):.1f} per accepted network)"
    ]
    if disturbed := sum(cost.disturbed for cost in search.costs):
        lines.append(
            f"warning: {counted(disturbed, 'network')} could not be measured undisturbed, so networks may have been "
            "rejected that are within the limit; use a quiet machine and another folder"
        )
    if search.predictor is not None:
        audited, within = search.audit()
        lines.append(
            "the others were left out by a prediction, whose median error on networks it has not seen is "
            f"{search.predictor.median_error:.1%}; of {audited} measured all the same, {within} "
            f"{'was' if within == 1 else 'were'} within the limit"
        )
    return "\n".join(lines)
