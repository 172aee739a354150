"""Check of whether the finished trials are a random sample: small networks and failures finish first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.preconditions.complexity_differences import complexity_differences
from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results
from designspace.analysis.standings import is_sampled
from designspace.support.text import counted

NAME = "finished at random"
MIN_NETWORKS = 8
"""Minimum number of networks at the beginning of a population for a conclusion."""


def finished_at_random(results: Results) -> Precondition:
    """Check that finished networks do not differ from unfinished ones in flops, params or activations.

    If the cost of a network explained 70% of the variance of errors, half-finished sweeps of a space were called
    different from complete ones in 52% of comparisons (array tasks of two trials) and 94% (one trial per array task).
    The order of a given list is not random, so no part of it is a sample.
    """
    table = results.table[is_sampled(results.table)]
    finished = table["status"].isin(["done", "failed"]).to_numpy(np.bool_)
    if finished.all() or not finished.any():
        return Precondition(NAME, True)
    if not results.is_drawn:
        of_list = f"{int(finished.sum())} of {counted(finished.size, 'network')}"
        sentence = f"{results.name}: {of_list} of a given list have finished, and the order of a list is not random."
        return Precondition(NAME, False, sentence, evidence={"finished": float(finished.mean())})
    differences = complexity_differences(table, finished, ~finished)
    if not differences.medians:
        return Precondition(NAME, True)
    sentence = (
        f"{results.name}: the finished networks are not a random sample of the population: "
        f"{'; '.join(differences.medians)} of the unfinished ones."
    )
    return Precondition(NAME, False, sentence, evidence=differences.p_values)


def random_subset(results: Results) -> Results:
    """Return results in which only a random sample of the population counts, with a note if finished trials do not.

    If finished trials differ from the others, the networks of each run count up to the first unfinished one: trials are
    launched in the order of the population, and the beginning of a population is a random sample.
    """
    check = finished_at_random(results)
    if check.holds or "counts" in results.table.columns:
        return results
    counts = _before_the_first_unfinished(results)
    used, finished = int((counts & results.counted()).sum()), int(results.counted().sum())
    reason = check.sentence.removeprefix(f"{results.name}: ")  # notes are printed with the name
    if used < MIN_NETWORKS or not results.is_drawn:
        return replace(results, notes=(*results.notes, f"{reason} No conclusion is possible yet."))
    notes = results.notes
    if used < finished:
        networks = counted(used, "network")
        notes = (*notes, f"{reason} Only the first {networks} of the population count, which have all finished.")
    return replace(results, table=results.table.assign(counts=counts), notes=notes)


def may_conclude(results: Results) -> bool:
    """Return whether the trials that count are a random sample of their population, as far as can be tested."""
    return "counts" in results.table.columns or finished_at_random(results).holds


def _before_the_first_unfinished(results: Results) -> NDArray[np.bool_]:
    """Return which trials come before the first unfinished one of their run."""
    unfinished = ~results.table["status"].isin(["done", "failed"]) & is_sampled(results.table)
    return np.asarray(unfinished.groupby(results.table["run"], sort=False).cumsum() == 0)
