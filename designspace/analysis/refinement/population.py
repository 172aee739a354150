"""The networks of a population that count, in an order and in strata that do not depend on the order of the rows."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.preconditions import by_network, finished_at_random, left_out_at_random
from designspace.analysis.quantities import values
from designspace.analysis.results import Results
from designspace.networks.network import Network
from designspace.spaces.network_list import NetworkSource
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.text import counted

MIN_NETWORKS = 30
"""Minimum number of networks: with fewer, even strong constraints are rarely found."""
STRATUM_SIZE = 10
"""Number of networks of similar complexity among which errors are permuted."""
NARROW = 1.02
"""If the highest complexity is at most this multiple of the lowest, all networks are in one stratum."""


@dataclass(frozen=True, eq=False)
class RefinedPopulation:
    """Networks of one space with their errors, in the order of the quantity by which they are matched.

    Make it with `RefinedPopulation.of`, which checks that the networks are a sample of their space.
    """

    results: Results
    """One row per network; only ``rows`` of them count."""
    space: DesignSpace
    match: str | None
    """Quantity by which networks are matched; None if all are compared with all."""
    rows: NDArray[np.int64]  # (n,)
    """Positions in the table."""
    errors: NDArray[np.float64]  # (n,)
    """As `Results.errors` returns them: lower ones are better."""
    strata: NDArray[np.int64]  # (n,)
    """Number of the stratum of each network, ascending from 0."""
    notes: tuple[str, ...] = ()
    """Sentences on networks that are missing or were averaged."""

    @staticmethod
    def of(results: Results, space: NetworkSource, match: str | None = "flops") -> RefinedPopulation:
        """Collect the networks that count; average repeats, and order networks by complexity and id.

        Raises:
            InputError: the networks are those of a list, too few, a biased part of an unfinished population, or their
                complexity is unknown.
        """
        if not isinstance(space, DesignSpace) or not results.is_drawn:
            raise InputError(
                f"{results.name} is a given list: its networks were chosen, not drawn, so it has no space to refine"
            )
        results = by_network(results)
        finished = finished_at_random(results)
        if not finished.holds:
            raise InputError(
                f"{finished.sentence} What they suggest may be due to that, so wait until the run has finished."
            )
        notes = list(results.notes)
        rows = np.flatnonzero(results.counted())
        if rows.size < MIN_NETWORKS:
            raise InputError(
                f"{results.name}: a refinement needs at least {MIN_NETWORKS} finished networks, but there are "
                f"{rows.size} ({results.counts.sentence()})"
            )
        matched = np.zeros(rows.size) if match is None else values(results, match)[rows]
        if not np.isfinite(matched).all():
            unknown = counted(int((~np.isfinite(matched)).sum()), "network")
            raise InputError(f"{results.name}: the {match} of {unknown} is not known; choose another match=, or null")
        if results.left_out().any():
            left_out = left_out_at_random(results)
            trials = counted(int(results.left_out().sum()), "trial")
            notes.append(left_out.sentence or f"{results.name}: {trials} that the machine ended are left out.")
        order = np.lexsort((results.table["trial"].to_numpy(str)[rows], matched))
        errors = results.errors()[order]
        return RefinedPopulation(results, space, match, rows[order], errors, strata_of(matched[order]), tuple(notes))

    @property
    def n(self) -> int:
        """Number of networks that count."""
        return self.rows.size

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers of the networks. Shape (n,)."""
        return self.results.table[name].to_numpy(np.float64)[self.rows]

    def networks(self) -> list[Network]:
        """Return the networks."""
        names = self.space.column_names()
        rows = self.results.table.iloc[self.rows][names].itertuples(index=False, name=None)
        return [self.space.network(dict(zip(names, row, strict=True))) for row in rows]

    @functools.cached_property
    def _ranks(self) -> NDArray[np.float64]:
        """The ranks of `ranks`."""
        from scipy.stats import rankdata

        return centred(rankdata(-self.errors), self.strata)

    def ranks(self) -> NDArray[np.float64]:  # (n,)
        """Return the ranks of the errors, the best the highest, less their mean in each stratum."""
        return self._ranks

    def part(self, mask: NDArray[np.bool_], name: str) -> Results:
        """Return the results of some of the networks."""
        of_table = np.zeros(len(self.results.table), np.bool_)
        of_table[self.rows[mask]] = True
        return self.results.where(of_table, name)


def strata_of(ascending: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the stratum of each network: tens of similar complexity, or one stratum if all are similar.

    >>> strata_of(np.arange(1.0, 26.0)).tolist().count(0)
    13
    """
    n = ascending.size
    is_narrow = ascending[-1] <= ascending[0] * NARROW
    count = 1 if is_narrow else max(1, n // STRATUM_SIZE)
    return np.repeat(np.arange(count), [part.size for part in np.array_split(ascending, count)])


def centred(columns: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return columns less their means in each stratum. Shape (n,) or (n, c), strata ascending."""
    starts = np.flatnonzero(np.diff(strata, prepend=-1))
    sizes = np.bincount(strata)
    means = (np.add.reduceat(columns, starts, axis=0).T / sizes).T
    return np.asarray(columns - means[strata], np.float64)
