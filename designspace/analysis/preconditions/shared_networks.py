"""Networks that two populations have in common: the populations are not independent, and these networks are pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results
from designspace.support.text import counted

NAME = "independent networks"
MIN_SHARED = 5
"""Minimum number of networks in common to test them as pairs; fewer do not change the tests."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedNetworks:
    """The networks that two populations have in common, among those that count."""

    pairs: NDArray[np.int64]  # (pairs, 2)
    """Indices of each in the errors of the first and of the second population."""
    kind: str
    """``networks`` if the ids are equal, ``structures`` if depths, widths, ratios and group widths are equal."""

    @property
    def are_many(self) -> bool:
        """Whether there are enough of them to be tested as pairs."""
        return len(self.pairs) >= MIN_SHARED


def shared_networks(a: Results, b: Results) -> SharedNetworks:
    """Find the networks that two populations share, by id or by structure (X and Y, radix 0 and 2)."""
    tables = [results.table[results.counted()] for results in (a, b)]
    by_id = SharedNetworks(_pairs(*(pd.Index(table["id"]) for table in tables)), "networks")
    columns = [_structure_columns(table) for table in tables]
    # Networks with different numbers of stages have different structures.
    if not columns[0] or columns[0] != columns[1]:
        return by_id
    by_structure = SharedNetworks(_pairs(*(_rows(table[columns[0]]) for table in tables)), "structures")
    return by_structure if len(by_structure.pairs) > len(by_id.pairs) else by_id


def independent(a: Results, b: Results, shared: SharedNetworks) -> Precondition:
    """Check that two populations are independent; a few networks in common do not matter."""
    count = len(shared.pairs)
    if not shared.are_many:
        return Precondition(NAME, True, evidence={"shared": count})
    sentence = (
        f"{a.name} and {b.name} have {counted(count, shared.kind.removesuffix('s'))} in common; these are compared "
        "in pairs, and the others as populations."
    )
    return Precondition(NAME, False, sentence, evidence={"shared": count})


def _pairs(keys_a: pd.Index, keys_b: pd.Index) -> NDArray[np.int64]:
    """Return the positions of common keys in two indexes; none if an index has repeated keys."""
    if not (keys_a.is_unique and keys_b.is_unique):
        return np.empty((0, 2), np.int64)
    positions = keys_b.get_indexer(keys_a)
    return np.column_stack([np.flatnonzero(positions >= 0), positions[positions >= 0]]).astype(np.int64)


def _rows(numbers: pd.DataFrame) -> pd.Index:
    """Return one key per row of numbers: its bytes, since an index of many columns takes ten times as long."""
    values = np.ascontiguousarray(numbers.to_numpy(np.float64, na_value=np.nan)) + 0.0  # -0.0 becomes 0.0
    return pd.Index(values.view(np.dtype((np.void, values.itemsize * values.shape[1]))).ravel().tolist())


def _structure_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of depths, widths, ratios and group widths, and radix if it varies; [] without stages."""
    columns = sorted(column for column in table.columns if column[:1] in "dwbg" and column[1:].isdigit())
    return [*columns, "radix"] if columns and table["radix"].nunique() > 1 else columns
