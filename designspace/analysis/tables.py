"""Results as tables of formatted text, for both a terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from designspace.analysis.best_values import best_values
from designspace.analysis.comparison import Comparison
from designspace.analysis.early_stops import edf_of
from designspace.analysis.quantities import network_costs, short_number, values
from designspace.analysis.results import Counts, Results
from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.support.text import counted, duration
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.recipe_axes import typed

BEST = 5
"""Number of networks per run in the tables of best networks."""
_EXAMPLES = 3
_DETAIL_LENGTH = 300


@dataclass(frozen=True, slots=True, repr=False)
class Table(Outlined):
    """A table of text, not escaped or coloured; that is left to the code that prints it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    """Number of leading columns with text; the others hold numbers."""


@dataclass(frozen=True, slots=True)
class SpaceSummary:
    """Summary statistics of one run. Errors are values of ``metric``, None if no trial counts."""

    name: str
    counts: Counts
    min_error: float | None
    """The best error."""
    mean_error: float | None
    median_error: float | None
    medians: Mapping[Quantity, float]
    """The median of each cost of the networks, over all networks of the run that have it, finished or not."""
    train_s: float
    """Total training time of all trials in seconds, as far as recorded."""
    metric: Metric = TOP1_ERROR


def summarize(results: Results) -> SpaceSummary:
    """Return the summary statistics of one run."""
    metric = results.metric
    curve = edf_of(results) if results.counted().any() else None
    return SpaceSummary(
        name=results.name,
        counts=results.counts,
        min_error=metric.oriented(curve.min) if curve else None,
        mean_error=metric.oriented(curve.mean) if curve else None,
        median_error=metric.oriented(curve.median) if curve else None,
        medians={cost: float(np.nanmedian(values(results, cost))) for cost in network_costs(results)},
        train_s=float(results.table["train_s"].sum()),
        metric=metric,
    )


def space_table(summaries: Sequence[SpaceSummary]) -> Table:
    """Return a table with one row per run."""
    metric = summaries[0].metric if summaries else TOP1_ERROR
    kinds = ("min" if metric.direction == "lower" else "max", "mean", "median")
    costs = list(dict.fromkeys(cost for summary in summaries for cost in summary.medians))
    header = (
        *("space", "trials", "done", "failed", "unfinished", *(f"{kind} {metric.heading}" for kind in kinds)),
        *(*(f"median {_heading(cost, costs)}" for cost in costs), "training"),
    )
    rows = []
    for summary in summaries:
        counts = (summary.counts.total, summary.counts.done, summary.counts.failed, summary.counts.unfinished)
        errors = (summary.min_error, summary.mean_error, summary.median_error)
        sizes = (_size(cost, summary.medians.get(cost, math.nan)) for cost in costs)
        numbers = (_error(error, metric) for error in errors)
        texts = (*map(str, counts), *numbers, *sizes, duration(summary.train_s))
        rows.append((summary.name, *texts))
    return Table("Spaces", header, tuple(rows))


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Return a table with one row per pair of spaces, with the numbers behind its sentence."""
    header = (
        *("A", "B", "n of A", "n of B", "P(A better)", "its interval", "mean A - mean B", "its interval"),
        *("median A - median B", "its interval", "KS D", "KS p", "KS p, Holm"),
        *("p of P(A better)", "p of P(A better), Holm"),
    )
    rows = []
    for pair in comparisons:
        numbers = (
            *(f"{pair.effect:.2f}", f"{pair.effect_low:.2f} to {pair.effect_high:.2f}"),
            *_difference(pair.own_means, pair.metric),
            *_difference(pair.own_medians, pair.metric),
            f"{pair.ks:.2f}",
        )
        p_values = (pair.ks_p, pair.ks_p_holm, pair.effect_p, pair.effect_p_holm)
        rows.append(
            (
                pair.a,
                pair.b,
                str(pair.n_a),
                str(pair.n_b),
                *numbers,
                *(f"{p:.2g}" for p in p_values),
            )
        )
    return Table("Comparisons", header, tuple(rows), text_columns=2)


def best_table(results: Results, count: int = BEST) -> Table:
    """Return the best networks of one run, as `Results.best` ranks them, with their stages and drawn settings.

    The error of a network that was trained several times is the mean of the trainings that rank it.
    """
    heldout, metric = results.has_heldout, results.metric
    best = results.best(count)
    costs = network_costs(results)
    has_means = "trainings" in best.columns and bool((best["trainings"] > 1).any())
    header = (
        *(
            "id",
            *([f"mean {metric.heading}", "trainings"] if has_means else []),
            *([f"held-out {metric.heading}"] if heldout else []),
            metric.heading,
            "best epoch" + metric.heading.removeprefix(metric.name),
            "depths d",
            "widths w",
            "ratios b",
            "group widths g",
            "radix",
            *results.drawn,
        ),
        *(*(_heading(cost, costs) for cost in costs), "training"),
    )
    rows = []
    for row in best.to_dict("records"):
        stages = (_stages(row, letter, results.num_stages) for letter in "dwbg")
        sizes = (_size(cost, row[cost.name]) for cost in costs)
        error_columns = (["heldout_error"] if heldout else []) + ["final_error", "best_error"]
        means = [_error(row["mean_error"], metric), f"{row['trainings']}"] if has_means else []
        errors = [*means, *(_error(row[column], metric) for column in error_columns)]
        settings = (_setting(row[name]) for name in results.drawn)
        rows.append((row["id"], *errors, *stages, f"{row['radix']:g}", *settings, *sizes, duration(row["train_s"])))
    return Table(f"Best networks of {results.name}", header, tuple(rows))


def best_values_table(results: Results) -> Table:
    """Return the parameters, settings and costs of the best networks of one run (empirical bootstrap)."""
    rows = tuple(
        (value.quantity.axis_label, *map(short_number, (value.best, value.median, value.low, value.high)))
        for value in best_values(results)
    )
    header = ("parameter", "best network", "median", "from", "to")
    return Table(f"Best values of {results.name}", header, rows)


def failure_table(results: Sequence[Results]) -> Table:
    """Return the failed trials by run and reason, the most frequent first, with examples of recorded details."""
    rows = []
    for run in results:
        failed = run.table[run.table["status"] == "failed"]
        groups = [(reason, rows_of) for reason, rows_of in failed.groupby("reason", sort=True)]
        for reason, group in sorted(groups, key=lambda pair: -len(pair[1])):
            examples = (
                f"{row['id']}: {row['detail'][:_DETAIL_LENGTH] or 'nothing recorded'}"
                for row in group.head(_EXAMPLES).to_dict("records")
            )
            rows.append((run.name, str(reason), str(len(group)), "\n".join(examples)))
    return Table("Failed trials", ("space", "reason", "trials", "examples"), tuple(rows), text_columns=4)


def notes(results: Sequence[Results]) -> tuple[str, ...]:
    """Return warnings for readers of the figures: trials that failed, are unfinished, or were trained differently.

    There is one sentence per warning.
    """
    sentences = [f"{run.name}: {note}" for run in results for note in run.notes]
    for run in results:
        counts = run.counts
        if counts.failed:
            level = run.metric.short_text(run.guess)
            chance = f" (chance level is {level})" if counts.failed > run.left_out().sum() else ""
            failed = f"{counts.failed} of {counted(counts.total, 'trial')} failed, {run.failed_as_text()}{chance}"
            sentences.append(f"{run.name}: {failed}.")
        if counts.unfinished:
            are = "is" if counts.unfinished == 1 else "are"
            missing = f"{counts.unfinished} of {counted(counts.total, 'trial')} {are} unfinished"
            sentences.append(f"{run.name}: {missing} and left out, so its EDF may change.")
        if counts.stopped:
            sentences.append(
                f"{run.name}: {counts.stopped} of {counted(counts.total, 'trial')} were stopped early, because their "
                f"{run.metric.plural} after some epochs were not among the best. Networks that were drawn at random "
                "and trained to the end represent them. When parameters or costs are compared, only those count."
            )
        if run.has_heldout:
            sentences.append(
                f"{run.name}: networks are ranked by their {run.metric.name} on held-out images (heldout_error in "
                f"results.csv), so the best network's {run.metric.name} on the test images is not biased by the choice."
            )
    epochs = {run.name: _distinct(run, "epochs") for run in results}
    if any(len(lengths) > 1 for lengths in epochs.values()):
        lengths = "; ".join(f"{name} {', '.join(many)}" for name, many in epochs.items() if len(many) > 1)
        sentences.append(
            f"Not all networks were trained for the same number of epochs, so {results[0].metric.plural} are not "
            f"comparable. Epochs: {lengths}."
        )
    return tuple(sentences)


def _heading(cost: Quantity, costs: Sequence[Quantity]) -> str:
    """Return the heading of a column of a cost: its noun, or its name if another column has the same noun."""
    return cost.noun if [other.noun for other in costs].count(cost.noun) == 1 else cost.name


def _size(cost: Quantity, value: float) -> str:
    """Return a cost as text; ``-`` if it is not known, as for some imported networks."""
    return "-" if pd.isna(value) else cost.text(value)


def _setting(value: Any) -> str:
    """Return a setting of the recipe as the user types it."""
    is_real = isinstance(value, float)
    return typed(None if is_real and math.isnan(value) else f"{value:g}" if is_real else value)


def _error(error: float | None, metric: Metric) -> str:
    """Return an error as text; ``-`` if there is none."""
    return "-" if error is None else metric.number(error)


def _difference(estimate: tuple[float, float, float], metric: Metric) -> tuple[str, str]:
    """Return a difference and its interval as text; ``-`` if there is none, as for a single network."""
    value, low, high = estimate
    return metric.signed(value), "-" if math.isnan(low) else f"{metric.signed(low)} to {metric.signed(high)}"


def _stages(row: Mapping[Hashable, Any], letter: str, num_stages: int) -> str:
    """Return one parameter of all stages of a network as text, without blanks for stages that it does not have."""
    values = (row[f"{letter}{stage}"] for stage in range(1, num_stages + 1))
    return ", ".join(f"{value:g}" for value in values if not pd.isna(value))


def _distinct(results: Results, column: str) -> list[str]:
    """Return the distinct values of a column among the done trials."""
    values = results.table.loc[results.table["status"] == "done", column]
    return [f"{value:g}" for value in sorted(values.unique())]
