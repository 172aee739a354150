"""A population: distinct networks drawn from a space, as columns, with the story of their drawing."""

from __future__ import annotations

import csv
import dataclasses
import html
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import yaml
from numpy.typing import NDArray

from designspace.networks.complexity import Column
from designspace.networks.network import Network
from designspace.spaces.identity import CHUNK, Identifier
from designspace.spaces.parameters import Columns
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_json, write_together
from designspace.support.text import quantity

if TYPE_CHECKING:
    import pandas as pd

POPULATION_FILE = "population.csv"
SPACE_FILE = "space.yaml"
SAMPLING_FILE = "sampling.json"
COMPLEXITY_COLUMNS = ("flops", "params", "activations")


@dataclass(frozen=True)
class Population:
    """An immutable, ordered set of networks, unique by id.

    ``population[0]`` is a `Network`, ``population[:3]`` a smaller population, `to_frame` a pandas table.
    """

    space: DesignSpace
    seed: int
    ids: tuple[str, ...]
    columns: Columns
    """Realised parameters and complexity, by column name; each of shape (n,)."""
    drawn: int
    """Draws up to the last network, rejected ones included."""
    rejected: Mapping[str, int]
    """Reason -> how many draws it rejected."""

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        flops = self.columns.get("flops", ())
        cost = f"; {quantity(min(flops))} to {quantity(max(flops))} multiply-adds" if len(flops) else ""
        count = f"{len(self)} network{'s' * (len(self) != 1)}"
        return f"Population({count} of {self.space.name}, seed {self.seed}{cost})"

    def _repr_html_(self) -> str:
        table: str = self[:5].to_frame()._repr_html_()  # type: ignore[operator]
        return f"<div>{html.escape(repr(self))}{'; the first ones:' * (len(self) > 5)}</div>{table}"

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Network: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Population: ...

    def __getitem__(self, index: Any) -> Network | Population:
        """The network in a place, or the part of the population that a slice, a list of places or a mask chooses.

        A part keeps the story of how the whole was drawn.
        """
        if not isinstance(index, slice) and np.ndim(index) == 0:
            return self.space.network({name: column[index] for name, column in self.columns.items()})
        places = np.arange(len(self))[index]
        columns = {name: column[places] for name, column in self.columns.items()}
        return dataclasses.replace(self, ids=tuple(self.ids[place] for place in places), columns=columns)

    def to_frame(self) -> pd.DataFrame:
        """The population as a table: one row for each network, its columns those of population.csv, ids as the index.

        Whole numbers are int64, others float64.
        """
        import pandas as pd  # half a second that sampling need not pay

        columns = {name: self.columns[name].copy() for name in self.column_names()}
        return pd.DataFrame(columns, index=pd.Index(self.ids, name="id"))

    def __iter__(self) -> Iterator[Network]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Equal populations hold the same networks in the same order, drawn in the same way."""
        if not isinstance(other, Population):
            return NotImplemented
        ours, theirs = ((p.space, p.seed, p.ids, p.drawn, dict(p.rejected)) for p in (self, other))
        return ours == theirs and all(
            np.array_equal(self.columns[name], other.columns[name]) for name in self.column_names()
        )

    def begins(self, other: Population) -> bool:
        """Whether another population of the same space and seed is this one, or this one extended."""
        same = self.space == other.space and self.seed == other.seed
        return same and other.ids[: len(self)] == self.ids

    def column_names(self) -> list[str]:
        """The columns of population.csv after the id."""
        return [*self.space.column_names(), *COMPLEXITY_COLUMNS]

    def to_csv(self) -> str:
        """The table of the realised networks, one row each; whole numbers are written without a point."""
        return "".join(self.csv_pieces())

    def csv_pieces(self) -> Iterator[str]:
        """`to_csv`, some thousand lines at a time."""
        names = self.column_names()
        yield ",".join(["id", *names]) + "\n"
        for start in range(0, len(self), CHUNK):
            part = slice(start, start + CHUNK)
            text = [_column_text(self.columns[name][part]) for name in names]
            yield "\n".join(map(",".join, zip(self.ids[part], *text, strict=True))) + "\n"

    def write(self, folder: Path) -> None:
        """Write population.csv, space.yaml and sampling.json, all or none.

        Raises:
            RunError: a file cannot be written.
        """
        story = {"format": 1, "seed": self.seed, "n": len(self), "drawn": self.drawn, "rejected": dict(self.rejected)}
        write_together(
            {
                folder / POPULATION_FILE: self.csv_pieces(),
                folder / SAMPLING_FILE: json.dumps(story, indent=2) + "\n",
                folder / SPACE_FILE: yaml.safe_dump(self.space.to_dict(), sort_keys=False),
            }
        )

    @staticmethod
    def read(folder: Path) -> Population:
        """Read back what `write` wrote.

        Raises:
            RunError: a file is missing, cut off or was edited; the error names the file and the line.
        """
        path = folder / POPULATION_FILE
        if not path.is_file():
            raise RunError(f"there is no population in {folder} ({POPULATION_FILE} is missing); sample one first")
        space = read_space(folder / SPACE_FILE)
        story = read_json(folder / SAMPLING_FILE)
        try:
            seed, n, drawn, rejected = (story[key] for key in ("seed", "n", "drawn", "rejected"))
        except (TypeError, KeyError) as error:
            raise RunError(f"{folder / SAMPLING_FILE} lacks {error}") from error
        ids, columns = _read_table(path, [*space.column_names(), *COMPLEXITY_COLUMNS])
        if len(ids) != n:
            raise RunError(f"{path} holds {len(ids)} networks, but {SAMPLING_FILE} says {n}; it may have been cut off")
        population = Population(space, seed, ids, columns, drawn, rejected)
        population._check_ids(path)
        return population

    def _check_ids(self, path: Path) -> None:
        """Raise where a row is no network of the space, or not the one that its id names."""
        found = Identifier(self.space).ids(self.columns)
        for line, id_ in enumerate(self.ids, start=2):
            try:
                right = next(found) == id_
            except InputError as error:
                raise RunError(f"{path}, line {line}: {error}; the file was changed") from error
            if not right:
                raise RunError(f"{path}, line {line}: the row is not the network {id_}; the file was changed")


def read_ids(folder: Path) -> tuple[str, ...]:
    """Read the ids of a population, and nothing else of it.

    Raises:
        RunError: the table is missing or cannot be read.
    """
    path = folder / POPULATION_FILE
    try:
        with path.open(encoding="utf-8") as file:
            ids = [line.split(",", 1)[0] for line in file]
    except OSError as error:
        raise RunError(f"there is no population in {folder} ({path.name}: {error.strerror or error})") from error
    if not ids or ids[0] != "id":
        raise RunError(f"{path}, line 1: the first column must be id")
    return tuple(ids[1:])


def read_space(path: Path) -> DesignSpace:
    """Read a space.yaml.

    Raises:
        RunError: it is missing, unreadable, or describes no space.
    """
    try:
        return DesignSpace.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, InputError, TypeError) as error:
        raise RunError(f"{path}: {error}") from error


def _read_table(path: Path, names: list[str]) -> tuple[tuple[str, ...], Columns]:
    """The ids and number columns of a population.csv, each line checked."""
    header = ["id", *names]
    ids: list[str] = []
    parts: list[list[Column]] = []
    try:
        with path.open(encoding="utf-8") as file:
            table = csv.reader(file)
            if next(table, None) != header:
                raise RunError(f"{path}, line 1: the columns must be {','.join(header)}")
            while rows := list(itertools.islice(table, CHUNK)):
                for line, row in enumerate(rows, start=len(ids) + 2):
                    if len(row) != len(header):
                        fields = f"{len(row)} fields where {len(header)} are needed"
                        raise RunError(f"{path}, line {line}: {fields}; it may be cut off")
                texts = list(zip(*rows, strict=True))
                ids += texts[0]
                parts.append([_column(path, name, text) for name, text in zip(names, texts[1:], strict=True)])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    if not parts:
        return (), {name: np.empty(0, np.int64) for name in names}
    return tuple(ids), {name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True), strict=True)}


def _column(path: Path, name: str, text: Sequence[str]) -> Column:
    """Numbers as int64 where all are whole, else as float64."""
    try:
        return np.array([int(value) for value in text], np.int64)
    except ValueError:
        pass
    try:
        return np.array([float(value) for value in text], np.float64)
    except ValueError as error:
        raise RunError(f"{path}, column {name}: {error}") from error


def _column_text(column: Column) -> Iterable[str]:
    """The shortest text of each number that reads back as the same one."""
    if column.dtype.kind == "i":
        return map(str, column.tolist())
    return (str(int(value)) if value == int(value) else repr(value) for value in column.tolist())
