"""The epochs of many trials as one CSV file, history.csv."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.support.csv_text import as_commas, looks_changed, why_not_an_id
from designspace.support.errors import RunError
from designspace.support.reading import read_bytes
from designspace.support.text import to_cell
from designspace.trials.trial import EpochRecord

_COLUMNS = tuple(field.name for field in dataclasses.fields(EpochRecord))
_LEAST_COLUMNS = 1 + sum(field.default is dataclasses.MISSING for field in dataclasses.fields(EpochRecord))


def histories_csv(histories: Mapping[str, Sequence[EpochRecord]]) -> str:
    """Return the epochs of trials, by id, as CSV: one row per epoch."""
    rows = [[id_, *dataclasses.astuple(record)] for id_, history in histories.items() for record in history]
    return csv_text([["id", *_COLUMNS], *rows])


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV; texts that a spreadsheet would run as formulas are marked as texts."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(to_cell, row) for row in rows])
    return text.getvalue()


def read_histories(path: Path) -> dict[str, tuple[EpochRecord, ...]]:
    """Read what `histories_csv` gave.

    Raises:
        RunError: the file cannot be read, is cut off or was edited.
    """
    histories: dict[str, list[EpochRecord]] = {}
    try:
        text = as_commas(read_bytes(path)).decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text), strict=True)
        if ["id", *_COLUMNS][: len(header)] != header or len(header) < _LEAST_COLUMNS or not text.endswith("\n"):
            raise ValueError(f"its columns must be id,{','.join(_COLUMNS)}, and its last line whole")
        for id_, epoch, *numbers in filter(None, rows):
            if looks_changed(id_):
                raise ValueError(why_not_an_id(id_))
            record = EpochRecord(int(epoch), *(float(number) if number else None for number in numbers))  # type: ignore[arg-type]
            histories.setdefault(id_, []).append(record)
    except (ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path} does not hold epochs ({error})") from error
    return {id_: tuple(history) for id_, history in histories.items()}
