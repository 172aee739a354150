"""Populations: distinct networks drawn from a space or given as a list, as columns, with a record of their origin."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from designspace.networks.layers import Column
from designspace.networks.network import Network
from designspace.spaces.identity import CHUNK
from designspace.spaces.parameters import Columns
from designspace.support.files import write_text, write_together
from designspace.support.text import prefixed

if TYPE_CHECKING:
    import pandas as pd

    from designspace.spaces.network_list import NetworkSource

POPULATION_FILE = "population.csv"
SPACE_FILE = "space.yaml"
SAMPLING_FILE = "sampling.json"
COMPLEXITY_COLUMNS = ("flops", "params", "activations")
DRAWS = "draws"
"""Column of the number of draws that gave each network."""
DUPLICATE = "duplicate of an earlier network"
"""Reason for dropping a draw whose network is already in the population."""


@dataclass(frozen=True)
class Population:
    """An immutable, ordered set of networks, unique by id.

    ``population[0]`` is a `Network`, ``population[:3]`` a smaller population, and ``population.to_frame()`` a pandas
    table.

    Its networks were drawn from a space, or given as a list (`designspace.spaces.network_list`).

    Distinct networks are a flatter sample than the space's distribution, because each counts once, however likely it
    is. The column ``draws`` corrects for this. It counts the accepted draws that gave each network, up to the draw that
    gave the last network: at least 1 each, and in total all accepted draws. Networks weighted by it follow the
    distribution of the space (except for the last network, which has one draw by construction). In a larger population
    of the same seed, which counts more draws, the first networks have as many or more. Populations written by versions
    before this column lack it.
    """

    space: NetworkSource
    seed: int
    """Seed of the draws; 0 for a list."""
    ids: tuple[str, ...]
    columns: Columns
    """Realised parameters, complexity and ``draws``, by column name; each of shape (n,)."""
    drawn: int
    """Number of draws up to the last network, including rejected ones."""
    rejected: Mapping[str, int]
    """Reason -> number of draws that it rejected."""

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        flops = self.columns.get("flops", ())
        cost = f"; {prefixed(min(flops))} to {prefixed(max(flops))} multiply-adds" if len(flops) else ""
        count = f"{len(self)} network{'s' * (len(self) != 1)}"
        seed = f", seed {self.seed}" if self.space.is_drawn else ""
        return f"Population({count} of {self.space.name}{seed}{cost})"

    def _repr_html_(self) -> str:
        table: str = self[:5].to_frame()._repr_html_()  # type: ignore[operator]
        return f"<div>{html.escape(repr(self))}{'; its first networks:' * (len(self) > 5)}</div>{table}"

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Network: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Population: ...

    def __getitem__(self, index: Any) -> Network | Population:
        """Return the network at an index, or the part of the population given by a slice, a list of indices or a mask.

        A part keeps the record of how the whole population was drawn; a part of a list is a list itself.
        """
        if not isinstance(index, slice) and np.ndim(index) == 0:
            row = {name: column[index] for name, column in self.columns.items()}
            return self.space.network({"id": self.ids[index], **row})
        indices = np.arange(len(self))[index]
        columns = {name: column[indices] for name, column in self.columns.items()}
        source = self.space.part(indices.tolist())
        return dataclasses.replace(self, space=source, ids=tuple(self.ids[i] for i in indices), columns=columns)

    def to_frame(self) -> pd.DataFrame:
        """Return the population as a table with the columns of population.csv, one row per network, indexed by id.

        Columns of whole numbers are int64, others float64.
        """
        import pandas as pd  # takes half a second, which sampling does not need

        columns = {name: self.columns[name].copy() for name in self.column_names()}
        return pd.DataFrame(columns, index=pd.Index(self.ids, name="id"))

    def __iter__(self) -> Iterator[Network]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Return whether both populations hold the same networks in the same order, drawn in the same way."""
        if not isinstance(other, Population):
            return NotImplemented
        first, second = ((p.space, p.seed, p.ids, p.drawn, dict(p.rejected)) for p in (self, other))
        names = self.column_names()
        return (first, names) == (second, other.column_names()) and all(
            np.array_equal(self.columns[name], other.columns[name]) for name in names
        )

    def is_prefix_of(self, other: Population) -> bool:
        """Return whether another population is equal to this one, or extends it with the same space and seed."""
        same = self.space == other.space and self.seed == other.seed
        return same and other.ids[: len(self)] == self.ids

    @property
    def described(self) -> str:
        """Where the networks come from, as text."""
        return f"{self.space.name} with seed {self.seed}" if self.space.is_drawn else f"the list {self.space.name}"

    def quantity(self, name: str) -> Column:
        """Return a counted quantity of every network, such as ``peak_memory``, as int64. Shape (n,).

        flops, params and activations are columns already; the others are counted when they are requested, for images
        of the template's resolution.

        Args:
            name: a key of `designspace.networks.quantities.COUNTED`.

        Raises:
            InputError: the quantity is unknown, or a custom class cannot be imported or built.
        """
        if name in COMPLEXITY_COLUMNS:
            return self.columns[name]
        return self.space.quantity(name, self.columns)

    def column_names(self) -> list[str]:
        """Return the names of the columns of population.csv after the id."""
        optional = [DRAWS] if DRAWS in self.columns else []
        return [*self.space.column_names(), *COMPLEXITY_COLUMNS, *optional]

    def with_columns_of(self, other: Population) -> Population:
        """Return this population with the columns of another one: without ``draws`` if the other lacks it."""
        if DRAWS in other.columns or DRAWS not in self.columns:
            return self
        return dataclasses.replace(self, columns={name: self.columns[name] for name in self.columns if name != DRAWS})

    def to_csv(self) -> str:
        """Return the table of realised networks as CSV, one row each; whole numbers have no decimal point."""
        return "".join(self.csv_pieces())

    def csv_pieces(self) -> Iterator[str]:
        """Yield the text of `to_csv` in pieces of some thousand lines."""
        names = self.column_names()
        yield ",".join(["id", *names]) + "\n"
        for start in range(0, len(self), CHUNK):
            part = slice(start, start + CHUNK)
            text = [_column_text(self.columns[name][part]) for name in names]
            yield "\n".join(map(",".join, zip(self.ids[part], *text, strict=True))) + "\n"

    def write(
        self, folder: Path, *, extends: Population | None = None, beside: Mapping[str, str] | None = None
    ) -> None:
        """Write population.csv, sampling.json, space.yaml and the networks of a list, all or none.

        population.csv is replaced last and decides which population the folder holds. Until then sampling.json fits
        both the old table and the new one, so that a process killed in between leaves a population that can be read.

        Args:
            folder: the folder to write to.
            extends: the population in the folder, which this one extends.
            beside: file name -> text of further files, which are replaced before population.csv.

        Raises:
            RunError: a file cannot be written.
        """
        record = self._sampling_record()
        interim_record = record if extends is None else {**record, "extends": extends._sampling_record()}
        write_together(  # replaces the last file first
            {
                folder / POPULATION_FILE: self.csv_pieces(),
                folder / SAMPLING_FILE: _record_text(interim_record),
                **{folder / name: text for name, text in {**self.space.files(), **(beside or {})}.items()},
            }
        )
        if extends is not None:
            write_text(folder / SAMPLING_FILE, _record_text(record))

    def _sampling_record(self) -> dict[str, Any]:
        """Return how the population was drawn, as sampling.json records it."""
        return {"format": 1, "seed": self.seed, "n": len(self), "drawn": self.drawn, "rejected": dict(self.rejected)}


def _record_text(record: Mapping[str, Any]) -> str:
    """Return the content of sampling.json."""
    return json.dumps(record, indent=2) + "\n"


def _column_text(column: Column) -> Iterable[str]:
    """Return texts as they are, and for each number the shortest text that reads back as the same number."""
    if column.dtype.kind in "iU":
        return map(str, column.tolist())
    return (str(int(value)) if value == int(value) else repr(value) for value in column.tolist())
