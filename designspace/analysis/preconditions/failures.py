"""Are the trials that the machine ended like the others? Memory runs out for large networks, and time for slow ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.preconditions.unlike import unlike
from designspace.analysis.results import Results
from designspace.support.text import counted

NAME = "left out at random"


def left_out_at_random(results: Results) -> Precondition:
    """Check that trials which the machine ended are like those that count in flops, params and activations.

    They are left out, which changes nothing if the machine ended any network as easily as another.
    """
    left_out = results.left_out()
    if results.failures != "by_cause" or not left_out.any():
        return Precondition(NAME, True)
    found = unlike(results.table, left_out, results.counted())
    if not found.medians:
        return Precondition(NAME, True, evidence={"left out": int(left_out.sum())})
    sentence = (
        f"{results.name}: {counted(int(left_out.sum()), 'trial')} that the machine ended are not like the others "
        f"({'; '.join(found.medians)}), so a claim must hold whatever their errors would have been; make them wait "
        "again with designspace.retry."
    )
    return Precondition(NAME, False, sentence, evidence=found.p_values)


def possible_results(results: Results, least_error: float) -> list[Results]:
    """Return results with every error that the trials left out might have had, at its ends.

    The results themselves where these trials are left out at random; else three: without these trials, with them at
    chance level, and with them at ``least_error``. A claim that holds for all three holds whatever their errors would
    have been (Manski, "Nonparametric Bounds on Treatment Effects", 1990).

    Args:
        results: a population.
        least_error: per cent.
    """
    if left_out_at_random(results).holds:
        return [results]
    ends = [_with_error(results, error) for error in (results.chance_error, least_error)]
    return [results, *ends]


def _with_error(results: Results, error: float) -> Results:
    """Return results with one error for all trials that are left out."""
    left_out = results.left_out()
    table = results.table.copy()
    table["status"] = np.where(left_out, "done", table["status"])
    table["final_error"] = np.where(left_out, error, table["final_error"])
    return replace(results, table=table)
