"""How long a trial will take, before or after some of them have ended."""

from __future__ import annotations

import statistics
from pathlib import Path

from designspace import data
from designspace.spaces.population import Population
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe

MULTIPLY_ADDS_PER_S = {"cpu": 16e9, "cuda": 1e12}
"""Of a worker in training, forward and backward: measured on one core with the quick recipe; on a GPU a low guess (a
V100 trains RegNetX-400MF at about this speed)."""
ENOUGH = 5
"""So many ended trials tell more than these figures."""


def trial_seconds(
    run: RunFolder, population: Population, recipe: Recipe, device: str, root: Path | None = None
) -> float:
    """The seconds that a trial takes on one worker: those of ended trials, or a guess from the multiply-adds.

    ``root`` is the folder of all data sets (see `data.default_root`).
    """
    states = run.states(run.trial_keys())
    measured = [state.result.train_s for state in states if state.result]
    if len(measured) >= ENOUGH:
        return max(0.1, statistics.mean(measured))
    images = data.counts(recipe.data, root)
    train, test = recipe.train_images or images.train, recipe.test_images or images.test
    _, size, _ = data.shape(recipe.data, root)
    scale = ((recipe.crop_size or size) / population.space.template.resolution) ** 2
    flops = float(population.columns["flops"].mean()) * scale
    # A step backward costs two forward.
    return max(0.1, recipe.epochs * flops * (3 * train + test) / MULTIPLY_ADDS_PER_S[device])
