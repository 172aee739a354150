"""The numbers of a report's interactive part: all trials as columns, small enough to stand in one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from designspace.analysis.edf import edf
from designspace.analysis.figures import error_limits
from designspace.analysis.figures.style import colour, marker
from designspace.analysis.results import Results

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
    """How a report shows one column of a table of results."""

    name: str
    """In the table of results."""
    key: str
    """In the report: the head of its column, and what a reader types to filter by it."""
    help: str
    """What it is, with its unit."""
    format: Format
    axis: Literal["x", "y", ""] = ""
    """Which axis of a scatter plot may show it."""


_FIRST = (
    Column("id", "id", "names the network", "text"),
    Column("run", "run", "the run that the network belongs to", "text"),
    Column("status", "status", "done, failed, running or waiting", "text"),
    Column("final_error", "error", "top-1 error of the last epoch, %", "error", "y"),
    Column("best_error", "best_error", "least top-1 error over the epochs, %; it flatters", "error", "y"),
    Column("heldout_error", "heldout_error", "top-1 error on held-out images, %", "error", "y"),
    Column("flops", "flops", "multiply-adds", "quantity", "x"),
    Column("params", "params", "learned weights", "quantity", "x"),
    Column("activations", "activations", "output elements of convolutions and linear layers", "quantity", "x"),
    Column("depth", "depth", "blocks of all stages together", "whole", "x"),
    Column("w_0", "w_0", "initial width of a RegNet, channels", "real", "x"),
    Column("w_a", "w_a", "slope of a RegNet's widths, channels a block", "real", "x"),
    Column("w_m", "w_m", "width multiplier of a RegNet", "real", "x"),
)
_LAST = (
    Column("radix", "radix", "splits of split attention; 0 for none", "whole", "x"),
    Column("epochs", "epochs", "epochs trained", "whole"),
    Column("train_s", "time", "time of training, seconds", "seconds", "y"),
    Column("memory_bytes", "memory", "memory that the training needed at its highest, bytes", "quantity", "y"),
    Column("device", "device", "what it was trained on", "text"),
    Column("seed", "seed", "of initialisation, order and augmentation", "whole"),
)
_WORDS = (
    Column("draws", "draws", "draws of the space that gave this network", "whole"),
    Column("counts", "counts", "whether its error counts in the figures", "text"),
    Column("reason", "reason", "why the trial failed", "text"),
    Column("detail", "detail", "what was recorded of the failure", "text"),
)


def trial_data(results: Sequence[Results]) -> dict[str, Any]:
    """All trials of some runs, in their order, as what `as_json` takes.

    Columns without any number or word are left out; real numbers keep six digits, errors three decimals, words 300
    characters.

    Args:
        results: runs with different names.
    """
    tables = [_with_depth(one) for one in results]
    columns = []
    for column in _columns(tables):
        values = [value for table in tables for value in _values(table, column)]
        if column.key in ("reason", "error") or any(value not in (None, "") for value in values):
            columns.append(
                {"key": column.key, "name": column.name, "help": column.help}
                | {"format": column.format, "axis": column.axis, "values": values}
            )
    curves = [edf(errors) for errors in (one.errors() for one in results) if errors.size]
    return {
        "runs": [
            {"name": one.name, "progress": one.counts.sentence(), "colour": colour(place), "marker": marker(place)}
            for place, one in enumerate(results)
        ],
        "columns": columns,
        "stages": list(range(1, max(one.num_stages for one in results) + 1)),
        "histories": [_history(one, trial) for one in results for trial in one.table["trial"]],
        "chance": _short(results[0].chance_error),
        "leftOut": [place for place, is_out in enumerate(_left_out(results)) if is_out],
        "limits": [_short(end) for end in error_limits(curves, results[0].chance_error)],
    }


def _left_out(results: Sequence[Results]) -> list[bool]:
    """Return which trials failed and do not count, in the order of all runs."""
    return [is_out for one in results for is_out in one.left_out().tolist()]


def edf_place(figure: Figure) -> dict[str, float]:
    """Where the axes of an EDF lie in its picture, as parts of its size from the top left, and the ends of the errors.

    The figure must have been drawn, for only then its layout is known.
    """
    (axes,) = figure.axes
    place, (low, high), (bottom, top) = axes.get_position(), axes.get_xlim(), axes.get_ylim()
    numbers = {"left": place.x0, "right": place.x1, "top": 1 - place.y1, "bottom": 1 - place.y0}
    numbers |= {"low": low, "high": high, "least": bottom, "most": top}
    return {name: _short(number) for name, number in numbers.items()}


def as_json(value: Any) -> str:
    r"""A value as JSON that may stand within an HTML script element: ASCII, and without any sign that HTML knows.

    >>> as_json({"name": "</script>", "errors": [1.5, None]})
    '{"name":"\\u003c/script\\u003e","errors":[1.5,null]}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _with_depth(results: Results) -> pd.DataFrame:
    """The table of a run with its name and the depth of each network."""
    table = results.table.copy(deep=False)
    if "depth" not in table.columns:
        table["depth"] = table[[f"d{stage}" for stage in range(1, results.num_stages + 1)]].sum(axis=1)
    if (table["run"] != results.name).any():  # several runs in one: each trial's own
        table["origin"] = table["run"]
    table["run"] = results.name
    return table


def _columns(tables: Sequence[pd.DataFrame]) -> list[Column]:
    """The columns of all tables, in the order in which a report shows them."""
    names = list(dict.fromkeys(str(name) for table in tables for name in table.columns))
    stages = [
        Column(name, name, _STAGE[name[0]].format(name[1:]), "whole" if name[0] in "dwg" else "real", "x")
        for letter in "dwbg"
        for name in sorted((n for n in names if n[0] == letter and n[1:].isdecimal()), key=lambda n: int(n[1:]))
    ]
    known = {column.name for column in (*_FIRST, *stages, *_LAST, *_WORDS)}
    distinct = any((table["trial"] != table["id"]).any() for table in tables)
    own = [name for name in names if name not in known and (name != "trial" or distinct)]
    others = [
        Column(name, name, "", "real" if _is_number(tables, name) else "text", "x" if _is_number(tables, name) else "")
        for name in own
    ]
    every = (*_FIRST, *stages, *_LAST, *others, *_WORDS)
    taken = {column.name for column in others}  # a table's own column keeps its name, and ours steps back
    return [
        Column(column.name, column.name, column.help, column.format, column.axis)
        if column.name != column.key and column.key in taken
        else column
        for column in every
        if column.name in names
    ]


def _is_number(tables: Sequence[pd.DataFrame], name: str) -> bool:
    """Whether a column holds numbers in all tables that have it."""
    columns = [table[name] for table in tables if name in table.columns]
    return all(pd.api.types.is_numeric_dtype(one) and not pd.api.types.is_bool_dtype(one) for one in columns)


def _values(table: pd.DataFrame, column: Column) -> list[Any]:
    """The values of one column as JSON has them: numbers, texts, or None where there is none."""
    if column.name not in table.columns:
        return [None] * len(table)
    values = table[column.name].tolist()
    if column.format == "text":
        return ["" if value is None or value != value else _cut(str(value)) for value in values]
    if column.format == "error":
        return [None if value != value else _tidy(round(value, 3)) for value in values]
    return [_short(value) if abs(value) < float("inf") else None for value in values]  # nor is NaN


def _history(results: Results, trial: str) -> list[list[float | None]] | None:
    """Epochs, test errors and train errors of a trial; None where nothing is known."""
    history = results.histories.get(trial)
    if not history:
        return None
    errors = ([one.test_error for one in history], [one.train_error for one in history])
    return [
        [one.epoch for one in history],
        *([_tidy(round(error, 3)) if error == error else None for error in row] for row in errors),
    ]


def _cut(text: str) -> str:
    """A text that is not too long."""
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _short(value: float) -> float:
    """A number with the digits that mean something; whole ones stay exact."""
    return int(value) if float(value).is_integer() else float(f"{value:.{_DIGITS}g}")


def _tidy(value: float) -> float:
    """A whole number as int: 20 for 20.0."""
    return int(value) if float(value).is_integer() else value
