"""Runs with known results, for the tests of merging."""

import patterns
from sweep_runs import RECIPE, SPACE

from designspace.spaces import catalog
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Trial, TrialResult

OVERLAPPING = catalog.space(
    "AnyNetXA", stem="cifar", stem_width=8, in_channels=3, num_classes=10, resolution=patterns.SIZE, flops=(3e5, 6e5)
)
"""A space that shares most of its first networks with `SPACE`, because both are drawn from the same random numbers."""


def result(error):
    """Return a result with the given error."""
    return TrialResult(error, error, 2, 1.5, "cpu")


def make(path, n=4, seed=0, space=SPACE):
    """Create a run folder with a population and a plan."""
    run = RunFolder(path)
    run.create(space.sample(n, seed), {})
    run.write_plan(RECIPE, 0)
    return run


def finish(run, index, error):
    """Write the files of a trial that is done, with the given error."""
    trial = Trial(run.population()[index], RECIPE, 0)
    run.trial(trial.id).write_trial(trial)
    run.trial(trial.id).checkpoint.write_bytes(b"weights")
    run.trial(trial.id).write_result(result(error))


def errors(run):
    """Return the final error of each trial, or its status if it has no result."""
    return [state.result.final_error if state.result else state.status for state in run.states(run.ids())]
