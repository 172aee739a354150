"""A user's own trainer whose errors follow from the network alone: the more widths rise, the better."""

import itertools

import numpy as np

from designspace.trials.trial import TrialResult


def train(network, recipe, data, *, seed, **others):
    """Return an error of about 40% less 5 points for each stage that is not narrower than the one before."""
    widths = [stage.width for stage in network.stages]
    rises = sum(left <= right for left, right in itertools.pairwise(widths))
    error = 40.0 - 5 * rises + float(np.random.default_rng([seed, int(network.id, 16)]).normal())
    return TrialResult(error, error, recipe.epochs, 0.01, "cpu")
