"""A user's own trainer whose errors follow from the network alone: networks with rising widths are better."""

import itertools

import numpy as np

from designspace.trials.trial import TrialResult


def train(network, recipe, data, *, seed, **others):
    """Return an error around 40%, or around 25% if no stage is narrower than the one before; it takes no time."""
    widths = [stage.width for stage in network.stages]
    rises = all(left <= right for left, right in itertools.pairwise(widths))
    noise = np.random.default_rng([seed, int(network.id, 16)]).normal()
    error = (25.0 if rises else 40.0) + 2 * float(noise)
    return TrialResult(error, error, recipe.epochs, 0.01, "cpu")
