"""Epochs of trainings as text: JSON lines of one trial, a table of one trial, and a table of all trials of a run."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.support.checks import from_fields
from designspace.support.csv_text import as_commas, looks_changed, why_not_an_id
from designspace.support.errors import RunError
from designspace.support.reading import parse_json, read_bytes
from designspace.support.text import to_cell
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.plan import id_of
from designspace.trials.trial import EpochRecord

_COLUMNS = tuple(field.name for field in dataclasses.fields(EpochRecord))
_VALUES = operator.attrgetter(*_COLUMNS)
"""Returns the values of an epoch; ten times as fast as `dataclasses.astuple`, which copies them."""
_LEAST_COLUMNS = 1 + sum(field.default is dataclasses.MISSING for field in dataclasses.fields(EpochRecord))


def common_beginning(first: Sequence[EpochRecord], second: Sequence[EpochRecord]) -> tuple[EpochRecord, ...]:
    """Return the epochs that both begin with. They may differ later, if a damaged checkpoint restarted a training."""
    pairs = zip(first, second, strict=False)
    return tuple(record for record, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def to_json_lines(history: Sequence[EpochRecord]) -> str:
    """Return the epochs of one trial as JSON, one line per epoch."""
    return "".join(f"{json.dumps(dataclasses.asdict(record))}\n" for record in history)


def from_json_lines(text: str) -> tuple[EpochRecord, ...]:
    """Return the epochs that `to_json_lines` wrote.

    Raises:
        ValueError: the text is cut off or was edited.
    """
    return tuple(from_fields(EpochRecord, parse_json(line)) for line in text.splitlines())


def to_csv(history: Sequence[EpochRecord]) -> str:
    """Return the epochs of one training as CSV, one row per epoch."""
    return csv_text([_COLUMNS, *map(_VALUES, history)])


def from_csv(text: str) -> tuple[EpochRecord, ...]:
    """Return the epochs that `to_csv` wrote.

    Raises:
        ValueError: the text is cut off or was edited.
    """
    try:
        header, *rows = csv.reader(text.splitlines(), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if tuple(header) != _COLUMNS:
        raise ValueError(f"its columns must be {', '.join(_COLUMNS)}")
    return tuple(map(_record, rows))


def histories_csv(histories: Mapping[str, Sequence[EpochRecord]]) -> str:
    """Return the epochs of all trials, given by their keys, as CSV with one row per epoch.

    The first column is ``id`` if all keys are ids of networks, as in runs without repeats; otherwise ``trial``.
    """
    rows = [[key, *_VALUES(record)] for key, history in histories.items() for record in history]
    name = "id" if all(id_of(key) == key for key in histories) else "trial"
    return csv_text([[name, *_COLUMNS], *rows])


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV; texts that a spreadsheet would run as formulas are escaped."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(to_cell, row) for row in rows])
    return text.getvalue()


def read_histories(path: Path, metric: Metric = TOP1_ERROR) -> dict[str, tuple[EpochRecord, ...]]:
    """Read a file that `histories_csv` wrote: key -> epochs, which are measured by a metric.

    Raises:
        RunError: the file cannot be read, is cut off or was edited.
    """
    histories: dict[str, list[EpochRecord]] = {}
    try:
        text = as_commas(read_bytes(path)).decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text), strict=True)
        is_known = header[:1] in (["id"], ["trial"]) and header[1:] == list(_COLUMNS)[: len(header) - 1]
        if not is_known or len(header) < _LEAST_COLUMNS or not text.endswith("\n"):
            raise ValueError(f"its columns must be id,{','.join(_COLUMNS)}, and its last line whole")
        for key, *values in filter(None, rows):
            if looks_changed(key):
                raise ValueError(why_not_an_id(key))
            record = _record(values)
            record.check(metric)
            histories.setdefault(key, []).append(record)
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} does not hold epochs ({error})") from error
    return {key: tuple(history) for key, history in histories.items()}


def _record(values: Sequence[str]) -> EpochRecord:
    """Return the epoch of a row.

    Raises:
        ValueError: it has too few or too many values, or a value that is not a number.
    """
    try:
        epoch, *numbers = values
        return EpochRecord(int(epoch), *(float(number) if number else None for number in numbers))  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(str(error)) from error
