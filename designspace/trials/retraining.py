"""The choice of networks to train again, and of their fresh seeds.

The error by which a network was chosen from many owes a part to the luck of its seed. Trained again with seeds that
played no part in the choice, the network shows what it is worth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.trials.plan import Plan, Repeats
from designspace.trials.ranking import check_none_edited, order_of_choice
from designspace.trials.trial_folder import TrialState


def with_fresh_seeds(plan: Plan, states: Sequence[TrialState], top: int, seeds: int, num_classes: int) -> Plan:
    """Return a plan by which the best networks are trained again with fresh seeds.

    Networks that were chosen before stay, with their seeds, so that the same call resumes what was interrupted; others
    join them, and seeds are added, until there are as many as are asked for.

    Args:
        plan: of the run, as it is.
        states: of all its trials.
        top: number of networks.
        seeds: number of fresh seeds of each.
        num_classes: classes that the networks tell apart.

    Raises:
        InputError: no trial of the run is done, or there is no such number of networks or seeds.
        RunError: somebody edited a result, so that the order of the networks is not known.
    """
    top, seeds = whole("top", top, 1, 10_000), whole("seeds", seeds, 1, 1000)
    check_none_edited(states)
    order = [network.id for network in order_of_choice(states, plan, num_classes)]
    if not order:
        raise InputError("no trial of the run is done, so there is no best network to train again")
    before = plan.repeats.fresh
    others = [id_ for id_ in order if id_ not in before]
    chosen = [*before, *others[: max(0, top - len(before))]]
    used = {seed for own in before.values() for seed in own}
    unused = max((*plan.seeds, *used)) + 1
    # Networks share fresh seeds, so that they are compared with the same first weights' seeds and orders of images.
    candidates = [*sorted(used.difference(plan.seeds)), *range(unused, unused + seeds)]
    fresh = {}
    for id_ in chosen:
        own = before.get(id_, ())
        more = [seed for seed in candidates if seed not in own][: max(0, seeds - len(own))]
        fresh[id_] = tuple(sorted((*own, *more)))
    return dataclasses.replace(plan, repeats=plan.repeats.with_more(Repeats(fresh=fresh)))
