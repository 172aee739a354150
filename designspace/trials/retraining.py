"""Choosing networks to train again, and their fresh seeds.

The error by which a network was chosen among many is partly due to a lucky seed. Training the network again with seeds
that did not affect the choice gives an unbiased error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.trials.plan import Plan, Repeats
from designspace.trials.ranking import check_none_edited, order_of_choice
from designspace.trials.state import TrialState


def with_fresh_seeds(plan: Plan, states: Sequence[TrialState], top: int, seeds: int, num_classes: int) -> Plan:
    """Return a plan that trains the best networks again with fresh seeds.

    Networks that were chosen before stay, with their seeds, so that the same call resumes an interrupted retraining.
    Networks and seeds are added until there are ``top`` networks with ``seeds`` seeds each.

    Args:
        plan: current plan of the run.
        states: states of all trials of the run.
        top: number of networks.
        seeds: number of fresh seeds per network.
        num_classes: number of classes.

    Raises:
        InputError: no trial of the run is done, or ``top`` or ``seeds`` is out of range.
        RunError: a result was edited, so the order of the networks is unknown.
    """
    top, seeds = whole("top", top, 1, 10_000), whole("seeds", seeds, 1, 1000)
    check_none_edited(states)
    order = [network.id for network in order_of_choice(states, plan, num_classes)]
    if not order:
        raise InputError("no trial of the run is done, so there is no best network to train again")
    before = plan.repeats.fresh
    others = [id_ for id_ in order if id_ not in before]
    chosen = [*before, *others[: max(0, top - len(before))]]
    used = {seed for seeds_of_network in before.values() for seed in seeds_of_network}
    unused = max((*plan.seeds, *used)) + 1
    # Networks share fresh seeds, so that they are compared with the same seeds of initial weights and image orders.
    candidates = [*sorted(used.difference(plan.seeds)), *range(unused, unused + seeds)]
    fresh = {}
    for id_ in chosen:
        existing = before.get(id_, ())
        added = [seed for seed in candidates if seed not in existing][: max(0, seeds - len(existing))]
        fresh[id_] = tuple(sorted((*existing, *added)))
    return dataclasses.replace(plan, repeats=plan.repeats.with_more(Repeats(fresh=fresh)))
