"""Have two populations networks in common? Then they are not independent, and common networks are pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Failures, Results
from designspace.support.text import counted

NAME = "independent networks"
A_FEW = 5
"""So many networks in common change no test; from here on they are pairs."""


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


def shared_networks(a: Results, b: Results, failures: Failures = "chance") -> Shared:
    """Find the networks that two populations share, by id, or else by structure (X and Y, radix 0 and 2)."""
    ours, theirs = (results.table[results.counted(failures)] for results in (a, b))
    by_id = Shared(_pairs(pd.Index(ours["id"]), pd.Index(theirs["id"])), "networks")
    by_structure = Shared(_pairs(_structures(ours), _structures(theirs)), "structures")
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


def _structures(table: pd.DataFrame) -> pd.Index:
    """Return depths, widths, ratios and group widths of each network; an empty index for networks without stages."""
    columns = [column for column in table.columns if column[:1] in "dwbg" and column[1:].isdigit()]
    if not columns:
        return pd.Index([])
    radix = ["radix"] if table["radix"].nunique() > 1 else []
    return pd.MultiIndex.from_frame(table[[*sorted(columns), *radix]])
