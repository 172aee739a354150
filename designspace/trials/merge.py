"""Merging run folders: trials that were done elsewhere count."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.spaces.population import Population
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import concerns_all
from designspace.trials.claims import ClaimLost
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What another folder gave."""

    taken: int = 0
    """Trials whose files were copied."""
    known: int = 0
    """Trials that had ended in both."""
    unequal: int = 0
    """Those of them whose final errors differ; the target's stay."""


def merge(target: RunFolder, others: Sequence[RunFolder], provenance: Mapping[str, Any]) -> list[Taken]:
    """Copy ended trials of other folders into ``target``, and give what each gave.

    All must hold populations of one space and seed, of which one begins with the other, and one recipe. The target may
    be new; it gets the largest population, and the repeats of all. A done trial takes the place of a failed one; else
    what is there stays, and so does what is being trained. A trial whose files cannot be read or written is left out,
    which is logged.

    Raises:
        InputError: another space, seed or recipe; nothing is changed then.
        RunError: a folder cannot be read or written.
    """
    offered = [(other, other.population(), other.plan()) for other in others]
    _check_all(target, offered)
    found = []
    for other, population, plan in offered:
        mine = target.population() if target.exists() else None
        if mine is None or len(mine) < len(population):
            target.create(population, provenance)
        if plan is None:
            found.append(Taken())
            continue
        target.write_plan(plan.recipe, plan.seed, plan.repeats)
        found.append(_take_over(target, other, plan.keys(population.ids)))
    return found


_Offer = tuple[RunFolder, Population, Plan | None]
"""Another folder, its population and its plan."""


def _check_all(target: RunFolder, offered: Sequence[_Offer]) -> None:
    """Raise unless all folders belong together, before anything is written.

    Raises:
        InputError: two of them have another space, seed or recipe.
    """
    longest, holder = (target.population(), target) if target.exists() else (None, None)
    first_plan = None
    for other, population, plan in offered:
        if longest is None or holder is None:
            longest, holder = population, other
        short, long, its = (
            (population, longest, holder) if len(population) <= len(longest) else (longest, population, other)
        )
        if not short.begins(long):
            raise InputError(
                f"{other.path} holds {len(population)} networks of {population.space.name}, seed {population.seed}, "
                f"and {holder.path} {len(longest)} of {longest.space.name}, seed {longest.seed}: neither begins with "
                "the other; compare different populations with designspace.analyze runs=[...]. Nothing was written"
            )
        longest, holder = long, its
        if plan is not None:
            target.check_plan(plan.recipe, plan.seed)
            if first_plan is not None and first_plan[1].differences(plan.recipe, plan.seed):
                raise InputError(
                    f"{other.path} was trained with another recipe or seed than {first_plan[0].path}; "
                    "nothing was written"
                )
            first_plan = first_plan or (other, plan)


def _take_over(target: RunFolder, other: RunFolder, keys: Sequence[str]) -> Taken:
    """Copy the ended trials that the target lacks."""
    taken = known = unequal = 0
    for theirs, mine in zip(other.states(keys), target.states(keys), strict=True):
        if theirs.is_damaged and theirs.failure:
            log.warning("trial %s was not taken over: %s", theirs.key, theirs.failure.detail)
        if theirs.is_damaged or not theirs.has_ended:
            continue
        if mine.has_ended and not (mine.failure and theirs.result):
            known += 1
            unequal += bool(mine.result and theirs.result and mine.result.final_error != theirs.result.final_error)
            continue
        try:
            with target.trial(theirs.key).claimed(has_ended=mine.has_ended) as claim:
                if claim is None:  # somebody trains it here; what they come to counts
                    continue
                target.trial(theirs.key).copy_from(other.trial(theirs.key))
        except ClaimLost:
            continue
        except (RunError, OSError) as error:
            if concerns_all(error):
                raise
            log.warning("trial %s was not taken over: %s", theirs.key, error)
            continue
        taken += 1
    return Taken(taken, known, unequal)
