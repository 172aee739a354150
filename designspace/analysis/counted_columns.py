"""Quantities in closed form that tables of results lack, counted from the populations of their run folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder

if TYPE_CHECKING:
    from designspace.analysis.results import Results


def is_countable(results: Results) -> bool:
    """Return whether all rows come from run folders, whose networks can be counted."""
    return set(results.table["run"]) <= set(results.folders)


def counted_column(results: Results, name: str) -> NDArray[np.float64]:  # (rows,)
    """Return a quantity of each row's network, such as ``peak_memory``, for images of its run's size.

    Args:
        results: results that were read from run folders.
        name: a key of `designspace.networks.quantities.COUNTED`.

    Raises:
        InputError: a row does not come from a run folder, or the population of its run cannot be read or counted.
    """
    runs, ids = results.table["run"].to_numpy(object), results.table["id"].to_numpy(object)
    column = np.full(runs.size, np.nan)
    for run in dict.fromkeys(runs):
        if run not in results.folders:
            raise InputError(f"{name} of {run} cannot be counted, because {run} was not read from a run folder")
        try:
            population = RunFolder(results.folders[run]).population(verify=False)
        except RunError as error:
            raise InputError(f"{name} of {run} cannot be counted: {error}") from error
        counted = dict(zip(population.ids, population.quantity(name).tolist(), strict=True))
        rows = np.flatnonzero(runs == run)
        column[rows] = [counted.get(id_, np.nan) for id_ in ids[rows]]
    return column
