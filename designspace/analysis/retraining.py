"""Ranking of a run's best networks after training them again with fresh seeds, free of the luck of the first seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from designspace.analysis.edf import check_level
from designspace.analysis.tables import Table
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.plan import Plan
from designspace.trials.ranking import RankedNetwork, order_of_choice, ranking
from designspace.trials.state import TrialState


@dataclass(frozen=True, slots=True)
class RetrainedNetwork:
    """A network that was chosen by its error and trained again. Errors are in percent."""

    id: str
    chosen_rank: int
    """Rank by the error that chose it, among all networks of the run."""
    chosen_error: float
    """The error that chose it."""
    trainings: int
    """Number of finished trainings with fresh seeds."""
    failed: int
    """Number of these trainings that diverged; each counts with the error of random guessing."""
    mean: float
    """Mean error of these trainings."""
    final_mean: float
    """Mean error on the test images; `mean` is on held-out images if the recipe has some."""
    half_width: float | None
    """Half width of the interval of the mean; None if it is not known."""

    @property
    def interval(self) -> str:
        """The interval of the mean as text; empty if it is not known."""
        if self.half_width is None:
            return ""
        return f"{self.mean - self.half_width:.2f} to {self.mean + self.half_width:.2f}"


@dataclass(frozen=True, slots=True)
class Retraining:
    """The networks of a run that were trained again. Made by `retraining`."""

    networks: tuple[RetrainedNetwork, ...]
    """Networks, that of the best mean error first."""
    noise: float | None
    """Standard deviation of the error of one network over seeds, pooled over the networks; None if none has two."""
    freedom: int
    """Degrees of freedom of the noise."""
    level: float
    """One minus the probability that an interval contains the expected error."""
    chosen_seeds: int
    """Number of seeds whose mean error chose the networks."""
    unfinished: int
    """Number of trainings with fresh seeds that have not finished."""
    has_heldout: bool
    """Whether errors are on held-out images."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    def table(self) -> Table:
        """Return a table with a row for each network."""
        metric, name = self.metric, self.metric.name
        header = ["rank", "network", "before", f"{name} before", "seeds", "fresh mean", self.interval_name]
        header += ["test mean"] if self.has_heldout else []
        header += ["diverged"] if any(network.failed for network in self.networks) else []
        rows = []
        for rank, network in enumerate(self.networks, start=1):
            row = [str(rank), network.id, str(network.chosen_rank), metric.number(network.chosen_error)]
            row += [str(network.trainings), metric.number(network.mean), network.interval]
            row += [metric.number(network.final_mean)] if self.has_heldout else []
            row += [str(network.failed)] if "diverged" in header else []
            rows.append(tuple(row))
        so_far = f"; so far: {counted(self.unfinished, 'training')} unfinished" if self.unfinished else ""
        images = " on held-out images" if self.has_heldout else ""
        unit = "".join(f", {part}" for part in (metric.kind, metric.unit) if part)
        return Table(
            f"Networks trained again with fresh seeds; {name}{images}{unit}{so_far}", tuple(header), tuple(rows), 2
        )

    @property
    def interval_name(self) -> str:
        """The name of the column of intervals."""
        return f"{100 * (1 - self.level):g}% interval"

    def sentences(self) -> tuple[str, ...]:
        """Return sentences on the meaning of each figure and the basis of the intervals."""
        seeds = "its seed" if self.chosen_seeds == 1 else f"its {self.chosen_seeds} seeds"
        shift = statistics.fmean(network.mean - network.chosen_error for network in self.networks)
        metric, name = self.metric, self.metric.name
        bias = f"{metric.number(abs(shift))} {metric.points} {'below' if shift >= 0 else 'above'} the fresh mean"
        sentences = [
            f"The {name} before is the one that chose a network, so it is flattered by the luck of {seeds}; it is "
            f"{bias}, averaged over the {counted(len(self.networks), 'network')}.",
            "The fresh mean, over seeds that played no part in choosing the network, is the figure to quote.",
        ]
        if self.noise is not None:
            sentences.append(
                f"The intervals are based on Student's t with {counted(self.freedom, 'degree')} of freedom and the "
                f"standard deviation over seeds, {metric.number(self.noise)} {metric.points}, pooled over the networks."
            )
        if len(self.networks) > 1:
            sentences.append(
                "Choosing the first network of this table is a second choice, which flatters its mean a little."
            )
        return tuple(sentences)


def retraining(plan: Plan, states: Sequence[TrialState], num_classes: int, level: float = 0.05) -> Retraining:
    """Rank the networks of a run that were trained again by their mean error over fresh seeds alone.

    Args:
        plan: the plan of the run.
        states: the states of all its trials.
        num_classes: number of classes that the networks distinguish.
        level: each interval contains the expected error with probability 1 - ``level`` if errors are normal over
            seeds, with the same standard deviation for all networks.

    Raises:
        InputError: no training with a fresh seed is done, or ``level`` is not between 0 and 1.
    """
    check_level(level)
    by_key = {state.key: state for state in states}
    before = {network.id: (rank, network) for rank, network in enumerate(order_of_choice(states, plan, num_classes), 1)}
    ranked = [network for network in ranking(states, plan, num_classes) if network.is_fresh and network.id in before]
    if not ranked:
        raise InputError("no training with a fresh seed is done yet")
    done = {
        network.id: [
            state.result.selection_error
            for seed in plan.repeats.fresh[network.id]
            if (state := by_key.get(plan.key(network.id, seed))) and state.result
        ]
        for network in ranked
    }
    squares = sum((error - statistics.fmean(errors)) ** 2 for errors in done.values() for error in errors)
    freedom = sum(len(errors) - 1 for errors in done.values())
    noise = (squares / freedom) ** 0.5 if freedom else None
    networks = tuple(
        _retrained(network, *before[network.id], len(done[network.id]), noise, freedom, level) for network in ranked
    )
    unfinished = sum(not by_key[key].is_finished for key in plan.fresh_keys() if key in by_key)
    heldout = any(state.result and state.result.heldout_error is not None for state in states)
    return Retraining(
        networks, noise, freedom, level, len(plan.seeds), unfinished, heldout, plan.metric_for(num_classes)
    )


def _retrained(
    network: RankedNetwork, rank: int, chosen: RankedNetwork, done: int, noise: float | None, freedom: int, level: float
) -> RetrainedNetwork:
    """Return a network with the interval of its mean, or without it if a training failed."""
    from scipy.special import stdtrit

    count = len(network.errors)
    half_width = None
    if noise is not None and done == count:
        half_width = float(stdtrit(freedom, 1 - level / 2)) * noise / count**0.5
    final_mean = statistics.fmean(network.final_errors)
    return RetrainedNetwork(network.id, rank, chosen.mean, count, count - done, network.mean, final_mean, half_width)
