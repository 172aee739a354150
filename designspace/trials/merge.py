"""Copying finished trials from other run folders into a run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.spaces.population import Population
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import as_run_errors, concerns_all
from designspace.trials.claims import ClaimLost
from designspace.trials.fidelity import read_standings
from designspace.trials.folder import RunFolder
from designspace.trials.plan import NO_REPEATS, Plan
from designspace.trials.state import TrialState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """Numbers of trials that were copied from another folder, or not."""

    copied: int = 0
    """Trials whose files were copied."""
    already_finished: int = 0
    """Trials that were already finished in both."""
    differing: int = 0
    """Trials among these whose final errors differ; the target's results stay."""
    shared: int = 0
    """Networks that both populations hold."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A folder to copy trials from."""

    folder: RunFolder
    population: Population
    plan: Plan | None
    kernels: str | None
    is_copy: bool
    """Whether its population and the target's begin with each other, so that the target may become the longer one."""

    def ids(self, target_ids: Sequence[str]) -> list[str]:
        """Return the ids of the networks that both populations hold, in the order of this one."""
        known = set(target_ids)
        return [id_ for id_ in self.population.ids if id_ in known]


def merge(target: RunFolder, others: Sequence[RunFolder], provenance: Mapping[str, Any]) -> list[MergeResult]:
    """Copy finished trials of other folders into ``target``, and return the result for each folder.

    All folders must have the same recipe and training seed, and the same kernels on CPUs if these are recorded; a
    target without recorded kernels takes those of the others. There are two kinds of other folders:

    - Copies of the target hold a population of the same space and seed, and one of the two begins with the other. Done
      and failed trials are copied from them, and the target gets the largest population and the further seeds of all.
      Only copies can be merged into a new target.
    - From any other population, the done trials of networks that the target also holds are copied, since equal ids are
      equal networks. The populations stay unchanged.

    A done trial replaces a failed one; everything else in the target stays, including trials that are being trained. A
    trial whose files cannot be read or written is skipped, with a warning in the log.

    Raises:
        InputError: the folders differ in recipe, seed or kernels, or have no network in common; nothing is changed.
        RunError: a folder cannot be read or written.
    """
    if not others:
        return []
    population = target.population() if target.exists() else None
    sources = _read_sources(target, population, others)
    _check_training(target, sources)
    for source in sources:
        if source.is_copy and (population is None or len(population) < len(source.population)):
            population = target.create(source.population, provenance)
    results = []
    for source in sources:
        shared = source.ids(population.ids if population is not None else ())
        if source.plan is None:
            results.append(MergeResult(shared=len(shared)))
            continue
        plan, repeats = source.plan, source.plan.repeats if source.is_copy else NO_REPEATS
        target.write_plan(plan.recipe, plan.seed, repeats, plan.axes, plan.metric)
        if source.is_copy and (standings := read_standings(source.folder.path)):  # they chose the finished trials
            standings.merged_with(read_standings(target.path)).write(target.path)
        results.append(_copy_trials(target, source, shared))
    return results


def _read_sources(
    target: RunFolder, target_population: Population | None, others: Sequence[RunFolder]
) -> list[_Source]:
    """Read the folders to copy from, before anything is written.

    Args:
        target: the folder to copy into.
        target_population: its population; None if it is new.
        others: the folders to copy from.

    Raises:
        InputError: a folder holds no network of the target, or, if that is new, another population than the first.
    """
    populations = [(other, other.population()) for other in others]
    holder, longest = (target, target_population) if target_population is not None else populations[0]
    for other, population in populations:
        if longest.is_prefix_of(population) and len(longest) < len(population):
            holder, longest = other, population
    sources = []
    for other, population in populations:
        is_copy = population.is_prefix_of(longest)
        source = _Source(other, population, other.plan(), other.kernels(), is_copy)
        if not is_copy and (target_population is None or not source.ids(longest.ids)):
            reason = (
                "they have no network in common"
                if target_population is not None
                else f"neither begins with the other. Create {target.path} with designspace.sample first to copy the "
                "trials of networks that it shares with other populations"
            )
            raise InputError(
                f"{other.path} holds {len(population)} networks of {population.described}, "
                f"and {holder.path} {len(longest)} of {longest.described}: {reason}; compare "
                "different populations with designspace.analyze runs=[...]. Nothing was written"
            )
        sources.append(source)
    return sources


def _check_training(target: RunFolder, sources: Sequence[_Source]) -> None:
    """Raise unless all folders that have a recipe, a seed and kernels have the same ones.

    Raises:
        InputError: two of them differ.
    """
    first_plan, first_kernels = None, (target, target.kernels())
    folders = (target, *(source.folder for source in sources))
    rules = {standings.rule for folder in folders if (standings := read_standings(folder.path))}
    if len(rules) > 1:
        raise InputError(
            "trials of these folders were stopped early by different rules (fidelity.json); nothing was written"
        )
    for source in sources:
        if source.plan is not None:
            training = source.plan.recipe, source.plan.seed, source.plan.axes
            target.check_plan(*training)
            if first_plan is not None and first_plan[1].differences(*training):
                raise InputError(
                    f"{source.folder.path} was trained with another recipe or seed than {first_plan[0].path}; "
                    "nothing was written"
                )
            for folder, plan in filter(None, (first_plan, (target, target.plan()))):
                if plan is not None and plan.metric != source.plan.metric:
                    raise InputError(
                        f"{source.folder.path} is measured by another metric than {folder.path} (measured_by in "
                        "recipe.yaml differs); nothing was written"
                    )
            first_plan = first_plan or (source.folder, source.plan)
        if source.kernels is not None:
            if first_kernels[1] is None:
                first_kernels = (source.folder, source.kernels)
            _check_kernels(*first_kernels, source)


def _check_kernels(run: RunFolder, kernels: str | None, source: _Source) -> None:
    """Raise unless the trials of a source were trained with the kernels of a run.

    Raises:
        InputError: they were trained with others.
    """
    if kernels != source.kernels:
        theirs, ours = (_KERNEL_WORDS.get(str(name), f"the kernels {name!r}") for name in (source.kernels, kernels))
        raise InputError(
            f"{source.folder.path} was trained with {theirs} and {run.path} with {ours} (kernels.json). They round "
            "differently, so the same trial has other numbers there. Train these trials here instead; no trial was "
            "copied from it"
        )


_KERNEL_WORDS = {"compiled": "compiled kernels", "torch": "torch's kernels"}
"""Descriptions of the values of `RunFolder.kernels`."""


def _copy_trials(target: RunFolder, source: _Source, shared: Sequence[str]) -> MergeResult:
    """Copy the finished trials of shared networks that the target does not have.

    Raises:
        InputError: a worker has recorded other kernels in the target meanwhile.
        RunError: a folder cannot be read or written.
    """
    copied = already_finished = differing = 0
    are_kernels_recorded = source.kernels is None
    plan = target.plan()
    keys = shared if plan is None else plan.keys(shared)
    for other_state, state in zip(source.folder.states(keys), target.states(keys), strict=True):
        if other_state.is_damaged and other_state.failure:
            log.warning("trial %s was not copied: %s", other_state.key, other_state.failure.detail)
        if other_state.is_damaged or not (other_state.is_finished if source.is_copy else other_state.result):
            continue
        if state.is_finished and not (state.failure and other_state.result):
            already_finished += 1
            differing += bool(
                state.result and other_state.result and state.result.final_error != other_state.result.final_error
            )
            continue
        if not are_kernels_recorded:  # first, so that workers cannot train other trials with other kernels
            _check_kernels(target, target.settle_kernels(str(source.kernels)), source)
            are_kernels_recorded = True
        copied += _copy_trial(target, source.folder, state)
    return MergeResult(copied, already_finished, differing, len(shared))


def _copy_trial(target: RunFolder, other: RunFolder, state: TrialState) -> bool:
    """Copy the files of one trial into the target; return whether they were copied.

    Raises:
        RunError: no trial can be read or written.
    """
    try:
        with as_run_errors(), target.trial(state.key).claimed(is_finished=state.is_finished) as claim:
            if claim is None:  # another process is training it in the target, and that result counts
                return False
            target.trial(state.key).copy_from(other.trial(state.key))
    except ClaimLost:
        return False
    except RunError as error:
        if concerns_all(error):
            raise
        log.warning("trial %s was not copied: %s", state.key, error)
        return False
    return True
