"""Ranking of a run's networks by their mean error over the seeds that count."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from designspace.support.errors import RunError
from designspace.support.text import counted
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.plan import Plan
from designspace.trials.state import TrialState


def best_first(states: Iterable[TrialState], metric: Metric = TOP1_ERROR) -> list[TrialState]:
    """Return the done trials from the best error by a metric to the worst, by their keys if the errors are equal.

    The error is the one on held-out images if the recipe holds some out, so that test images do not influence the
    choice; otherwise it is the final error (see `TrialResult.selection_error`).
    """
    done = [(metric.oriented(state.result.selection_error), state.key, state) for state in states if state.result]
    return [state for _, _, state in sorted(done, key=lambda entry: entry[:2])]


def check_none_edited(states: Iterable[TrialState]) -> None:
    """Raise if a result was edited, since the order of the trials is then unknown.

    Raises:
        RunError: a result holds a value that training cannot produce.
    """
    edited = [state.failure.detail for state in states if state.is_edited and state.failure]
    if edited:
        more = f"; and {len(edited) - 1} more like it" if len(edited) > 1 else ""
        raise RunError(f"the order of the trials is not known: {edited[0]}{more}")


@dataclass(frozen=True, slots=True)
class RankedNetwork:
    """A network with its errors over the seeds that count, at least one of which has a result."""

    state: TrialState
    """The first of these trials that is done. The best one would be biased by a lucky seed."""
    errors: tuple[float, ...]
    """Errors of the trials that count, in the order of their seeds (see `TrialResult.selection_error`).

    A trial that diverged counts as one that guesses. Trials that failed for other reasons are left out, since they say
    nothing about the network."""
    final_errors: tuple[float, ...]
    """Errors of the same trials on the test images."""
    is_fresh: bool = False
    """Whether the network had been chosen before it was trained with these seeds."""

    @property
    def id(self) -> str:
        """Id of the network."""
        return self.state.id

    @property
    def mean(self) -> float:
        """Mean of the errors."""
        return statistics.fmean(self.errors)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the errors; None for a single one."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None

    def kind(self) -> str:
        """Return the number and kind of seeds of the mean, as text.

        >>> RankedNetwork(TrialState("60e881614052", "done"), (20.0, 21.0), (20.0, 21.0), is_fresh=True).kind()
        'mean over 2 fresh seeds'
        """
        return f"mean over {counted(len(self.errors), 'fresh seed' if self.is_fresh else 'seed')}"


def ranking(states: Iterable[TrialState], plan: Plan | None, num_classes: int) -> list[RankedNetwork]:
    """Return the networks that have a result, the best one first.

    Networks that were trained again with fresh seeds come first, by the mean over these seeds. The others follow, by
    the mean over the seeds of all networks. The two means are not comparable: the lowest errors among many networks are
    partly due to lucky seeds. Equal means are ordered by id. Without repeats, this is the order of `best_first`.
    """
    metric = plan.metric_for(num_classes) if plan else TOP1_ERROR
    if plan is None or not plan.repeats:  # five times as fast for runs of many networks
        done = ((state, state.result) for state in best_first(states, metric) if state.result)
        return [RankedNetwork(state, (result.selection_error,), (result.final_error,)) for state, result in done]
    by_key = {state.key: state for state in states}
    ids = dict.fromkeys(state.id for state in by_key.values())
    networks = []
    for id_ in ids:
        fresh = plan.repeats.fresh.get(id_, ())
        network = _ranked(_trials(by_key, plan, id_, fresh), metric, is_fresh=True)
        networks.append(network or _chosen(by_key, plan, id_, metric))
    return sorted(
        filter(None, networks), key=lambda network: (not network.is_fresh, metric.oriented(network.mean), network.id)
    )


def order_of_choice(states: Iterable[TrialState], plan: Plan, num_classes: int) -> list[RankedNetwork]:
    """Return the networks that have a result in the order in which they are chosen to be trained again.

    This is the order of the mean over the seeds of all networks; fresh seeds do not count.
    """
    by_key = {state.key: state for state in states}
    ids = dict.fromkeys(state.id for state in by_key.values())
    metric = plan.metric_for(num_classes)
    networks = filter(None, (_chosen(by_key, plan, id_, metric) for id_ in ids))
    return sorted(networks, key=lambda network: (metric.oriented(network.mean), network.id))


def _chosen(by_key: Mapping[str, TrialState], plan: Plan, id_: str, metric: Metric) -> RankedNetwork | None:
    """Return a network with its errors over the seeds of all networks; None if it has no result."""
    return _ranked(_trials(by_key, plan, id_, plan.choosing_seeds(id_)), metric, is_fresh=False)


def _trials(by_key: Mapping[str, TrialState], plan: Plan, id_: str, seeds: Sequence[int]) -> list[TrialState]:
    """Return the trials of a network with some seeds."""
    keys = [plan.key(id_, seed) for seed in seeds]
    return [by_key[key] for key in keys if key in by_key]


def _ranked(trials: Sequence[TrialState], metric: Metric, *, is_fresh: bool) -> RankedNetwork | None:
    """Return a network with the errors of some of its trials; None if none of them is done."""
    done = [state for state in trials if state.result]
    if not done:
        return None
    counting = [state for state in trials if state.result or (state.failure and state.failure.has_diverged)]
    errors = [state.result.selection_error if state.result else metric.guess for state in counting]
    final_errors = [state.result.final_error if state.result else metric.guess for state in counting]
    return RankedNetwork(done[0], tuple(errors), tuple(final_errors), is_fresh)
