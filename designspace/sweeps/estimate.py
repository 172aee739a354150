"""Estimates of the duration of a trial, before and after some trials have finished."""

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
"""Multiply-adds per second of a worker in training, forward and backward: measured on one core with the quick recipe; a
low guess for a GPU (a V100 trains RegNetX-400MF at about this speed)."""
MIN_MEASURED_TRIALS = 5
"""Number of done trials from which their mean duration is used instead of these figures."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of one training image for the networks of a run."""

    flops: float
    """Multiply-adds of the forward pass, the mean over the networks."""
    params: float
    """Parameters of the network with the most."""
    activations: float
    """Activations of the network with the most."""

    @staticmethod
    def of(population: Population, side: int) -> Costs:
        """Return the costs of a population's networks, for images of ``side`` pixels."""
        columns = population.columns
        flops = float(columns["flops"].mean()) * (side / population.space.template.resolution) ** 2
        return Costs(flops, float(columns["params"].max()), float(columns["activations"].max()))


def costs_of(run: Run, recipe: Recipe, root: Path | None = None) -> Costs:
    """Return the costs of the networks of a run.

    ``root`` is the folder of all data sets (see `data.default_root`).
    """
    side = recipe.crop_size or data.shape(recipe.data, root).size
    if isinstance(run, RunFolder):
        return Costs.of(run.population(verify=False), side)
    counts = complexity(run.read_trials()(run.trial_keys()[0]).network, side)
    return Costs(float(counts.flops), float(counts.params), float(counts.activations))


def trial_seconds(run: Run, costs: Costs, recipe: Recipe, device: str, root: Path | None = None) -> float:
    """Estimate the seconds that a trial takes on one worker, from done trials or else from the multiply-adds.

    ``root`` is the folder of all data sets (see `data.default_root`).
    """
    states = run.states(run.trial_keys())
    measured = [state.result.train_s for state in states if state.result]
    if len(measured) >= MIN_MEASURED_TRIALS:
        return max(0.1, statistics.mean(measured))
    images = data.counts(recipe.data, root)
    train, test = recipe.train_images or images.train, recipe.test_images or images.test
    # A backward pass costs as much as two forward passes.
    return max(0.1, recipe.epochs * costs.flops * (3 * train + test) / MULTIPLY_ADDS_PER_S[device])
