"""Check of whether the trials that the machine ended are like the others.

Large networks may run out of memory, and slow ones out of time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from designspace.analysis.preconditions.complexity_differences import complexity_differences
from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results
from designspace.support.text import counted

NAME = "left out at random"


def left_out_at_random(results: Results) -> Precondition:
    """Check that trials that the machine ended do not differ in flops, params or activations from those that count.

    These trials are left out, which causes no bias if each network was equally likely to be ended.
    """
    left_out = results.left_out()
    if results.failures != "by_cause" or not left_out.any():
        return Precondition(NAME, True)
    differences = complexity_differences(results.table, left_out, results.counted())
    if not differences.medians:
        return Precondition(NAME, True, evidence={"left out": int(left_out.sum())})
    sentence = (
        f"{results.name}: {counted(int(left_out.sum()), 'trial')} that the machine ended differ from the others "
        f"({'; '.join(differences.medians)}), so a claim must hold for any {results.metric.plural} that they "
        "might have had; to train them again, use designspace.retry."
    )
    return Precondition(NAME, False, sentence, evidence=differences.p_values)


def possible_results(results: Results, least_error: float) -> list[Results]:
    """Return variants of results that bound the errors that the trials left out might have had.

    If these trials are left out at random, the only variant is the results themselves. Otherwise there are three:
    without these trials, with them at chance level, and with them at ``least_error``. A claim that holds for all three
    holds for any errors of these trials (Manski, "Nonparametric Bounds on Treatment Effects", 1990).

    Args:
        results: a population.
        least_error: the least possible error, as `Results.errors` returns errors.
    """
    if left_out_at_random(results).holds:
        return [results]
    ends = [_with_error(results, error) for error in (results.chance_error, least_error)]
    return [results, *ends]


def _with_error(results: Results, error: float) -> Results:
    """Return results in which all trials that are left out count with one error."""
    left_out = results.left_out()
    table = results.table.copy()
    table["status"] = np.where(left_out, "done", table["status"])
    table["final_error"] = np.where(left_out, results.metric.oriented(error), table["final_error"])
    return replace(results, table=table)
