"""The data of a report's interactive part: all trials as columns, small enough for one HTML file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from designspace.analysis.edf import edf
from designspace.analysis.figures import error_limits
from designspace.analysis.figures.style import colour, marker
from designspace.analysis.results import Results
from designspace.networks.quantities import COUNTED, Quantity
from designspace.trials.metric import Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["text", "error", "whole", "quantity", "seconds", "real"]

_LONGEST_TEXT = 300
_DIGITS = 6
_STAGE = {
    "d": "depth of stage {}, blocks",
    "w": "width of stage {}, channels",
    "b": "bottleneck ratio of stage {}",
    "g": "group width of stage {}, channels",
}


@dataclass(frozen=True, slots=True)
class Column:
    """Description of how a report shows one column of a table of results."""

    name: str
    """Name in the table of results."""
    key: str
    """Name in the report: the column's heading, and the name to filter by."""
    help: str
    """Description with unit."""
    format: Format
    axis: Literal["x", "y", ""] = ""
    """The axis of a scatter plot that may show it, if any."""


_FIRST = (
    Column("id", "id", "identifier of the network", "text"),
    Column("run", "run", "the run that the network belongs to", "text"),
    Column("status", "status", "done, failed, running or waiting", "text"),
    Column("final_error", "error", "top-1 error of the last epoch, %", "error", "y"),
    Column("best_error", "best_error", "least top-1 error over the epochs, %; optimistic", "error", "y"),
    Column("heldout_error", "heldout_error", "top-1 error on held-out images, %", "error", "y"),
    Column("flops", "flops", "multiply-adds", "quantity", "x"),
    Column("params", "params", "learned weights", "quantity", "x"),
    Column("activations", "activations", "output elements of convolutions and linear layers", "quantity", "x"),
    Column("depth", "depth", "blocks of all stages together", "whole", "x"),
    Column("w_0", "w_0", "initial width of a RegNet, channels", "real", "x"),
    Column("w_a", "w_a", "slope of a RegNet's widths, channels per block", "real", "x"),
    Column("w_m", "w_m", "width multiplier of a RegNet", "real", "x"),
)
_LAST = (
    Column("radix", "radix", "splits of split attention; 0 for none", "whole", "x"),
    Column("epochs", "epochs", "epochs trained", "whole"),
    Column("train_s", "time", "training time, seconds", "seconds", "y"),
    Column("memory_bytes", "memory", "peak memory of the training, bytes", "quantity", "y"),
    Column("device", "device", "device that it was trained on", "text"),
    Column("seed", "seed", "seed of initialisation, order and augmentation", "whole"),
)
_FAILURE_COLUMNS = (
    Column("draws", "draws", "how often this network was drawn from the space", "whole"),
    Column("counts", "counts", "whether its error counts in the figures", "text"),
    Column("reason", "reason", "why the trial failed", "text"),
    Column("detail", "detail", "recorded details of the failure", "text"),
)


def trial_data(results: Sequence[Results]) -> dict[str, Any]:
    """Return all trials of some runs, in their order, as data for `as_json`.

    Columns without any value are left out; real numbers keep six digits, errors three decimals, texts 300 characters.

    Args:
        results: runs with different names.
    """
    tables = [_with_depth(run) for run in results]
    columns = []
    costs = COUNTED | {name: cost for run in results for name, cost in run.measured.items()}
    for column in _columns(tables, results[0].metric, costs):
        values = [value for table in tables for value in _values(table, column)]
        if column.name in ("reason", "final_error") or any(value not in (None, "") for value in values):
            columns.append(
                {"key": column.key, "name": column.name, "help": column.help}
                | {"format": column.format, "axis": column.axis, "values": values}
            )
    metric = results[0].metric
    curves = [edf(errors, metric=metric) for errors in (run.errors() for run in results) if errors.size]
    return {
        "runs": [
            {"name": run.name, "progress": run.counts.sentence(), "colour": colour(index), "marker": marker(index)}
            for index, run in enumerate(results)
        ],
        "columns": columns,
        "stages": list(range(1, max(run.num_stages for run in results) + 1)),
        "histories": [_history(run, trial) for run in results for trial in run.table["trial"].tolist()],
        "metric": {
            "key": "error" if metric.is_default else "score",
            "name": metric.name,
            "unit": metric.unit,
            "digits": metric.digits,
            "reaches": metric.reaches,
            "sign": metric.oriented(1),
        },
        "chance": _short(results[0].chance_error),
        "leftOut": [index for index, is_left_out in enumerate(_left_out(results)) if is_left_out],
        "limits": [_short(end) for end in error_limits(curves, results[0].chance_error)],
    }


def _left_out(results: Sequence[Results]) -> list[bool]:
    """Return for each trial of all runs whether it failed and does not count."""
    return [is_left_out for run in results for is_left_out in run.left_out().tolist()]


def edf_position(figure: Figure) -> dict[str, float]:
    """Return the position of an EDF's axes, as fractions of the figure from its top left, and the limits of the axes.

    The figure must have been drawn, because only then its layout is known.
    """
    (axes,) = figure.axes
    box, (low, high), (bottom, top) = axes.get_position(), axes.get_xlim(), axes.get_ylim()
    numbers = {"left": box.x0, "right": box.x1, "top": 1 - box.y1, "bottom": 1 - box.y0}
    numbers |= {"low": low, "high": high, "least": bottom, "most": top}
    return {name: _short(number) for name, number in numbers.items()}


def as_json(value: Any) -> str:
    r"""Return a value as JSON for an HTML script element: ASCII, without any character that is special in HTML.

    >>> as_json({"name": "</script>", "errors": [1.5, None]})
    '{"name":"\\u003c/script\\u003e","errors":[1.5,null]}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _with_depth(results: Results) -> pd.DataFrame:
    """Return the table of a run with its name and the depth of each network."""
    table = results.table.copy(deep=False)
    if "depth" not in table.columns:
        table["depth"] = table[[f"d{stage}" for stage in range(1, results.num_stages + 1)]].sum(axis=1)
    if (table["run"] != results.name).any():  # several runs in one: keep each trial's run
        table["origin"] = table["run"]
    table["run"] = results.name
    return table


def _of_metric(column: Column, metric: Metric) -> Column:
    """Return a column of errors as one of another metric than the default one."""
    parts = {
        "final_error": "of the last epoch",
        "best_error": "best of all epochs",
        "heldout_error": "on held-out images",
    }
    if metric.is_default or column.name not in parts:
        return column
    text = f"{metric.name} {parts[column.name]}" + (f", {metric.unit}" if metric.unit else "")
    return dataclasses.replace(column, key=column.key.replace("error", "score"), help=text)


def _columns(tables: Sequence[pd.DataFrame], metric: Metric, costs: Mapping[str, Quantity]) -> list[Column]:
    """Return the columns of all tables, in the order in which a report shows them."""
    names = list(dict.fromkeys(str(name) for table in tables for name in table.columns))
    stages = [
        Column(name, name, _STAGE[name[0]].format(name[1:]), "whole" if name[0] in "dwg" else "real", "x")
        for letter in "dwbg"
        for name in sorted((n for n in names if n[0] == letter and n[1:].isdecimal()), key=lambda n: int(n[1:]))
    ]
    known = {column.name for column in (*_FIRST, *stages, *_LAST, *_FAILURE_COLUMNS)}
    has_trial_names = any((table["trial"] != table["id"]).any() for table in tables)
    other_names = [name for name in names if name not in known and (name != "trial" or has_trial_names)]
    others = [
        Column(name, name, costs[name].axis_label, "quantity" if costs[name].whole else "real", "x")
        if name in costs
        else Column(
            name, name, "", "real" if _is_number(tables, name) else "text", "x" if _is_number(tables, name) else ""
        )
        for name in other_names
    ]
    first = [_of_metric(column, metric) for column in _FIRST]
    every = (*first, *stages, *_LAST, *others, *_FAILURE_COLUMNS)
    taken = {column.name for column in others}  # other columns keep their names, and a known column gives way
    return [
        Column(column.name, column.name, column.help, column.format, column.axis)
        if column.name != column.key and column.key in taken
        else column
        for column in every
        if column.name in names
    ]


def _is_number(tables: Sequence[pd.DataFrame], name: str) -> bool:
    """Return whether a column holds numbers in all tables that have it."""
    columns = [table[name] for table in tables if name in table.columns]
    return all(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column) for column in columns)


def _values(table: pd.DataFrame, column: Column) -> list[Any]:
    """Return the values of one column as JSON values: numbers, texts, or None if there is none."""
    if column.name not in table.columns:
        return [None] * len(table)
    values: list[Any] = table[column.name].tolist()
    if column.format == "text":
        return ["" if value is None or value != value else _cut(str(value)) for value in values]
    if column.format == "error":
        return [None if value != value else _tidy(round(value, 3)) for value in values]
    if pd.api.types.is_integer_dtype(table[column.name]):
        return values
    return [
        _short(value) if abs(value) < float("inf") else None for value in values
    ]  # NaN is not below infinity either


def _history(results: Results, trial: str) -> list[list[float | None]] | None:
    """Return epochs, test errors and training errors of a trial; None if they are not known."""
    history = results.histories.get(trial)
    if not history:
        return None
    errors = ([record.test_error for record in history], [record.train_error for record in history])
    return [
        [record.epoch for record in history],
        *([None if error is None or error != error else _tidy(round(error, 3)) for error in row] for row in errors),
    ]


def _cut(text: str) -> str:
    """Return a text, shortened if it is too long."""
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _short(value: float) -> float:
    """Return a number with its significant digits; whole numbers stay exact."""
    return int(value) if float(value).is_integer() else float(f"{value:.{_DIGITS}g}")


def _tidy(value: float) -> float:
    """Return a whole number as int: 20 for 20.0."""
    return int(value) if float(value).is_integer() else value
