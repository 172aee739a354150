"""Checks of a table of results: its columns, its ids, and the consistency of each row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.columns import is_number, missing_columns
from designspace.support.errors import InputError, unknown
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.state import STATUSES

ErrorColumn = Literal["final_error", "best_error", "heldout_error"]

_TEXT = ("status", "device", "reason", "detail")
_STAGE = re.compile(r"([dwbg])([1-9]\d*)")


def checked_table(name: str, table: pd.DataFrame, metric: Metric = TOP1_ERROR) -> pd.DataFrame:
    """Return a copy of a table of results, as `read_table` returns it, with columns of numbers and of texts.

    Its errors must be possible values of a metric.

    Raises:
        InputError: the table is empty, lacks columns, or has a row that contradicts itself.
    """
    missing = missing_columns(table.columns)
    if missing:
        raise InputError(f"{name}: the table of results lacks the columns {', '.join(missing)}")
    if table.empty:
        raise InputError(f"{name}: the table of results has no rows")
    stages = {letter: stages_of(table, letter) for letter in "dwbg"}
    if len(set(map(tuple, stages.values()))) > 1:
        counts = ", ".join(f"{len(numbers)} x {letter}" for letter, numbers in stages.items())
        raise InputError(f"{name}: the stage columns are incomplete ({counts}); was the table cut off?")
    table = table.reset_index(drop=True)  # a copy: the caller's table stays as it is
    _check_ids(name, table)
    for column in table.columns:
        if column in _TEXT:
            table[column] = _texts(table[column])
        elif is_number(column) and not pd.api.types.is_numeric_dtype(table[column].dtype):
            table[column] = _numbers(name, table, column)
    _check_rows(name, table, metric)
    return table


def stages_of(table: pd.DataFrame, letter: str) -> list[int]:
    """Return the numbers of the stages that a letter has columns for, in ascending order."""
    matches = (_STAGE.fullmatch(str(column)) for column in table.columns)
    return sorted(int(match[2]) for match in matches if match and match[1] == letter)


def _numbers(name: str, table: pd.DataFrame, column: str) -> pd.Series:
    """Return a column as numbers."""
    try:
        return pd.to_numeric(table[column])
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: the column {column} must hold numbers ({error})") from error


def _texts(values: pd.Series) -> pd.Series:
    """Return a column as texts, with empty strings for blanks."""
    if isinstance(values.dtype, pd.StringDtype) and not values.hasnans:
        return values
    return values.astype(object).where(values.notna(), "").astype(str)


def _check_ids(name: str, table: pd.DataFrame) -> None:
    """Raise unless ids are texts, and the trials (or, without that column, the ids) are unique.

    Plain pandas reads 12 hex digits like 123456789012 or 1e4567 as numbers.
    """
    for column in ("id", "trial") if "trial" in table.columns else ("id",):
        values = table[column]
        all_text = pd.api.types.infer_dtype(values, skipna=False) == "string"
        wrong = values[values == ""] if all_text else values[[not (isinstance(v, str) and v) for v in values]]
        if not wrong.empty:
            raise InputError(
                f"{name}: {column}s must be text, not {wrong.iloc[0]!r}; read the file with designspace's read_table"
            )
    repeated = values[values.duplicated()]  # of the last column that was checked
    if not repeated.empty:
        raise InputError(f"{name}: the {column} {repeated.iloc[0]} is in more than one row")


def _check_rows(name: str, table: pd.DataFrame, metric: Metric) -> None:
    """Raise for the first row whose status and numbers contradict each other."""
    status = table["status"]
    done = (status == "done").to_numpy()
    # Each check is a mask of the wrong rows and a function that describes one of them.
    checks: list[tuple[NDArray[np.bool_], Callable[[Any], str]]] = [
        (~status.isin(STATUSES).to_numpy(), lambda row: f": {unknown('status', row['status'], STATUSES)}"),
        (((status == "failed") & (table["reason"] == "")).to_numpy(), lambda _: " failed, but has no reason"),
    ]
    for column in get_args(ErrorColumn):
        if column in table.columns:
            errors = table[column].to_numpy(np.float64, na_value=np.nan)
            wrong = done & ~metric.allows(errors)
            if column == "heldout_error":  # optional
                wrong &= ~np.isnan(errors)
            checks.append((wrong, _describing(column, f" is done, so {{}} must be {metric.range_text}, not {{}}")))
    quantities = ("flops", "params", "activations")
    counts = {column: table[column].to_numpy(np.float64, na_value=np.nan) for column in quantities}
    nothing_counted = bool(np.isnan(counts["flops"]).all() and np.isnan(counts["params"]).all())
    for column, values in counts.items():
        wrong = ~((values >= 0) & (values < math.inf))
        # Other programs may not count activations, or flops and params before a network is built, or anything at all.
        wrong &= ~np.isnan(values) | (False if column == "activations" or nothing_counted else done)
        checks.append((wrong, _describing(column, ": {} must be a number >= 0, not {}")))
    first = min((int(np.argmax(wrong)) for wrong, _ in checks if wrong.any()), default=None)
    if first is not None:
        row = table.iloc[first]
        describe = next(describe for wrong, describe in checks if wrong[first])
        raise InputError(f"{name}: trial {row['id']}{describe(row)}")


def _describing(column: str, text: str) -> Callable[[Any], str]:
    """Return a function that describes the wrong value of a row in a column."""
    return lambda row: text.format(column, row[column])


def checked_name(name: str) -> str:
    """Return the name of a run.

    Raises:
        InputError: it is not one line of printable text.
    """
    if not name or not name.isprintable():
        raise InputError(f"the name of a run must be printable text on one line, not {name!r}")
    return name
