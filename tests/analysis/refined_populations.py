"""Populations of real spaces with made errors, for the tests of refinement."""

import functools

import numpy as np

from designspace.analysis.results import Results
from designspace.spaces import catalog

SPACE = catalog.space("AnyNetXA", flops=(360e6, 400e6))


@functools.cache
def table_of(space, n, seed=0):
    """Return the networks of a population as a table."""
    return space.sample(n, seed).to_frame().reset_index()


def results_of(space, errors, seed=0, metric=None, **columns):
    """Return the results of a population of a space; NaN is a network that diverged."""
    table = table_of(space, len(errors), seed)
    names = ["id", *space.column_names(), "flops", "params", "activations"]
    given = {name: table[name] for name in names} | columns
    return Results.from_errors(space.name, errors, 10, given, metric)


def stages(space, n, letter, seed=0):
    """Return a parameter of all stages. Shape (n, stages)."""
    table = table_of(space, n, seed)
    return np.column_stack([table[f"{letter}{stage}"] for stage in range(1, space.num_stages + 1)]).astype(float)


def rises(space, n, seed=0):
    """Return the number of pairs of stages whose width rises, less those whose width falls. Shape (n,)."""
    width = stages(space, n, "w", seed)
    return sum(np.sign(width[:, j] - width[:, i]) for i in range(4) for j in range(i + 1, 4))


def planted(signal, strength, rng):
    """Return errors of which a signal (the higher, the better) explains a part of the variance."""
    scaled = (signal - signal.mean()) / signal.std()
    return 40 - 2 * np.sqrt(strength) * scaled + 2 * np.sqrt(1 - strength) * rng.normal(0, 1, signal.size)
