"""EDFs of several populations whose networks are weighted as if all had the same distribution of a cost.

"On Network Design Spaces for Visual Recognition" (arXiv 1905.13214), section 4.2, for any quantity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.complexity_weights import common_weights
from designspace.analysis.edf import EDF, edf
from designspace.analysis.matched import Matched, known_values, machine_of
from designspace.analysis.quantities import quantity
from designspace.analysis.results import Results
from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.support.errors import InputError

BINS = 8
"""Number of bins of the cost, of equal width."""


@dataclass(frozen=True, eq=False, repr=False)
class EqualCost(Outlined):
    """EDFs of populations at equal values of one quantity."""

    quantity: Quantity
    edfs: Mapping[str, EDF]
    """The EDF of each population, by name. All have the same weight in each bin."""
    low: float
    """Lower end of the range that these populations have in common, in the unit of the quantity."""
    high: float
    bins: int
    """Number of bins in which all of these populations have networks; the others are not used."""
    left_out: tuple[str, ...]
    """A sentence for each population that cannot be compared with these."""

    def sentence(self) -> str:
        """Return what is compared, as text."""
        setting = f" ({self.quantity.setting})" if self.quantity.setting else ""
        used = f"{self.quantity.range_text(self.low, self.high)} in {self.bins} of {BINS} bins"
        return " ".join([f"At equal {self.quantity.noun}{setting}: {used}.", *self.left_out])

    def table(self, level: float = 0.05) -> pd.DataFrame:
        """Return one row per network: the population, its error, the weighted EDF, and the ends of its band."""
        parts = []
        for name, curve in self.edfs.items():
            band = curve.band(level)
            errors = curve.metric.oriented(curve.errors)
            columns = {"match": self.quantity.name, "space": name, "error": errors}
            parts.append(
                pd.DataFrame({**columns, "probability": curve.probabilities, "lower": band.lower, "upper": band.upper})
            )
        return pd.concat(parts, ignore_index=True)


def all_at_equal_cost(
    results: Sequence[Results], matched: Sequence[Matched]
) -> tuple[tuple[EqualCost, ...], tuple[str, ...]]:
    """Return the EDFs of populations at equal values of each quantity by which any of them are matched.

    Returns:
        The EDFs, one per quantity, and a sentence for each quantity for which there are none.
    """
    equal_costs: list[EqualCost] = []
    refused: list[str] = []
    for chosen in dict.fromkeys(test.quantity for test in matched):
        names = {name for test in matched if test.quantity == chosen for name in (test.a, test.b)}
        try:
            equal_costs.append(at_equal_cost([run for run in results if run.name in names], chosen))
        except InputError as error:
            refused.append(f"No figure can be drawn at equal {chosen.noun}: {error}.")
    return tuple(equal_costs), tuple(refused)


def at_equal_cost(results: Sequence[Results], match: str | Quantity) -> EqualCost:
    """Return the EDFs of populations at equal values of a quantity.

    Populations are left out if the quantity is not known for all their networks, if another machine measured it, or if
    they do not overlap with the others: the range that most populations cover is used.

    Args:
        results: the populations, with different names.
        match: the quantity.

    Raises:
        InputError: the quantity is unknown, or no two populations can be compared.
    """
    chosen = quantity(match, *results)
    columns: dict[str, NDArray[np.float64]] = {}
    left_out: list[str] = []
    for population in results:
        try:
            column = known_values(population, chosen)
        except InputError as error:
            left_out.append(f"Without {population.name}: {error}.")
            continue
        if column.size:
            columns[population.name] = column
    by_name = {population.name: population for population in results}
    machines = {name: machine_of(chosen, by_name[name]) for name in columns}
    names = _most(machines)
    left_out += [
        f"Without {name}: another machine ({machines[name]}) measured its {chosen.noun}."
        for name in columns
        if name not in names
    ]
    members = _overlapping({name: columns[name] for name in names})
    left_out += [
        f"Without {name}: its {chosen.noun} ({chosen.range_text(columns[name].min(), columns[name].max())}) does not "
        "overlap with that of the others."
        for name in names
        if name not in members
    ]
    if len(members) < 2:
        raise InputError(f"no two populations can be compared at equal {chosen.noun}. {' '.join(left_out)}".strip())
    weights = dict(zip(members, common_weights([columns[name] for name in members], BINS), strict=True))
    edfs = {name: edf(by_name[name].errors(), weights[name], by_name[name].metric) for name in members}
    first = next(iter(weights.values()))
    return EqualCost(
        chosen, edfs, float(first.edges[0]), float(first.edges[-1]), int(first.used.sum()), tuple(left_out)
    )


def _most(machines: Mapping[str, str]) -> list[str]:
    """Return the populations that were measured by the machine that measured most of them, the first one if equal."""
    counts = {machine: list(machines.values()).count(machine) for machine in machines.values()}
    best = max(counts, key=lambda machine: counts[machine], default="")
    return [name for name, machine in machines.items() if machine == best]


def _overlapping(columns: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """Return the largest group of populations whose ranges have a value in common, the first one if equal."""
    groups = [
        [name for name, column in columns.items() if column.min() <= start <= column.max()]
        for start in (float(column.min()) for column in columns.values())
    ]
    return max(groups, key=len, default=[])
