"""Have two populations networks in common? Then they are not independent, and common networks are pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results
from designspace.support.text import counted

NAME = "independent networks"
A_FEW = 5
"""Number of networks in common from which they are tested as pairs; fewer change no test."""


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The networks that two populations have in common, among those that count."""

    pairs: NDArray[np.int64]  # (pairs, 2)
    """Places of each in the errors of the first and of the second population."""
    kind: str
    """``networks`` where the ids are the same, ``structures`` where depths, widths, ratios and group widths are."""

    @property
    def are_many(self) -> bool:
        """Whether they are enough to be tested as pairs."""
        return len(self.pairs) >= A_FEW


def shared_networks(a: Results, b: Results) -> Shared:
    """Find the networks that two populations share, by id, or else by structure (X and Y, radix 0 and 2)."""
    tables = [results.table[results.counted()] for results in (a, b)]
    by_id = Shared(_pairs(*(pd.Index(table["id"]) for table in tables)), "networks")
    columns = [_structure_columns(table) for table in tables]
    if not columns[0] or columns[0] != columns[1]:  # networks of other numbers of stages have other structures
        return by_id
    by_structure = Shared(_pairs(*(_rows(table[columns[0]]) for table in tables)), "structures")
    return by_structure if len(by_structure.pairs) > len(by_id.pairs) else by_id


def independent(a: Results, b: Results, shared: Shared) -> Precondition:
    """Say whether two populations are independent; a few networks in common do not matter."""
    count = len(shared.pairs)
    if not shared.are_many:
        return Precondition(NAME, True, evidence={"shared": count})
    sentence = (
        f"{a.name} and {b.name} have {counted(count, shared.kind.removesuffix('s'))} in common; each is compared with "
        "itself, the rest as a whole."
    )
    return Precondition(NAME, False, sentence, evidence={"shared": count})


def _pairs(ours: pd.Index, theirs: pd.Index) -> NDArray[np.int64]:
    """Return the places of keys that stand once in each of two indexes."""
    if not (ours.is_unique and theirs.is_unique):
        return np.empty((0, 2), np.int64)
    place = theirs.get_indexer(ours)
    return np.column_stack([np.flatnonzero(place >= 0), place[place >= 0]]).astype(np.int64)


def _rows(numbers: pd.DataFrame) -> pd.Index:
    """Return one key for each row of numbers: its bytes, since an index of many columns takes ten times as long."""
    values = np.ascontiguousarray(numbers.to_numpy(np.float64)) + 0.0  # -0.0 becomes 0.0
    return pd.Index(values.view(np.dtype((np.void, values.itemsize * values.shape[1]))).ravel().tolist())


def _structure_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of depths, widths, ratios and group widths, and radix if it varies; none without stages."""
    columns = sorted(column for column in table.columns if column[:1] in "dwbg" and column[1:].isdigit())
    return [*columns, "radix"] if columns and table["radix"].nunique() > 1 else columns
