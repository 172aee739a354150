"""A population: distinct networks drawn from a space, as columns, with the story of their drawing."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import html
import itertools
import json
import re
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
from designspace.support.checks import mapping, whole
from designspace.support.csv_text import check_id, decimal_point, open_table
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_text, write_together
from designspace.support.reading import read_json
from designspace.support.text import command, quantity, shown
from designspace.support.yaml_text import read_yaml

if TYPE_CHECKING:
    import pandas as pd

POPULATION_FILE = "population.csv"
SPACE_FILE = "space.yaml"
SAMPLING_FILE = "sampling.json"
COMPLEXITY_COLUMNS = ("flops", "params", "activations")
DRAWS = "draws"
"""Column with the number of draws that gave each network."""
DUPLICATE = "duplicate of an earlier network"
"""Reason for dropping a draw that gave a network of the population once more."""


@dataclass(frozen=True)
class Population:
    """An immutable, ordered set of networks, unique by id.

    ``population[0]`` is a `Network`, ``population[:3]`` a smaller population, `to_frame` a pandas table.

    Distinct networks are a flatter sample than the space's own law: each counts once, however likely it is. The column
    ``draws`` makes up for that. It counts, among the draws that met the constraints up to the one that gave the last
    network, those that gave each network: at least 1, and together all of them. Networks weighed by it follow the law
    of the space (but for the last network, which has one draw by construction). In a larger population of the same
    seed, which counts further draws, the first networks have as many or more. Populations that versions before the
    column wrote lack it.
    """

    space: DesignSpace
    seed: int
    ids: tuple[str, ...]
    columns: Columns
    """Realised parameters, complexity and ``draws``, by column name; each of shape (n,)."""
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
        names = self.column_names()
        return (ours, names) == (theirs, other.column_names()) and all(
            np.array_equal(self.columns[name], other.columns[name]) for name in names
        )

    def begins(self, other: Population) -> bool:
        """Whether another population of the same space and seed is this one, or this one extended."""
        same = self.space == other.space and self.seed == other.seed
        return same and other.ids[: len(self)] == self.ids

    def column_names(self) -> list[str]:
        """The columns of population.csv after the id."""
        counted = [DRAWS] if DRAWS in self.columns else []
        return [*self.space.column_names(), *COMPLEXITY_COLUMNS, *counted]

    def with_columns_of(self, other: Population) -> Population:
        """Return this population with the columns that another one has: without ``draws`` if that lacks it."""
        if DRAWS in other.columns or DRAWS not in self.columns:
            return self
        return dataclasses.replace(self, columns={name: self.columns[name] for name in self.columns if name != DRAWS})

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

    def write(
        self, folder: Path, *, extends: Population | None = None, beside: Mapping[str, str] | None = None
    ) -> None:
        """Write population.csv, space.yaml and sampling.json, all or none.

        population.csv takes its place last and decides what the folder holds. Until then sampling.json fits both the
        old table and the new one, so that whoever is killed in between leaves a population that can be read.

        Args:
            folder: where to write.
            extends: the population that is there and that this one begins with.
            beside: further texts, by the names of their files, which take their places before population.csv.

        Raises:
            RunError: a file cannot be written.
        """
        story = self._story()
        until_then = story if extends is None else {**story, "extends": extends._story()}
        write_together(  # the last one takes its place first
            {
                folder / POPULATION_FILE: self.csv_pieces(),
                folder / SAMPLING_FILE: _story_text(until_then),
                folder / SPACE_FILE: yaml.safe_dump(self.space.to_dict(), sort_keys=False),
                **{folder / name: text for name, text in (beside or {}).items()},
            }
        )
        if extends is not None:
            write_text(folder / SAMPLING_FILE, _story_text(story))

    def _story(self) -> dict[str, Any]:
        """How the population was drawn, as sampling.json says it."""
        return {"format": 1, "seed": self.seed, "n": len(self), "drawn": self.drawn, "rejected": dict(self.rejected)}

    @staticmethod
    def read(folder: Path) -> Population:
        """Read back what `write` wrote.

        Raises:
            RunError: a file is missing, cut off or was edited; the error names the file and the line.
        """
        path = folder / POPULATION_FILE
        if not path.is_file():
            raise no_population(folder)
        space = read_space(folder / SPACE_FILE)
        ids, columns = _read_table(path, [*space.column_names(), *COMPLEXITY_COLUMNS], optional=DRAWS)
        story = read_json(folder / SAMPLING_FILE)  # after the table, which fits it whenever it was read (see `write`)
        try:
            if "extends" in story and story["n"] != len(ids) == story["extends"]["n"]:
                story = story["extends"]  # whoever extended the population was killed before its last file
            seed, n, drawn, rejected = (story[key] for key in ("seed", "n", "drawn", "rejected"))
        except (TypeError, KeyError) as error:
            raise RunError(f"{folder / SAMPLING_FILE} lacks {error}") from error
        _check_story(folder / SAMPLING_FILE, (seed, n, drawn), rejected)
        if len(ids) != n:
            raise RunError(
                f"{path} holds {len(ids)} networks, but {SAMPLING_FILE} says {n}; it may have been cut off. "
                "The command that sampled it, typed again, writes it anew"
            )
        population = Population(space, seed, ids, columns, drawn, rejected)
        population._check_ids(path)
        population._check_draws(path)
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

    def _check_draws(self, path: Path) -> None:
        """Raise where the column of draws does not fit the number of duplicates that sampling.json says."""
        if DRAWS not in self.columns:
            return
        draws = self.columns[DRAWS]
        odd = next((value for value in draws.tolist() if value != int(value) or value < 1), None)
        if odd is not None:
            raise RunError(f"{path}, column {DRAWS}: {odd} is not a whole number >= 1; the file was changed")
        accepted = len(self) + self.rejected.get(DUPLICATE, 0)
        if draws.sum() != accepted:
            raise RunError(
                f"{path}, column {DRAWS}: the sum is {draws.sum()}, but {SAMPLING_FILE} says {accepted}: {len(self)} "
                f"networks and {accepted - len(self)} duplicates; the file was changed"
            )


def _story_text(story: Mapping[str, Any]) -> str:
    """The content of sampling.json."""
    return json.dumps(story, indent=2) + "\n"


def no_population(folder: Path) -> RunError:
    """Return the error for a folder that is not a run folder."""
    return RunError(
        f"there is no population in {folder} ({POPULATION_FILE} is missing); "
        f"sample one first: {command('sample', space='RegNetX', run=folder)}"
    )


def read_ids(folder: Path) -> tuple[str, ...]:
    """Read the ids of a population, and nothing else of it.

    Raises:
        RunError: the table is missing or cannot be read, or has something else for an id.
    """
    path = folder / POPULATION_FILE
    if not path.exists():
        raise no_population(folder)
    try:
        file, parted_by = open_table(path)
        with file:
            ids = [line.split(parted_by, 1)[0].strip('"\r\n') if line.strip() else None for line in file]
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
    """Read the seed that a population was drawn with, and nothing else of it.

    Raises:
        RunError: sampling.json is missing or cannot be read, or holds no seed.
    """
    path = folder / SAMPLING_FILE
    try:
        return whole("seed", mapping("sampling", read_json(path), needed=["seed"])["seed"], 0)
    except InputError as error:
        raise RunError(f"{path}: {error}") from error


def read_space(path: Path) -> DesignSpace:
    """Read a space.yaml.

    Raises:
        RunError: it is missing, unreadable, or describes no space.
    """
    try:
        return DesignSpace.from_dict(read_yaml(path))
    except InputError as error:
        said = str(error)
        raise RunError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _check_story(path: Path, numbers: Sequence[Any], rejected: Any) -> None:
    """Raise unless a sampling.json holds numbers where they belong."""
    try:
        for key, value in zip(("seed", "n", "drawn"), numbers, strict=True):
            whole(key, value, 0)
        for reason, count in mapping("rejected", rejected).items():
            whole(f"rejected: {reason[:80]}", count, 0)
    except InputError as error:
        raise RunError(f"{path}: {error}") from error


def _read_table(path: Path, names: list[str], optional: str) -> tuple[tuple[str, ...], Columns]:
    """The ids and number columns of a population.csv, each line checked; the optional column stands last."""
    header = ["id", *names]
    ids: list[str] = []
    parts: list[list[Column]] = []
    try:
        file, parted_by = open_table(path)
        with file:
            table = csv.reader(file, delimiter=parted_by)
            given = next(table, None)
            if given == [*header, optional]:
                names, header = [*names, optional], given
            if given != header:
                raise RunError(f"{path}, line 1: the columns must be {','.join(header)}[,{optional}]")
            while rows := list(itertools.islice(table, CHUNK)):
                while rows and len(rows) < CHUNK and not rows[-1]:  # blank lines at the end
                    rows.pop()
                if not rows:
                    break
                for line, row in enumerate(rows, start=len(ids) + 2):
                    if len(row) != len(header):
                        fields = f"{len(row)} fields where {len(header)} are needed"
                        raise RunError(f"{path}, line {line}: {fields}; it may be cut off")
                    check_id(path, line, row[0])
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
    with contextlib.suppress(ValueError, OverflowError):
        return np.array([int(value) for value in text], np.int64)
    try:
        column = np.array([float(decimal_point(value)) for value in text], np.float64)
    except ValueError:
        odd = next(value for value in text if not _NUMBER.fullmatch(decimal_point(value)))
        raise RunError(f"{path}, column {name}: {shown(odd)} is not a number") from None
    if not (np.abs(column) < 2**63).all():  # nor infinite, nor NaN
        odd = next(value for value in text if not abs(float(decimal_point(value))) < 2**63)
        raise RunError(f"{path}, column {name}: {shown(odd)} is not a number that can be")
    return column


_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


def _column_text(column: Column) -> Iterable[str]:
    """The shortest text of each number that reads back as the same one."""
    if column.dtype.kind == "i":
        return map(str, column.tolist())
    return (str(int(value)) if value == int(value) else repr(value) for value in column.tolist())
