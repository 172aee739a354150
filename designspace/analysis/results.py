"""The results of a run as a checked table: which trials finished, which failed, and the errors that count."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.support.errors import InputError, RunError, unknown
from designspace.trials.trial import EpochRecord
from designspace.trials.trial_folder import STATUSES

if TYPE_CHECKING:
    from designspace.trials.folder import RunFolder

Failures = Literal["chance", "exclude"]
ErrorColumn = Literal["final_error", "best_error"]

COLUMNS = (
    *("id", "d1", "w1", "b1", "g1", "radix", "flops", "params", "activations"),
    *("seed", "status", "final_error", "best_error", "epochs", "train_s", "device", "reason", "detail"),
)
"""What every table of results has; it may have more stages and more columns."""

_TEXT = ("status", "device", "reason", "detail")
_NEVER_BLANK = ("id", "status", "radix", "flops", "params", "activations")
_STAGE = re.compile(r"([dwbg])([1-9]\d*)")
_WHOLE_COLUMN = re.compile(r"[dwg][1-9]\d*|radix|flops|params|activations|seed|epochs|depth")
_REAL_COLUMN = re.compile(r"b[1-9]\d*|w_[0am]|final_error|best_error|train_s|memory_bytes")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many trials of a run stand where."""

    done: int
    failed: int
    running: int
    waiting: int

    @property
    def asked(self) -> int:
        """All trials of the run."""
        return self.finished + self.unfinished

    @property
    def finished(self) -> int:
        """Trials that ended, well or badly: those that count in an EDF."""
        return self.done + self.failed

    @property
    def unfinished(self) -> int:
        """Trials that run or wait; they count nowhere yet."""
        return self.running + self.waiting

    def sentence(self) -> str:
        """Progress in words.

        >>> Counts(done=11, failed=1, running=2, waiting=2).sentence()
        '12 of 16 trials finished, 1 of them failed'
        """
        failed = f", {self.failed} of them failed" if self.failed else ""
        return f"{self.finished} of {self.asked} trials finished{failed}"


@dataclass(frozen=True, eq=False)
class Results:
    """What happened to the trials of one run. Make it with `Results.from_table`, which checks the table."""

    name: str
    table: pd.DataFrame
    """One row for each trial; errors are per cent, top-1, ``train_s`` seconds, ``flops`` multiply-adds."""
    chance_error: float
    """Error of guessing, per cent: 100 (1 - 1 / number of classes)."""
    histories: Mapping[str, tuple[EpochRecord, ...]] = field(default_factory=dict)
    """The epochs of each trial of which they are known, by the column ``trial``."""

    @staticmethod
    def from_table(
        name: str,
        table: pd.DataFrame,
        num_classes: int,
        histories: Mapping[str, tuple[EpochRecord, ...]] | None = None,
    ) -> Results:
        """Check a table of results, as `read_table` gives it, and name it.

        The table gets the columns ``trial``, which tells its rows apart, and ``run``, where it has none.

        Raises:
            InputError: the table is empty, lacks columns, or has a row that contradicts itself.
        """
        if not name or not name.isprintable():
            raise InputError(f"the name of a run must be printable text on one line, not {name!r}")
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2:
            raise InputError(f"{name}: num_classes must be a whole number >= 2, not {num_classes!r}")
        missing = [column for column in COLUMNS if column not in table.columns]
        if missing:
            raise InputError(f"{name}: the table of results lacks the columns {', '.join(missing)}")
        if table.empty:
            raise InputError(f"{name}: the table of results has no rows")
        stages = {letter: _stages_of(table, letter) for letter in "dwbg"}
        if len(set(map(tuple, stages.values()))) > 1:
            found = ", ".join(f"{len(numbers)} x {letter}" for letter, numbers in stages.items())
            raise InputError(f"{name}: the stage columns are not whole ({found}); was the table cut?")
        table = table.reset_index(drop=True)  # a copy: the caller's table stays as it is
        _check_ids(name, table)
        for column in table.columns:
            if column in _TEXT:
                table[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
            elif _WHOLE_COLUMN.fullmatch(column) or _REAL_COLUMN.fullmatch(column):
                table[column] = _numbers(name, table, column)
        _check_rows(name, table)
        for column, values in (("trial", table["id"]), ("run", name)):
            if column not in table.columns:
                table[column] = values
        return Results(name, table, 100 * (1 - 1 / num_classes), histories or {})

    @staticmethod
    def read(folder: RunFolder) -> Results:
        """The results of a run as they stand now, from the files of its trials; nothing is written.

        Where the trials' files are not there but results.csv is (a run that was published without them), from that.

        Raises:
            RunError: the run's files are missing or not whole.
        """
        num_classes = folder.space().template.num_classes
        if folder.results.exists() and not folder.begun():
            return Results.from_table(folder.name, read_table(folder.results), num_classes, folder.histories())
        header, rows = folder.table()
        lines = [(number, [str(field) for field in row]) for number, row in enumerate(rows, start=2)]
        return Results.from_table(folder.name, _table(folder.results, header, lines), num_classes, folder.histories())

    @property
    def counts(self) -> Counts:
        """How many trials are done, failed, running and waiting."""
        status = self.table["status"]
        return Counts(**{one: int((status == one).sum()) for one in STATUSES})

    @property
    def num_stages(self) -> int:
        """Stages that the table has columns for."""
        return len(_stages_of(self.table, "d"))

    def errors(
        self, failures: Failures = "chance", column: ErrorColumn = "final_error"
    ) -> NDArray[np.float64]:  # (finished trials,)
        """The errors of the finished trials, per cent, in the order of the table.

        Args:
            failures: ``chance`` counts each failed trial at chance level, as a network that learned nothing;
                ``exclude`` leaves failed trials out, which flatters a space whose networks diverge.
            column: ``final_error`` is that of the last epoch. ``best_error`` is the least over the epochs: chosen on
                the test images, so it flatters too.

        Raises:
            InputError: a ``failures`` or ``column`` that does not exist.
        """
        if column not in get_args(ErrorColumn):
            raise unknown("column of errors", column, get_args(ErrorColumn))
        counted = self.counted(failures)
        values = self.table[column].where(self.table["status"] == "done", self.chance_error)
        return values[counted].to_numpy(np.float64)

    def counted(self, failures: Failures = "chance") -> NDArray[np.bool_]:  # (trials,)
        """Which rows of the table count: those whose `errors` are given.

        Raises:
            InputError: a ``failures`` that does not exist.
        """
        if failures not in get_args(Failures):
            raise unknown("treatment of failures", failures, get_args(Failures))
        counted = self.table["status"].isin(["done", "failed"] if failures == "chance" else ["done"])
        return counted.to_numpy(np.bool_)

    def best(self, count: int) -> pd.DataFrame:
        """The rows of the ``count`` done trials of least final error; equal errors in the order of their ids."""
        done = self.table[self.table["status"] == "done"]
        return done.sort_values(["final_error", "id"], kind="stable").head(count)


def read_table(path: Path) -> pd.DataFrame:
    """Read a ``results.csv``, with ids as text and blank errors as NaN.

    Raises:
        RunError: the file cannot be read, was cut off, or has a field that cannot be; it names the line and column.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8 text (byte {error.start})") from error
    return _table(path, *_split(path, text))


def _table(path: Path, header: list[str], lines: list[tuple[int, list[str]]]) -> pd.DataFrame:
    """The columns of a table from (line number, fields), with numbers where numbers belong."""
    columns: dict[str, list[str] | list[float]] = {}
    for place, column in enumerate(header):
        fields = [(number, fields[place]) for number, fields in lines]
        if column in _NEVER_BLANK:
            for number, field in fields:
                if not field:
                    raise RunError(f"{path}, line {number}: {column} is blank")
        if _WHOLE_COLUMN.fullmatch(column) or _REAL_COLUMN.fullmatch(column):
            columns[column] = [_parse(path, number, column, field) for number, field in fields]
        else:
            columns[column] = [field for _, field in fields]
    first_line: dict[str, int] = {}
    for number, row in lines:
        network = row[header.index("id")]
        if network in first_line:
            raise RunError(f"{path}, line {number}: id {network} stands in line {first_line[network]} already")
        first_line[network] = number
    return pd.DataFrame(columns)


def _split(path: Path, text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the (line number, fields) of a CSV text, all rows as wide as the header."""
    # Tables are written whole and end with a line end, so one that does not was cut, perhaps within a number.
    if not text.endswith("\n"):
        raise RunError(f"{path}: the file is empty" if not text else f"{path}: the last line is cut off")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise RunError(f"{path}, line {reader.line_num}: {error}") from error
    header = rows[0][1] if rows else []
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise RunError(f"{path}, line 1: no column {', '.join(missing)}")
    repeated = [column for column in header if header.count(column) > 1]
    if repeated:
        raise RunError(f"{path}, line 1: the column {repeated[0]} stands there twice")
    for number, fields in rows[1:]:
        if len(fields) != len(header):
            raise RunError(f"{path}, line {number}: {len(fields)} fields where the header has {len(header)}")
    if len(rows) == 1:
        raise RunError(f"{path}: there is no row below the header")
    return header, rows[1:]


def _parse(path: Path, line: int, column: str, field: str) -> float:
    """The number in a field; NaN for a blank one."""
    if not field:
        return math.nan
    if not _NUMBER.fullmatch(field):
        raise RunError(f"{path}, line {line}, column {column}: {field[:40]!r} is not a number")
    value = float(field)
    if _WHOLE_COLUMN.fullmatch(column):
        if not value.is_integer():
            raise RunError(f"{path}, line {line}, column {column}: {field[:40]!r} is not a whole number")
        return int(value)
    return value


def _stages_of(table: pd.DataFrame, letter: str) -> list[int]:
    """Numbers of the stages that a letter has columns for, ascending."""
    matches = (_STAGE.fullmatch(str(column)) for column in table.columns)
    return sorted(int(match[2]) for match in matches if match and match[1] == letter)


def _numbers(name: str, table: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers."""
    try:
        return pd.to_numeric(table[column])
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: the column {column} must hold numbers ({error})") from error


def _check_ids(name: str, table: pd.DataFrame) -> None:
    """Raise unless the ids are distinct texts: pandas alone reads 12 hex digits like 123456789012 or 1e4567 wrongly."""
    for network in table["id"]:
        if not isinstance(network, str) or not network:
            raise InputError(f"{name}: ids must be text, not {network!r}; read the file with designspace's read_table")
    repeated = table["id"][table["id"].duplicated()]
    if not repeated.empty:
        raise InputError(f"{name}: the id {repeated.iloc[0]} stands in more than one row")


def _check_rows(name: str, table: pd.DataFrame) -> None:
    """Raise for the first row whose status and numbers do not go together."""
    for row in table.to_dict("records"):
        where = f"{name}: trial {row['id']}"
        if row["status"] not in STATUSES:
            raise InputError(f"{where}: {unknown('status', row['status'], STATUSES)}")
        if row["status"] == "failed" and not row["reason"]:
            raise InputError(f"{where} failed, but has no reason")
        for column in get_args(ErrorColumn):
            if row["status"] == "done" and not 0 <= row[column] <= 100:
                raise InputError(f"{where} is done, so {column} must be from 0 to 100 per cent, not {row[column]}")
        for column in ("flops", "params", "activations"):
            if not 0 <= row[column] < math.inf:
                raise InputError(f"{where}: {column} must be a number >= 0, not {row[column]}")
