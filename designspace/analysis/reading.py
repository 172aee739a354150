"""Files to one table: a results.csv, run folders as they stand, and several of them merged.

What is read here is not checked for sense yet; `Results.from_table` does that.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.support.csv_text import ID, looks_changed, separator, why_not_an_id
from designspace.support.display import Outlined
from designspace.support.errors import InputError, RunError
from designspace.support.reading import read_bytes
from designspace.support.text import from_cell
from designspace.trials.folder import RunFolder
from designspace.trials.trial import EpochRecord, Recipe
from designspace.trials.trial_folder import STATUSES

COLUMNS = (
    *("id", "d1", "w1", "b1", "g1", "radix", "flops", "params", "activations"),
    *("seed", "status", "final_error", "best_error", "epochs", "train_s", "device", "reason", "detail"),
)
"""What every table of results has; it may have more stages and more columns. One without any stage column is of
networks that have no stages, as those of NAS spaces."""

RECIPE_COLUMNS = {
    **{one.name: "recipe_epochs" if one.name == "epochs" else one.name for one in dataclasses.fields(Recipe)},
    "rest": "recipe_rest",
}
"""The column of each field of a recipe; the column ``epochs`` is that of the epochs that a trial completed. What else
another program's recipe says has one column, as a digest."""

EMA = " EMA"
"""What follows the name of a trial in the histories, for errors of averaged weights."""

ALWAYS_TOLD = ("lr", "weight_decay", "batch_size")
"""Fields of the recipe that a table has where they are known, also where one value is shared by all trials."""

WHOLE_COLUMN = re.compile(
    r"[dwg][1-9]\d*|radix|flops|params|activations|draws|seed|epochs|depth|repeats"
    r"|batch_size|recipe_epochs|train_images|test_images|crop_padding|devices"
)
REAL_COLUMN = re.compile(
    r"b[1-9]\d*|w_[0am]|(final|best)_error(_ema)?|heldout_error|train_s|memory_bytes"
    r"|lr|weight_decay|momentum|warmup_epochs|label_smoothing"
)

_NEVER_BLANK = ("id", "status", "radix", "flops", "params", "activations")
_STAGE = re.compile(r"[dwbg][1-9]\d*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_QUOTED = re.compile(rb'"[^"]*"')
_BLOCK = 100_000
"""Rows that are held as text at once: a million of them would need gigabytes."""
_EXAMPLES = 3
_UNION = " + "


@dataclass(frozen=True, eq=False, repr=False)
class Source(Outlined):
    """What the files of a run say: a table with the columns ``trial`` and ``run`` that is not checked yet."""

    name: str
    table: pd.DataFrame
    num_classes: int
    histories: Mapping[str, tuple[EpochRecord, ...]] = field(default_factory=dict)
    """By the column ``trial``."""
    notes: tuple[str, ...] = ()
    """What a reader must know of how it was read, one sentence each."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """The run folders among what was read, by the column ``run``."""
    training: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values of each field of the recipe that is known, None for a blank."""


def is_number(column: str) -> bool:
    """Whether a column of a table of results holds numbers."""
    return bool(WHOLE_COLUMN.fullmatch(column) or REAL_COLUMN.fullmatch(column))


def missing_columns(columns: Iterable[str]) -> list[str]:
    """What a table of results lacks of `COLUMNS`; those of stages only where it has any."""
    there = set(columns)
    staged = any(_STAGE.fullmatch(str(column)) for column in there)
    return [column for column in COLUMNS if column not in there and (staged or not _STAGE.fullmatch(column))]


# Runs


def read_runs(runs: Sequence[RunFolder | Path | str]) -> Source:
    """Read runs and merge them (see `merge`).

    A run is a `RunFolder`, the path of one, or a JSON file of pycls or NDS (see `designspace.analysis.peers`).

    Raises:
        InputError: a path that is no run, or runs with different numbers of classes.
        RunError: a run's files are missing or not whole.
    """
    paths = [run.path if isinstance(run, RunFolder) else Path(run) for run in runs]
    names = labels(paths)
    merged = merge(
        [
            replace(source, name=name, table=source.table.assign(run=name))
            for source, name in zip(map(_read_run, paths), names, strict=True)
        ]
    )
    folders = {name: path.resolve() for name, path in zip(names, paths, strict=True) if path.is_dir()}
    return replace(merged, folders=folders)


def recipe_values(table: pd.DataFrame) -> dict[str, tuple[Any, ...]]:
    """Return the values of each field of the recipe that a table has a column for, ascending, None for a blank."""
    return {name: distinct_values(table[column]) for name, column in RECIPE_COLUMNS.items() if column in table.columns}


def distinct_values(column: pd.Series) -> tuple[Any, ...]:
    """Return the different values of a column, ascending, with None for a blank."""
    plain = {None if value == "" or value != value else value for value in column.unique().tolist()}
    return tuple(
        sorted(plain, key=lambda value: (value is None, isinstance(value, str), 0 if value is None else value))
    )


def _read_run(path: Path) -> Source:
    """One run, whatever it is."""
    if path.is_file():
        from designspace.analysis import peers  # only who has such a file pays for it

        return peers.read(path)
    if not path.is_dir():
        raise RunError(f"there is no run at {path}")
    return read_folder(RunFolder(path))


def labels(paths: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, with as much of the path before it as tells equal names apart."""
    parts = [path.resolve().with_suffix("" if path.is_file() else path.suffix).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(path for path, part in zip(paths, parts, strict=True) if parts.count(part) > 1)
    raise InputError(f"{twice} is given twice")


def read_folder(folder: RunFolder) -> Source:
    """The results of a run as they stand now, from the files of its trials; nothing is written.

    Where the trials' files are not there but results.csv is (a run that was published without them), from that.

    Raises:
        RunError: the run's files are missing or not whole.
    """
    if folder.results.exists() and not folder.begun():
        num_classes, table = folder.space().template.num_classes, read_table(folder.results)
    else:
        population = folder.population()
        num_classes, table = population.space.template.num_classes, _frame(folder.path, *folder.table(population))
    told: dict[str, Any] = {"trial": table["trial" if "trial" in table.columns else "id"], "run": folder.name}
    if (plan := folder.plan()) is not None:
        told |= recipe_columns(plan.recipe.to_dict())
    return Source(folder.name, table.assign(**told), num_classes, folder.histories())


def recipe_columns(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe as the values of columns."""
    texts = ("data", "trainer")
    blank: dict[str, Any] = {name: "" if name in texts else math.nan for name in recipe}
    return {RECIPE_COLUMNS[name]: blank[name] if value is None else value for name, value in recipe.items()}


def _frame(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """A run's rows as a table, with NaN for numbers that there are not."""
    columns: dict[str, Any] = {}
    for name, values in zip(header, zip(*rows, strict=True), strict=True):
        columns[name] = values
        if is_number(name):
            try:
                numbers = pd.Series(np.array([math.nan if value == "" else value for value in values], np.float64))
            except (ValueError, TypeError) as error:
                raise RunError(f"{path}: {name} is not a number in the files of some trial ({error})") from error
            columns[name] = numbers if (whole := _whole(numbers)) is None or REAL_COLUMN.fullmatch(name) else whole
    return pd.DataFrame(columns)


def merge(sources: Sequence[Source]) -> Source:
    """Put runs into one tidy table.

    A network that was trained several times, with another seed or recipe, stays as several rows. The same trial (id,
    seed and recipe) in more than one run counts once: done goes before failed, failed before unfinished, and else the
    first run's counts. Recipes have columns: those of `ALWAYS_TOLD`, and each in which the trials differ.

    Raises:
        InputError: there is no run, or they have different numbers of classes.
    """
    if not sources:
        raise InputError("there is no run to read")
    classes = {source.name: source.num_classes for source in sources}
    if len(set(classes.values())) > 1:
        listed = ", ".join(f"{name} {number}" for name, number in classes.items())
        raise InputError(f"runs with different numbers of classes do not merge ({listed}); compare them apart")
    notes = [note for source in sources for note in source.notes]
    if len(sources) == 1:
        table, histories = sources[0].table, dict(sources[0].histories)
        name = sources[0].name
    else:
        table, histories, name = _stack(sources)
        table, more = _count_once(_tell_differences(table))
        notes += more
        histories = histories_of(table, histories)
    training = recipe_values(table)
    return Source(name, _tell_differences(table), sources[0].num_classes, histories, tuple(notes), training=training)


def _stack(sources: Sequence[Source]) -> tuple[pd.DataFrame, dict[str, tuple[EpochRecord, ...]], str]:
    """The rows of all runs below each other, the trials named after their runs; their histories; a name for all."""
    tables = [source.table.assign(trial=source.table["trial"] + "@" + source.name) for source in sources]
    histories = {
        f"{key.removesuffix(EMA)}@{one.name}{EMA if key.endswith(EMA) else ''}": history
        for one in sources
        for key, history in one.histories.items()
    }
    names = [source.name for source in sources]
    name = _UNION.join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more runs"
    return pd.concat(tables, ignore_index=True), histories, name


def _count_once(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keep one row for each trial that several runs hold, and say where they disagree."""
    asked = ["id", "seed", *(column for column in RECIPE_COLUMNS.values() if column in table.columns)]
    # A run of somebody else's may hold a trial several times over: then each is one of its own.
    again = table.groupby(["run", *asked], dropna=False, sort=False).cumcount()
    trial = table.assign(again=again).groupby([*asked, "again"], dropna=False, sort=False).ngroup().to_numpy()
    rank = table["status"].map({status: place for place, status in enumerate(STATUSES)}).fillna(len(STATUSES))
    order = np.lexsort((np.arange(len(table)), rank, trial))
    first = order[np.diff(trial[order], prepend=-1) > 0]
    done = table["status"] == "done"
    errors = table["final_error"][done].groupby(trial[done])
    spread = errors.max() - errors.min()
    unequal = spread[spread > 0]
    notes = []
    if not unequal.empty:
        winners = table.iloc[first]
        ids = winners["id"].to_numpy()[unequal.index[:_EXAMPLES]]
        several = "trial has" if len(unequal) == 1 else "trials have"
        notes.append(
            f"{len(unequal)} {several} unequal errors in several runs, by up to {unequal.max():.2f} percentage points "
            f"({', '.join(ids)}{', ...' if len(unequal) > _EXAMPLES else ''}); the first run's count."
        )
    return table.iloc[first].reset_index(drop=True), notes


def histories_of(
    table: pd.DataFrame, histories: Mapping[str, tuple[EpochRecord, ...]]
) -> dict[str, tuple[EpochRecord, ...]]:
    """Those histories that are of a table's trials."""
    trials = set(table["trial"]) if histories else set()
    return {key: history for key, history in histories.items() if key.removesuffix(EMA) in trials}


def _tell_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the columns of the recipe that have one value for all trials and need not be told."""
    told = [column for column in RECIPE_COLUMNS.values() if column in table.columns]
    known = table[table["lr"].notna()] if "lr" in told else table  # a blank elsewhere is a value: all images, say
    same = [column for column in told if column not in ALWAYS_TOLD and known[column].nunique(dropna=False) <= 1]
    return table.drop(columns=same)


# results.csv


def read_table(path: Path) -> pd.DataFrame:
    """Read a ``results.csv``, with ids as text, blank numbers as NaN, and numbers as Python reads them.

    Raises:
        RunError: the file cannot be read, was cut off, or has a field that cannot be; it names the line and column.
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
        file.check_lengths()  # equal after all where a quotation mark stands within a field
    if table.empty:
        raise RunError(f"{path}: there is no row below the header")
    for column in table.columns:
        if WHOLE_COLUMN.fullmatch(column):
            table[column] = _whole(table[column])
    _check_keys(file, table)
    return _without_marks(table) if b"'" in file.data else table


def _without_marks(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts are those that were written, without the marks that spreadsheets need."""
    for column in ("device", "reason", "detail"):
        if column in table.columns:
            table[column] = table[column].map(from_cell)
    return table


@dataclass(frozen=True, slots=True)
class _CsvFile:
    """The content of a CSV file, and the places in it for messages."""

    path: Path
    data: bytes
    header: list[str]
    separator: str

    @staticmethod
    def of(path: Path) -> _CsvFile:
        """Read a file and check that it is whole and has the columns of a table of results.

        Raises:
            RunError: it is not.
        """
        data = read_bytes(path)
        if not data:
            raise RunError(f"{path}: the file is empty")
        try:
            first = data.partition(b"\n")[0].decode("utf-8-sig").rstrip("\r")
        except UnicodeDecodeError as error:
            raise RunError(f"{path} is not UTF-8 text (byte {error.start})") from error
        # Tables are written whole and end with a line end, so one that does not was cut, perhaps within a number.
        if not data.endswith(b"\n"):
            raise RunError(f"{path}: the last line is cut off")
        parted_by = separator(first)
        header = next(csv.reader([first], delimiter=parted_by), [])
        if missing := missing_columns(header):
            raise RunError(f"{path}, line 1: no column {', '.join(missing)}")
        if repeated := [column for column in header if header.count(column) > 1]:
            raise RunError(f"{path}, line 1: the column {repeated[0]} stands there twice")
        return _CsvFile(path, data, header, parted_by)

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
        """Return the line number of a row of the table, which are counted from 0."""
        return next(itertools.islice(self.lines(), row + 1, None))[0]

    def check_lengths(self) -> None:
        """Raise for the first row that is not as long as the header."""
        for line, fields in self.lines():
            if fields != len(self.header):
                raise RunError(f"{self.path}, line {line}: {fields} fields where the header has {len(self.header)}")

    def error(self, row: int, words: str) -> RunError:
        """Return the error for a row; one of unequal length is the cause of whatever else is wrong, so it is raised."""
        self.check_lengths()
        return RunError(f"{self.path}, line {self.line(row)}{words}")


def _with_numbers(file: _CsvFile, block: pd.DataFrame) -> pd.DataFrame:
    """Return rows of texts with numbers where they belong."""
    if not isinstance(block.index, pd.RangeIndex):  # pandas takes the first of too many fields for a label of the row
        raise file.error(0, ": too many fields")
    for column in _NEVER_BLANK:
        if (blank := block[column] == "").any():
            raise file.error(int(block.index[0]) + int(np.argmax(blank)), f": {column} is blank")
    return block.assign(**{column: _numbers(file, block[column]) for column in block.columns if is_number(column)})


def _numbers(file: _CsvFile, column: pd.Series) -> NDArray[Any]:
    """Return the numbers of a column of texts, NaN for blanks; whole ones as int64 if none is blank.

    Raises:
        RunError: a text is not a number, or not a whole one where the column needs it.
    """
    name = str(column.name)
    is_whole = WHOLE_COLUMN.fullmatch(name) is not None
    texts = column.to_numpy(object)
    if file.separator != ",":
        texts = np.array([text.replace(",", ".") for text in texts], object)
    is_blank = texts == ""
    # Python also reads "nan", "1_000" and spaces, which are not numbers of a table.
    if not "".join(texts).encode().translate(None, b"0123456789.eE+-"):
        with contextlib.suppress(ValueError, OverflowError):
            if is_whole and not is_blank.any():
                return texts.astype(np.int64)
        with contextlib.suppress(ValueError):
            values: NDArray[np.float64] = np.where(is_blank, "nan", texts).astype(np.float64)
            if not np.isinf(values).any() and not (is_whole and _whole(pd.Series(values)) is None):
                return values
    row, text = next((row, text) for row, text in enumerate(texts) if text and not _is_number(text, is_whole))
    kind = "a whole number" if _is_number(text, is_whole=False) else "a number"
    raise file.error(int(column.index[row]), f", column {name}: {text[:40]!r} is not {kind}")


def _is_number(text: str, is_whole: bool) -> bool:
    """Return whether a text is a finite number, or a whole one."""
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
        raise file.error(row, f": {key} {value} stands in line {first} already")
    ids = table["id"].tolist()
    if not any(map(ID.fullmatch, ids)):  # of another program, whose ids may be numbers
        return
    if (changed := next((row for row, id_ in enumerate(ids) if looks_changed(id_)), None)) is not None:
        raise file.error(changed, f": {why_not_an_id(ids[changed])}")


def _key(header: Sequence[str]) -> str:
    """The column that tells rows apart: a table that was merged from several runs may have an id twice."""
    return "trial" if "trial" in header else "id"


def _whole(values: pd.Series) -> pd.Series | None:
    """A column of whole numbers, as int64 where none is blank; None where it holds something else."""
    if values.dtype == np.int64:
        return values
    if values.dtype != np.float64:
        return None
    numbers = values.to_numpy()
    if (np.isfinite(numbers) & (numbers != np.floor(numbers))).any() or (np.abs(numbers) >= 2**63).any():
        return None
    return values if np.isnan(numbers).any() else values.astype(np.int64)
