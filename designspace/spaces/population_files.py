"""Reading and checking of a population's files: population.csv, space.yaml and sampling.json."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from designspace.networks.layers import Column
from designspace.spaces.description import space_from_dict
from designspace.spaces.identity import CHUNK, Identifier
from designspace.spaces.network_list import FAMILY, NETWORKS_FILE, NetworkList, NetworkSource
from designspace.spaces.parameters import Columns
from designspace.spaces.population import (
    COMPLEXITY_COLUMNS,
    DRAWS,
    DUPLICATE,
    POPULATION_FILE,
    SAMPLING_FILE,
    SPACE_FILE,
    Population,
)
from designspace.support.checks import mapping, whole
from designspace.support.csv_text import check_id, decimal_point, open_table
from designspace.support.errors import InputError, RunError
from designspace.support.reading import read_json, read_text
from designspace.support.text import command, shown
from designspace.support.yaml_text import read_yaml


def read_population(folder: Path, *, verify: bool = True) -> Population:
    """Read the population that `Population.write` wrote.

    Args:
        folder: the folder to read from.
        verify: whether to compare each id with its row.

    Raises:
        RunError: a file is missing, cut off or edited; the error names the file and the line.
    """
    path = folder / POPULATION_FILE
    if not path.is_file():
        raise no_population(folder)
    space = read_space(folder / SPACE_FILE)
    names = [*space.column_names(), *COMPLEXITY_COLUMNS]
    ids, columns = _read_table(path, names, optional=DRAWS, texts=space.text_columns())
    # sampling.json must be read after the table, which it fits even while another process extends the population.
    record = read_json(folder / SAMPLING_FILE)
    try:
        if "extends" in record and record["n"] != len(ids) == record["extends"]["n"]:
            record = record["extends"]  # the process that extended the population was killed before its last file
        seed, n, drawn, rejected = (record[key] for key in ("seed", "n", "drawn", "rejected"))
    except (TypeError, KeyError) as error:
        raise RunError(f"{folder / SAMPLING_FILE} lacks {error}") from error
    _check_record(folder / SAMPLING_FILE, (seed, n, drawn), rejected)
    if len(ids) != n:
        raise RunError(
            f"{path} holds {len(ids)} networks, but {SAMPLING_FILE} says {n}; it may have been cut off. "
            "Run the command that sampled it again to rewrite it"
        )
    population = Population(space, seed, ids, columns, drawn, rejected)
    if verify:
        _check_ids(population, path)
    _check_draws(population, path)
    return population


def _check_ids(population: Population, path: Path) -> None:
    """Raise if a row is not a network of the space, or not the network of its id."""
    if isinstance(population.space, NetworkList):
        _check_list(population, population.space, path)
        return
    actual_ids = Identifier(population.space).ids(population.columns)
    for line, id_ in enumerate(population.ids, start=2):
        try:
            is_equal = next(actual_ids) == id_
        except InputError as error:
            raise RunError(f"{path}, line {line}: {error}; the file was changed") from error
        if not is_equal:
            raise RunError(f"{path}, line {line}: the row is not the network {id_}; the file was changed")


def _check_list(population: Population, networks: NetworkList, path: Path) -> None:
    """Raise unless the rows are the networks of a list, in their order."""
    listed = zip(*(column.tolist() for column in networks.columns.values()), strict=True)
    expected = dict(zip(networks.ids, listed, strict=True))
    columns = (population.columns[name].tolist() for name in networks.columns)
    rows = zip(population.ids, zip(*columns, strict=True), strict=True)
    for line, (id_, row) in enumerate(rows, start=2):
        if expected.get(id_) != row:
            raise RunError(f"{path}, line {line}: the row is not the network {id_} of {NETWORKS_FILE}; it was changed")
    if population.ids != networks.ids:
        raise RunError(f"{path} does not hold the networks of {NETWORKS_FILE} in their order; it was changed")


def _check_draws(population: Population, path: Path) -> None:
    """Raise if the column of draws contradicts the number of duplicates in sampling.json."""
    if DRAWS not in population.columns:
        return
    draws = population.columns[DRAWS]
    invalid = next((value for value in draws.tolist() if value != int(value) or value < 1), None)
    if invalid is not None:
        raise RunError(f"{path}, column {DRAWS}: {invalid} is not a whole number >= 1; the file was changed")
    accepted = len(population) + population.rejected.get(DUPLICATE, 0)
    if draws.sum() != accepted:
        raise RunError(
            f"{path}, column {DRAWS}: the sum is {draws.sum()}, but {SAMPLING_FILE} says {accepted}: {len(population)} "
            f"networks and {accepted - len(population)} duplicates; the file was changed"
        )


def no_population(folder: Path) -> RunError:
    """Return the error for a folder without a population."""
    return RunError(
        f"there is no population in {folder} ({POPULATION_FILE} is missing); "
        f"sample one first: {command('sample', space='RegNetX', run=folder)}"
    )


def read_ids(folder: Path) -> tuple[str, ...]:
    """Read only the ids of a population.

    Raises:
        RunError: the table is missing, cannot be read or has an invalid id.
    """
    path = folder / POPULATION_FILE
    if not path.exists():
        raise no_population(folder)
    try:
        file, delimiter = open_table(path)
        with file:
            ids = [line.split(delimiter, 1)[0].strip('"\r\n') if line.strip() else None for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    if not ids or ids[0] != "id":
        raise RunError(f"{path}, line 1: the first column must be id")
    while ids and ids[-1] is None:  # blank lines at the end
        ids.pop()
    texts = [id_ or "" for id_ in ids[1:]]
    for line, id_ in enumerate(texts, start=2):
        check_id(path, line, id_)
    return tuple(texts)


def read_seed(folder: Path) -> int:
    """Read only the seed of a population.

    Raises:
        RunError: sampling.json is missing, cannot be read or has no seed.
    """
    path = folder / SAMPLING_FILE
    try:
        return whole("seed", mapping("sampling", read_json(path), needed=["seed"])["seed"], 0)
    except InputError as error:
        raise RunError(f"{path}: {error}") from error


def read_space(path: Path) -> NetworkSource:
    """Read a space.yaml: a space, or a list of networks with the file beside it.

    Raises:
        RunError: it is missing, cannot be read, or does not describe a space.
    """
    try:
        fields = read_yaml(path)
        if isinstance(fields, Mapping) and fields.get("family") == FAMILY:
            return NetworkList.from_files(fields, read_text(path.parent / NETWORKS_FILE))
        return space_from_dict(fields)
    except InputError as error:
        message = str(error)
        raise RunError(message if message.startswith(str(path)) else f"{path}: {message}") from error


def _check_record(path: Path, numbers: Sequence[Any], rejected: Any) -> None:
    """Raise unless all counts of a sampling.json are whole numbers."""
    try:
        for key, value in zip(("seed", "n", "drawn"), numbers, strict=True):
            whole(key, value, 0)
        for reason, count in mapping("rejected", rejected).items():
            whole(f"rejected: {reason[:80]}", count, 0)
    except InputError as error:
        raise RunError(f"{path}: {error}") from error


def _read_table(path: Path, names: list[str], optional: str, texts: set[str]) -> tuple[tuple[str, ...], Columns]:
    """Return the ids and columns of a population.csv after checking each line; the optional column is last.

    Columns hold numbers, except those named by ``texts``.
    """
    header = ["id", *names]
    ids: list[str] = []
    parts: list[list[Column]] = []
    try:
        file, delimiter = open_table(path)
        with file:
            table = csv.reader(file, delimiter=delimiter)
            first_row = next(table, None)
            if first_row == [*header, optional]:
                names, header = [*names, optional], first_row
            if first_row != header:
                raise RunError(f"{path}, line 1: the columns must be {','.join(header)}[,{optional}]")
            while rows := list(itertools.islice(table, CHUNK)):
                while rows and len(rows) < CHUNK and not rows[-1]:  # blank lines at the end
                    rows.pop()
                if not rows:
                    break
                for line, row in enumerate(rows, start=len(ids) + 2):
                    if len(row) != len(header):
                        fields = f"{len(row)} fields instead of {len(header)}"
                        raise RunError(f"{path}, line {line}: {fields}; it may be cut off")
                    check_id(path, line, row[0])
                cells = list(zip(*rows, strict=True))
                ids += cells[0]
                columns = zip(names, cells[1:], strict=True)
                parts.append([np.array(cell) if name in texts else _column(path, name, cell) for name, cell in columns])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    if not parts:
        return (), {name: np.empty(0, np.int64) for name in names}
    return tuple(ids), {name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True), strict=True)}


def _column(path: Path, name: str, text: Sequence[str]) -> Column:
    """Return a column of numbers: int64 if all are whole, else float64."""
    with contextlib.suppress(ValueError, OverflowError):
        return np.array([int(value) for value in text], np.int64)
    try:
        column = np.array([float(decimal_point(value)) for value in text], np.float64)
    except ValueError:
        invalid = next(value for value in text if not _NUMBER.fullmatch(decimal_point(value)))
        raise RunError(f"{path}, column {name}: {shown(invalid)} is not a number") from None
    if not (np.abs(column) < 2**63).all():  # false for infinity and NaN, too
        invalid = next(value for value in text if not abs(float(decimal_point(value))) < 2**63)
        raise RunError(f"{path}, column {name}: {shown(invalid)} is not a number below 2^63")
    return column


_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
