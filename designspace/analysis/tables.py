"""Results as tables of formatted text: the same ones for a terminal and for the report."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from designspace.analysis.best_values import best_values
from designspace.analysis.comparison import Comparison
from designspace.analysis.metrics import short_number
from designspace.analysis.results import Counts, Results
from designspace.support.display import Outlined
from designspace.support.text import counted, duration, quantity

BEST = 5
"""Networks of each run that a report names."""
_EXAMPLES = 3
_DETAIL_LENGTH = 300


@dataclass(frozen=True, slots=True, repr=False)
class Table(Outlined):
    """A table of text. Nothing in it is escaped or coloured: that is for who prints it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    """So many columns from the left are words, the rest numbers."""


@dataclass(frozen=True, slots=True)
class SpaceSummary:
    """One run in numbers. Errors are per cent, None where no trial finished."""

    name: str
    counts: Counts
    min_error: float | None
    mean_error: float | None
    median_error: float | None
    median_flops: float
    """Multiply-adds; the medians of complexity are over all networks asked for, finished or not."""
    median_params: float
    median_activations: float
    train_s: float
    """Seconds of training of all trials together, as far as recorded."""


def summarize(results: Results) -> SpaceSummary:
    """The numbers of one run."""
    errors = results.errors()
    medians = results.table[["flops", "params", "activations"]].median()
    return SpaceSummary(
        name=results.name,
        counts=results.counts,
        min_error=float(errors.min()) if errors.size else None,
        mean_error=float(errors.mean()) if errors.size else None,
        median_error=float(np.median(errors)) if errors.size else None,
        median_flops=float(medians["flops"]),
        median_params=float(medians["params"]),
        median_activations=float(medians["activations"]),
        train_s=float(results.table["train_s"].sum()),
    )


def space_table(summaries: Sequence[SpaceSummary]) -> Table:
    """One row for each run."""
    header = (
        *("space", "asked", "done", "failed", "unfinished", "min error, %", "mean error, %", "median error, %"),
        *("median flops", "median params", "median activations", "training"),
    )
    rows = []
    for one in summaries:
        counts = (one.counts.asked, one.counts.done, one.counts.failed, one.counts.unfinished)
        errors = (one.min_error, one.mean_error, one.median_error)
        sizes = (one.median_flops, one.median_params, one.median_activations)
        texts = (*map(str, counts), *map(_error, errors), *map(_size, sizes), duration(one.train_s))
        rows.append((one.name, *texts))
    return Table("Spaces", header, tuple(rows))


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """One row for each pair of spaces, with the numbers behind its sentence."""
    header = (
        *("A", "B", "n of A", "n of B", "P(A better)", "interval of it", "mean A - mean B", "interval of it"),
        *("median A - median B", "interval of it", "KS D", "KS p", "KS p, Holm"),
        *("p of P(A better)", "p of P(A better), Holm"),
    )
    rows = []
    for one in comparisons:
        numbers = (
            *(f"{one.effect:.2f}", f"{one.effect_low:.2f} to {one.effect_high:.2f}"),
            *(f"{one.mean_difference:+.2f}", _interval(one.mean_low, one.mean_high)),
            *(f"{one.median_difference:+.2f}", _interval(one.median_low, one.median_high), f"{one.ks:.2f}"),
        )
        p_values = (one.ks_p, one.ks_p_holm, one.effect_p, one.effect_p_holm)
        rows.append((one.a, one.b, str(one.n_a), str(one.n_b), *numbers, *(f"{p:.2g}" for p in p_values)))
    return Table("Comparisons", header, tuple(rows), text_columns=2)


def best_table(results: Results, count: int = BEST) -> Table:
    """Return the best networks of one run, as `Results.best` ranks them, with their stages.

    The error of a network that was trained several times is the mean of the trainings that rank it.
    """
    heldout = results.has_heldout
    best = results.best(count)
    has_means = "trainings" in best.columns and bool((best["trainings"] > 1).any())
    header = (
        *(
            "id",
            *(["mean error, %", "trainings"] if has_means else []),
            *(["held-out error, %"] if heldout else []),
            "error, %",
            "best epoch, %",
            "depths d",
            "widths w",
            "ratios b",
            "group widths g",
            "radix",
        ),
        *("flops", "params", "activations", "training"),
    )
    rows = []
    for row in best.to_dict("records"):
        stages = (_stages(row, letter, results.num_stages) for letter in "dwbg")
        sizes = (_size(row[column]) for column in ("flops", "params", "activations"))
        told = (["heldout_error"] if heldout else []) + ["final_error", "best_error"]
        means = [_error(row["mean_error"]), f"{row['trainings']}"] if has_means else []
        errors = [*means, *(_error(row[column]) for column in told)]
        rows.append((row["id"], *errors, *stages, f"{row['radix']:g}", *sizes, duration(row["train_s"])))
    return Table(f"Best networks of {results.name}", header, tuple(rows))


def best_values_table(results: Results) -> Table:
    """What parameters and complexities the best networks of one run have (empirical bootstrap)."""
    rows = tuple(
        (one.metric.axis_label, *map(short_number, (one.best, one.median, one.low, one.high)))
        for one in best_values(results)
    )
    header = ("parameter", "of the best network", "median", "from", "to")
    return Table(f"Best values of {results.name}", header, rows)


def failure_table(results: Sequence[Results]) -> Table:
    """Failed trials by run and reason, the most frequent first, with examples of what was said."""
    rows = []
    for one in results:
        failed = one.table[one.table["status"] == "failed"]
        groups = [(reason, rows_of) for reason, rows_of in failed.groupby("reason", sort=True)]
        for reason, group in sorted(groups, key=lambda pair: -len(pair[1])):
            examples = (
                f"{row['id']}: {row['detail'][:_DETAIL_LENGTH] or 'nothing recorded'}"
                for row in group.head(_EXAMPLES).to_dict("records")
            )
            rows.append((one.name, str(reason), str(len(group)), "\n".join(examples)))
    return Table("Failed trials", ("space", "reason", "trials", "examples"), tuple(rows), text_columns=4)


def notes(results: Sequence[Results]) -> tuple[str, ...]:
    """What a reader must know before believing the figures: trials that failed, are missing, or were trained otherwise.

    One sentence each; empty where there is nothing to warn of.
    """
    found = [f"{one.name}: {note}" for one in results for note in one.notes]
    for one in results:
        counts = one.counts
        if counts.failed:
            chance = f" (chance level is {one.chance_error:g}%)" if counts.failed > one.left_out().sum() else ""
            failed = f"{counts.failed} of {counted(counts.asked, 'trial')} failed, {one.failed_in_words()}{chance}"
            found.append(f"{one.name}: {failed}.")
        if counts.unfinished:
            are = "is" if counts.unfinished == 1 else "are"
            missing = f"{counts.unfinished} of {counted(counts.asked, 'trial')} {are} unfinished"
            found.append(f"{one.name}: {missing} and left out, so its EDF may change.")
        if one.has_heldout:
            found.append(
                f"{one.name}: networks are ranked by their error on held-out images (heldout_error in results.csv), so "
                "the error on the test images of the best one does not flatter it."
            )
    epochs = {one.name: _distinct(one, "epochs") for one in results}
    if any(len(lengths) > 1 for lengths in epochs.values()):
        lengths = "; ".join(f"{name} {', '.join(many)}" for name, many in epochs.items() if len(many) > 1)
        found.append(f"Not all networks were trained equally long, so errors are not comparable. Epochs: {lengths}.")
    return tuple(found)


def _size(value: float) -> str:
    """A complexity; ``-`` where it is not known, as for some imported networks."""
    return "-" if pd.isna(value) else quantity(value)


def _error(error: float | None) -> str:
    """An error in per cent; ``-`` where there is none."""
    return "-" if error is None else f"{error:.2f}"


def _interval(low: float, high: float) -> str:
    """An interval of a difference; ``-`` where there is none, as of one network."""
    return "-" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"


def _stages(row: Mapping[Hashable, Any], letter: str, num_stages: int) -> str:
    """One parameter of all stages of a network, with blanks left out where it has fewer than others of its table."""
    values = (row[f"{letter}{stage}"] for stage in range(1, num_stages + 1))
    return ", ".join(f"{value:g}" for value in values if not pd.isna(value))


def _distinct(results: Results, column: str) -> list[str]:
    """The different values of a column among the done trials."""
    values = results.table.loc[results.table["status"] == "done", column]
    return [f"{value:g}" for value in sorted(values.unique())]
