"""Reading results.csv: checked field by field, with errors that name the line and the column."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.columns import WHOLE_COLUMN, is_number, missing_columns, whole_numbers
from designspace.support.csv_text import ID, looks_changed, separator, why_not_an_id
from designspace.support.errors import RunError
from designspace.support.reading import read_bytes
from designspace.support.text import from_cell

_NEVER_BLANK = ("id", "status", "radix", "flops", "params", "activations")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_QUOTED = re.compile(rb'"[^"]*"')
_BLOCK = 100_000
"""Number of rows that are in memory as text at once: a million of them would need gigabytes."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a ``results.csv``, with ids as text, blank numbers as NaN, and numbers as Python reads them.

    Raises:
        RunError: the file cannot be read, was cut off, or has an invalid field; the message names line and column.
    """
    file = _CsvFile.of(path)
    types = {column: object if is_number(column) else str for column in file.header}
    try:
        blocks = pd.read_csv(io.BytesIO(file.data), sep=file.separator, dtype=types, na_filter=False, chunksize=_BLOCK)
        with blocks:
            table = pd.concat([_with_numbers(file, block) for block in blocks])
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8 text") from error
    except pd.errors.ParserError as error:
        file.check_lengths()
        raise RunError(f"{path}: {error}") from error
    if file.count_separators() != (len(table) + 1) * (len(file.header) - 1):
        file.check_lengths()  # the lengths may still be equal if a field contains a quotation mark
    if table.empty:
        raise RunError(f"{path}: no row below the header")
    for column in table.columns:
        if WHOLE_COLUMN.fullmatch(column):
            table[column] = whole_numbers(table[column])
    for column in _possible_parameters(file.header):
        if all(map(_NUMBER.fullmatch, table[column])):
            table[column] = pd.to_numeric(table[column])
    _check_keys(file, table)
    return _without_quotes(table) if b"'" in file.data else table


def _possible_parameters(header: Sequence[str]) -> list[str]:
    """Return the columns before ``flops`` that may be own parameters of a block: numbers, or texts."""
    before = header[: header.index("flops")] if "flops" in header else []
    return [column for column in before if not is_number(column) and column not in ("id", "trial", "run")]


def _without_quotes(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the original texts, without the quotes that protect them from spreadsheets."""
    for column in ("device", "reason", "detail"):
        if column in table.columns:
            table[column] = table[column].map(from_cell)
    return table


@dataclass(frozen=True, slots=True)
class _CsvFile:
    """The content of a CSV file, with line numbers for messages."""

    path: Path
    data: bytes
    header: list[str]
    separator: str

    @staticmethod
    def of(path: Path) -> _CsvFile:
        """Read a file and check that it is complete and has the columns of a table of results.

        Raises:
            RunError: the file is empty, cut off, or lacks columns.
        """
        data = read_bytes(path)
        if not data:
            raise RunError(f"{path}: the file is empty")
        try:
            first = data.partition(b"\n")[0].decode("utf-8-sig").rstrip("\r")
        except UnicodeDecodeError as error:
            raise RunError(f"{path} is not UTF-8 text (byte {error.start})") from error
        # Tables are written completely and end with a newline, so one without it was cut, perhaps within a number.
        if not data.endswith(b"\n"):
            raise RunError(f"{path}: the last line is cut off")
        delimiter = separator(first)
        header = next(csv.reader([first], delimiter=delimiter), [])
        if missing := missing_columns(header):
            raise RunError(f"{path}, line 1: no column {', '.join(missing)}")
        if repeated := [column for column in header if header.count(column) > 1]:
            raise RunError(f"{path}, line 1: the column {repeated[0]} occurs twice")
        return _CsvFile(path, data, header, delimiter)

    def count_separators(self) -> int:
        """Return the number of separators outside of quotes."""
        data = _QUOTED.sub(b"", self.data) if b'"' in self.data else self.data
        return data.count(self.separator.encode())

    def lines(self) -> Iterator[tuple[int, int]]:
        """Yield the line number and the number of fields of the header and of each row, without blank lines."""
        text = io.StringIO(self.data.decode("utf-8-sig", "replace"), newline="")
        reader = csv.reader(text, delimiter=self.separator, strict=True)
        try:
            yield from ((reader.line_num, len(fields)) for fields in reader if fields)
        except csv.Error as error:
            raise RunError(f"{self.path}, line {reader.line_num}: {error}") from error

    def line(self, row: int) -> int:
        """Return the line number of a row of the table; rows are counted from 0."""
        return next(itertools.islice(self.lines(), row + 1, None))[0]

    def check_lengths(self) -> None:
        """Raise for the first row that is not as long as the header."""
        for line, fields in self.lines():
            if fields != len(self.header):
                raise RunError(f"{self.path}, line {line}: {fields} fields where the header has {len(self.header)}")

    def error(self, row: int, problem: str) -> RunError:
        """Return the error for a row; raise instead if a row has a wrong length, which may be the cause."""
        self.check_lengths()
        return RunError(f"{self.path}, line {self.line(row)}{problem}")


def _with_numbers(file: _CsvFile, block: pd.DataFrame) -> pd.DataFrame:
    """Return rows of texts with the number columns converted."""
    if not isinstance(block.index, pd.RangeIndex):  # pandas takes the first of too many fields as a row label
        raise file.error(0, ": too many fields")
    for column in _NEVER_BLANK:
        if (blank := block[column] == "").any():
            raise file.error(int(block.index[0]) + int(np.argmax(blank)), f": {column} is blank")
    return block.assign(**{column: _numbers(file, block[column]) for column in block.columns if is_number(column)})


def _numbers(file: _CsvFile, column: pd.Series) -> NDArray[Any]:
    """Return the numbers of a column of texts, NaN for blanks; whole numbers as int64 if there are no blanks.

    Raises:
        RunError: a text is not a number, or not a whole number if the column requires one.
    """
    name = str(column.name)
    is_whole = WHOLE_COLUMN.fullmatch(name) is not None
    texts = column.to_numpy(object)
    if file.separator != ",":
        texts = np.array([text.replace(",", ".") for text in texts], object)
    is_blank = texts == ""
    # Python also accepts "nan", "1_000" and spaces, which are not numbers in a table.
    if not "".join(texts).encode().translate(None, b"0123456789.eE+-"):
        with contextlib.suppress(ValueError, OverflowError):
            if is_whole and not is_blank.any():
                return texts.astype(np.int64)
        with contextlib.suppress(ValueError):
            values: NDArray[np.float64] = np.where(is_blank, "nan", texts).astype(np.float64)
            if not np.isinf(values).any() and not (is_whole and whole_numbers(pd.Series(values)) is None):
                return values
    row, text = next((row, text) for row, text in enumerate(texts) if text and not _is_number(text, is_whole))
    kind = "a whole number" if _is_number(text, is_whole=False) else "a number"
    raise file.error(int(column.index[row]), f", column {name}: {text[:40]!r} is not {kind}")


def _is_number(text: str, is_whole: bool) -> bool:
    """Return whether a text is a finite number, and a whole one if ``is_whole``."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        return False
    return not is_whole or (value.is_integer() and abs(value) < 2**63)


def _check_keys(file: _CsvFile, table: pd.DataFrame) -> None:
    """Raise for an id that a spreadsheet has changed, and for a trial that has two rows."""
    key = _key(file.header)
    if (repeated := table[key].duplicated()).any():
        row = int(np.argmax(repeated))
        value = table[key].iloc[row]
        first = file.line(int(np.argmax(table[key] == value)))
        raise file.error(row, f": {key} {value} is already in line {first}")
    ids = table["id"].tolist()
    if not any(map(ID.fullmatch, ids)):  # written by another program, whose ids may be numbers
        return
    if (changed := next((row for row, id_ in enumerate(ids) if looks_changed(id_)), None)) is not None:
        raise file.error(changed, f": {why_not_an_id(ids[changed])}")


def _key(header: Sequence[str]) -> str:
    """Return the column that is unique for each row; a table merged from several runs may repeat an id."""
    return "trial" if "trial" in header else "id"
