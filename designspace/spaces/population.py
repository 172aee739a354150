"""A population: distinct networks drawn from a space, as columns, with the story of their drawing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from designspace.networks.network import Network
from designspace.spaces.parameters import Columns
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_json, write_together

POPULATION_FILE = "population.csv"
SPACE_FILE = "space.yaml"
SAMPLING_FILE = "sampling.json"
COMPLEXITY_COLUMNS = ("flops", "params", "activations")


@dataclass(frozen=True)
class Population:
    """An immutable, ordered set of networks, unique by id."""

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

    def __getitem__(self, index: int) -> Network:
        return self.space.network({name: column[index] for name, column in self.columns.items()})

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

    def column_names(self) -> list[str]:
        """The columns of population.csv after the id."""
        return [*self.space.column_names(), *COMPLEXITY_COLUMNS]

    def to_csv(self) -> str:
        """The table of the realised networks, one row each; whole numbers are written without a point."""
        names = self.column_names()
        text = [[_number_text(value) for value in self.columns[name].tolist()] for name in names]
        lines = [",".join(["id", *names]), *(",".join(row) for row in zip(self.ids, *text, strict=True))]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write population.csv, space.yaml and sampling.json, all or none.

        Raises:
            RunError: a file cannot be written.
        """
        story = {"format": 1, "seed": self.seed, "n": len(self), "drawn": self.drawn, "rejected": dict(self.rejected)}
        write_together(
            {
                folder / POPULATION_FILE: self.to_csv(),
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
        for line, (id_, network) in enumerate(zip(self.ids, self, strict=True), start=2):
            if network.id != id_:
                raise RunError(f"{path}, line {line}: the row is not the network {id_}; the file was changed")


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
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    header = ["id", *names]
    if not rows or rows[0] != header:
        raise RunError(f"{path}, line 1: the columns must be {','.join(header)}")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise RunError(f"{path}, line {line}: {len(row)} fields where {len(header)} are needed; it may be cut off")
    columns: Columns = {}
    for i, name in enumerate(names, start=1):
        try:
            columns[name] = _column([row[i] for row in rows[1:]])
        except ValueError as error:
            raise RunError(f"{path}, column {name}: {error}") from error
    return tuple(row[0] for row in rows[1:]), columns


def _column(text: list[str]) -> Any:
    """Numbers as int64 where all are whole, else as float64."""
    try:
        return np.array([int(value) for value in text], np.int64)
    except ValueError:
        return np.array([float(value) for value in text], np.float64)


def _number_text(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) else repr(value)
