"""A population: distinct networks drawn from a space, as columns, with the story of their drawing."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import yaml
from numpy.typing import NDArray

from designspace.networks.blocks import Column
from designspace.networks.network import Network
from designspace.spaces.identity import CHUNK
from designspace.spaces.parameters import Columns
from designspace.support.files import write_text, write_together
from designspace.support.text import quantity

if TYPE_CHECKING:
    import pandas as pd

    from designspace.spaces.space import DesignSpace

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

    def is_prefix_of(self, other: Population) -> bool:
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


def _story_text(story: Mapping[str, Any]) -> str:
    """The content of sampling.json."""
    return json.dumps(story, indent=2) + "\n"


def _column_text(column: Column) -> Iterable[str]:
    """The shortest text of each number that reads back as the same one."""
    if column.dtype.kind == "i":
        return map(str, column.tolist())
    return (str(int(value)) if value == int(value) else repr(value) for value in column.tolist())
