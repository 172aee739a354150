"""How long a trial will take, before or after some of them have ended."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.networks.complexity import complexity
from designspace.spaces.population import Population
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe
from designspace.trials.run import Run

MULTIPLY_ADDS_PER_S = {"cpu": 16e9, "cuda": 1e12}
"""Of a worker in training, forward and backward: measured on one core with the quick recipe; on a GPU a low guess (a
V100 trains RegNetX-400MF at about this speed)."""
ENOUGH = 5
"""So many ended trials tell more than these figures."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one training image costs the networks of a run."""

    flops: float
    """Multiply-adds forward, the mean over the networks."""
    params: float
    """Of the largest network."""
    activations: float
    """Of the largest network."""

    @staticmethod
    def of(population: Population, side: int) -> Costs:
        """Return the costs of a population's networks, for images of ``side`` pixels."""
        columns = population.columns
        flops = float(columns["flops"].mean()) * (side / population.space.template.resolution) ** 2
        return Costs(flops, float(columns["params"].max()), float(columns["activations"].max()))


def costs_of(run: Run, recipe: Recipe, root: Path | None = None) -> Costs:
    """Return what the networks of a run cost.

    ``root`` is the folder of all data sets (see `data.default_root`).
    """
    side = recipe.crop_size or data.shape(recipe.data, root).size
    if isinstance(run, RunFolder):
        return Costs.of(run.population(verify=False), side)
    found = complexity(run.read_trials()(run.trial_keys()[0]).network, side)
    return Costs(float(found.flops), float(found.params), float(found.activations))


def trial_seconds(run: Run, costs: Costs, recipe: Recipe, device: str, root: Path | None = None) -> float:
    """Return the seconds that a trial takes on one worker: those of ended trials, or a guess from the multiply-adds.

    ``root`` is the folder of all data sets (see `data.default_root`).
    """
    states = run.states(run.trial_keys())
    measured = [state.result.train_s for state in states if state.result]
    if len(measured) >= ENOUGH:
        return max(0.1, statistics.mean(measured))
    images = data.counts(recipe.data, root)
    train, test = recipe.train_images or images.train, recipe.test_images or images.test
    # A step backward costs two forward.
    return max(0.1, recipe.epochs * costs.flops * (3 * train + test) / MULTIPLY_ADDS_PER_S[device])
