"""Copying trials that were done elsewhere into a run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.spaces.population import Population
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import as_run_errors, concerns_all
from designspace.trials.claims import ClaimLost
from designspace.trials.folder import RunFolder
from designspace.trials.plan import NO_REPEATS, Plan
from designspace.trials.trial_folder import TrialState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What another folder gave."""

    taken: int = 0
    """Trials whose files were copied."""
    known: int = 0
    """Trials that had finished in both."""
    unequal: int = 0
    """Those of them whose final errors differ; the target's stay."""
    shared: int = 0
    """Networks that both populations hold."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """Another folder, and what can be copied from it."""

    folder: RunFolder
    population: Population
    plan: Plan | None
    kernels: str | None
    is_copy: bool
    """Whether its population and the target's begin with each other, so that the target may become the longer one."""

    def ids(self, target_ids: Sequence[str]) -> list[str]:
        """Return the ids of the networks that both populations hold, in the order of this one."""
        held = set(target_ids)
        return [id_ for id_ in self.population.ids if id_ in held]


def merge(target: RunFolder, others: Sequence[RunFolder], provenance: Mapping[str, Any]) -> list[Taken]:
    """Copy finished trials of other folders into ``target``, and return what each of them gave.

    All folders must have one recipe and one training seed, and the same kernels on CPUs as far as these are noted; a
    target that has noted none takes those of the others. There are two kinds of other folders:

    - Copies of the target hold a population of its space and seed, of which one begins with the other. They give done
      and failed trials, and the target gets the largest population and the further seeds of all. Only copies can be
      merged into a new target.
    - Any other population gives the done trials of the networks that the target holds too, since equal ids are equal
      networks. The populations stay as they are.

    A done trial replaces a failed one; everything else in the target stays, including what is being trained. A trial
    whose files cannot be read or written is left out, which is logged.

    Raises:
        InputError: another recipe, seed or kernels, or no network in common; nothing is changed then.
        RunError: a folder cannot be read or written.
    """
    held = target.population() if target.exists() else None
    offers = _offers(target, held, others)
    _check_training(target, offers)
    for offer in offers:
        if offer.is_copy and (held is None or len(held) < len(offer.population)):
            held = target.create(offer.population, provenance)
    results = []
    for offer in offers:
        shared = offer.ids(held.ids if held is not None else ())
        if offer.plan is None:
            results.append(Taken(shared=len(shared)))
            continue
        target.write_plan(offer.plan.recipe, offer.plan.seed, offer.plan.repeats if offer.is_copy else NO_REPEATS)
        results.append(_copy_trials(target, offer, shared))
    return results


def _offers(target: RunFolder, held: Population | None, others: Sequence[RunFolder]) -> list[_Offer]:
    """Read what the other folders offer, before anything is written.

    Args:
        target: the folder to copy into.
        held: its population; None if it is new.
        others: the folders to copy from.

    Raises:
        InputError: a folder holds no network of the target, or, if that is new, another population than the first.
    """
    populations = [(other, other.population()) for other in others]
    if not populations:
        return []
    holder, longest = (target, held) if held is not None else populations[0]
    for other, population in populations:
        if longest.is_prefix_of(population) and len(longest) < len(population):
            holder, longest = other, population
    offers = []
    for other, population in populations:
        is_copy = population.is_prefix_of(longest)
        offer = _Offer(other, population, other.plan(), other.kernels(), is_copy)
        if not is_copy and (held is None or not offer.ids(longest.ids)):
            reason = (
                "they have no network in common"
                if held is not None
                else f"neither begins with the other. Create {target.path} with designspace.sample first to copy the "
                "trials of networks that it shares with other populations"
            )
            raise InputError(
                f"{other.path} holds {len(population)} networks of {population.space.name}, seed {population.seed}, "
                f"and {holder.path} {len(longest)} of {longest.space.name}, seed {longest.seed}: {reason}; compare "
                "different populations with designspace.analyze runs=[...]. Nothing was written"
            )
        offers.append(offer)
    return offers


def _check_training(target: RunFolder, offers: Sequence[_Offer]) -> None:
    """Raise unless all folders have one recipe, one seed and one kind of kernels, as far as they have any.

    Raises:
        InputError: two of them differ.
    """
    first_plan, first_kernels = None, (target, target.kernels())
    for offer in offers:
        if offer.plan is not None:
            target.check_plan(offer.plan.recipe, offer.plan.seed)
            if first_plan is not None and first_plan[1].differences(offer.plan.recipe, offer.plan.seed):
                raise InputError(
                    f"{offer.folder.path} was trained with another recipe or seed than {first_plan[0].path}; "
                    "nothing was written"
                )
            first_plan = first_plan or (offer.folder, offer.plan)
        if offer.kernels is not None:
            if first_kernels[1] is None:
                first_kernels = (offer.folder, offer.kernels)
            _check_kernels(*first_kernels, offer)


def _check_kernels(run: RunFolder, kernels: str | None, offer: _Offer) -> None:
    """Raise unless another folder's trials were trained with the kernels of a run.

    Raises:
        InputError: they were trained with others.
    """
    if kernels != offer.kernels:
        theirs, ours = (_KERNEL_WORDS.get(str(name), f"the kernels {name!r}") for name in (offer.kernels, kernels))
        raise InputError(
            f"{offer.folder.path} was trained with {theirs} and {run.path} with {ours} (kernels.json). They round "
            "differently, so the same trial has other numbers there. Train these trials here instead; no trial was "
            "copied from it"
        )


_KERNEL_WORDS = {"compiled": "compiled kernels", "torch": "torch's kernels"}
"""Words for the values of `RunFolder.kernels`."""


def _copy_trials(target: RunFolder, offer: _Offer, shared: Sequence[str]) -> Taken:
    """Copy the finished trials of shared networks that the target lacks.

    Raises:
        InputError: a worker has noted other kernels in the target meanwhile.
        RunError: a folder cannot be read or written.
    """
    taken = known = unequal = 0
    has_noted_kernels = offer.kernels is None
    plan = target.plan()
    keys = shared if plan is None else plan.keys(shared)
    for theirs, mine in zip(offer.folder.states(keys), target.states(keys), strict=True):
        if theirs.is_damaged and theirs.failure:
            log.warning("trial %s was not taken over: %s", theirs.key, theirs.failure.detail)
        if theirs.is_damaged or not (theirs.has_ended if offer.is_copy else theirs.result):
            continue
        if mine.has_ended and not (mine.failure and theirs.result):
            known += 1
            unequal += bool(mine.result and theirs.result and mine.result.final_error != theirs.result.final_error)
            continue
        if not has_noted_kernels:  # before the first copy, so that workers cannot train the others in another way
            _check_kernels(target, target.settle_kernels(str(offer.kernels)), offer)
            has_noted_kernels = True
        taken += _copy_trial(target, offer.folder, mine)
    return Taken(taken, known, unequal, len(shared))


def _copy_trial(target: RunFolder, other: RunFolder, mine: TrialState) -> bool:
    """Copy the files of one trial into the target; return whether they were copied.

    Raises:
        RunError: no trial can be read or written.
    """
    try:
        with as_run_errors(), target.trial(mine.key).claimed(has_ended=mine.has_ended) as claim:
            if claim is None:  # somebody is training it in the target, and that result counts
                return False
            target.trial(mine.key).copy_from(other.trial(mine.key))
    except ClaimLost:
        return False
    except RunError as error:
        if concerns_all(error):
            raise
        log.warning("trial %s was not taken over: %s", mine.key, error)
        return False
    return True
