"""Reading of CSV files as spreadsheets save them: with byte-order marks, semicolons or decimal commas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from designspace.support.errors import RunError
from designspace.support.reading import check_regular

ID = re.compile(r"[0-9a-f]{12}")
"""The id of a network: 12 hex digits."""
MAX_CELL = 100_000
"""Maximum number of characters in a cell."""

_LIKE_A_NUMBER = re.compile(r"[+-]?[\d.,]+([eE][+-]?\d+)?|[iI]nf(inity)?|∞")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


def separator(header: str) -> str:
    """Return the separator of a table, found in its first line: a comma, a semicolon or a tab.

    >>> separator("id,d1,w1"), separator('"id";"d1";"w1"')
    (',', ';')
    """
    return max(",;\t", key=header.count)


def open_table(path: Path) -> tuple[io.TextIOWrapper, str]:
    """Open a CSV file for reading; return the open file and its separator.

    Raises:
        RunError: the file is missing, or not a regular file.
        UnicodeDecodeError: the file is not UTF-8.
    """
    check_regular(path)
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        header = file.readline(MAX_CELL)
        file.seek(0)
        return file, separator(header)
    except BaseException:
        file.close()
        raise


def read_rows(path: Path, header: Sequence[str], newer: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file after its first line, each with the number of its line; blank lines are left out.

    Args:
        path: the file.
        header: the names of its columns.
        newer: number of columns at the end that files of earlier versions lack; rows of these are shorter.

    Raises:
        RunError: the file cannot be read, its columns are not those of ``header``, or a row has another length.
    """
    try:
        file, delimiter = open_table(path)
        with file:
            table = csv.reader(file, delimiter=delimiter)
            columns = next(table, None)
            if columns not in (list(header), list(header[: len(header) - newer])):
                raise RunError(f"{path}, line 1: the columns must be {','.join(header)}")
            for line, row in enumerate(table, start=2):
                if len(row) not in (0, len(columns)):
                    raise RunError(
                        f"{path}, line {line}: {len(row)} fields instead of {len(columns)}; it may be cut off"
                    )
                if row:
                    yield line, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from error


def rows_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows, the first of which is the header, as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def as_commas(data: bytes) -> bytes:
    """Return the bytes of a CSV file with commas as separators and decimal points; unchanged if it has commas."""
    header = data[: data.find(b"\n") + 1 or len(data)].decode("utf-8", "replace")
    delimiter = separator(header)
    if delimiter == ",":
        return data
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter)
    return rows_text([decimal_point(cell) for cell in row] for row in rows).encode()


def decimal_point(cell: str) -> str:
    """Return a cell with its decimal comma replaced by a point.

    >>> decimal_point("3,2"), decimal_point("1,000,000"), decimal_point("a,b")
    ('3.2', '1,000,000', 'a,b')
    """
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def check_id(path: Path, line: int, id_: str) -> None:
    """Check that a cell holds an id.

    Raises:
        RunError: it does not; the message explains that spreadsheets change ids that look like numbers.
    """
    if not ID.fullmatch(id_):
        raise RunError(f"{path}, line {line}: {why_not_an_id(id_)}")


def why_not_an_id(id_: str) -> str:
    """Return why a text is not an id."""
    reason = f"{id_[:40]!r} is not an id, which has 12 hex digits"
    if _LIKE_A_NUMBER.fullmatch(id_):
        reason += (
            "; a spreadsheet changes ids that look like numbers (leading zeros, 1e5...) when it saves a file: "
            "restore the file from a copy, and import its first column as text"
        )
    return reason


def looks_changed(id_: str) -> bool:
    """Return whether a text looks like an id that a spreadsheet has changed: a number that is not 12 hex digits."""
    return not ID.fullmatch(id_) and _LIKE_A_NUMBER.fullmatch(id_) is not None
