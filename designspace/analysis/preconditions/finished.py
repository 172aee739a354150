"""Are the trials that have finished a random part of their population? Small networks and failures end first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.preconditions.unlike import unlike
from designspace.analysis.results import Results
from designspace.support.text import counted

NAME = "finished at random"
FEWEST = 8
"""Minimum number of networks at the beginning of a population from which something is concluded."""


def finished_at_random(results: Results) -> Precondition:
    """Check that finished networks are like unfinished ones in flops, params and activations.

    Where the cost of a network explained 70% of the variance of errors, half-done sweeps of one space were called
    different from whole ones in 52% of comparisons (tasks of two trials on SLURM) and 94% (a task each).
    """
    finished = results.table["status"].isin(["done", "failed"]).to_numpy(np.bool_)
    if finished.all() or not finished.any():
        return Precondition(NAME, True)
    found = unlike(results.table, finished, ~finished)
    if not found.medians:
        return Precondition(NAME, True)
    sentence = (
        f"{results.name}: the finished networks are not a random part of the population: "
        f"{'; '.join(found.medians)} of the unfinished ones."
    )
    return Precondition(NAME, False, sentence, evidence=found.p_values)


def random_part(results: Results) -> Results:
    """Return results of which only a random part of the population counts, with a note where that is not all finished.

    Where finished trials are not like the others, the first networks of each run count, up to the first that has not
    finished: launches take trials in the population's order, and any beginning of a population is a random sample.
    """
    check = finished_at_random(results)
    if check.holds or "counts" in results.table.columns:
        return results
    counts = _before_the_first_unfinished(results)
    used, finished = int((counts & results.counted()).sum()), int(results.counted().sum())
    said = check.sentence.removeprefix(f"{results.name}: ")  # the name stands before a note anyway
    if used < FEWEST:
        return replace(results, notes=(*results.notes, f"{said} Wait before you conclude anything."))
    notes = results.notes
    if used < finished:
        networks = counted(used, "network")
        notes = (*notes, f"{said} Only the first {networks} of the population count, which have all finished.")
    return replace(results, table=results.table.assign(counts=counts), notes=notes)


def may_conclude(results: Results) -> bool:
    """Whether the trials that count are a random part of their population, as far as can be seen."""
    return "counts" in results.table.columns or finished_at_random(results).holds


def _before_the_first_unfinished(results: Results) -> NDArray[np.bool_]:
    """Return which trials stand before the first unfinished one of their run."""
    unfinished = ~results.table["status"].isin(["done", "failed"])
    return np.asarray(unfinished.groupby(results.table["run"], sort=False).cumsum() == 0)
