"""Trends of the best values of parameters over populations: over flop regimes, or along a chain of spaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.best_values import best_of
from designspace.analysis.populations import Populations
from designspace.analysis.quantities import Column, available, counted_errors, parameters_of, quantity, values
from designspace.analysis.results import Results
from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Trend(Outlined):
    """The values of one parameter in several populations (figure 11 of "Designing Network Design Spaces")."""

    quantity: Quantity
    names: tuple[str, ...]
    """The populations, in the order of ``x``."""
    x: NDArray[np.float64]
    """Median of ``x_quantity`` over the finished networks of each population, or its index if ``x_quantity`` is None.

    All arrays have shape (populations,).
    """
    x_quantity: Quantity | None
    least: NDArray[np.float64]
    """Least value of the finished networks of each population."""
    low: NDArray[np.float64]
    """Lower end of the range of good values: the interval of the empirical bootstrap (`best_value`)."""
    median: NDArray[np.float64]
    """Median of the bootstrap."""
    high: NDArray[np.float64]
    greatest: NDArray[np.float64]
    best: NDArray[np.float64]
    """Value of the network with the least error."""
    n: NDArray[np.int64]
    """Number of networks that count."""

    def table(self) -> pd.DataFrame:
        """Return one row per population."""
        columns = {"run": self.names, "quantity": self.quantity.name, "x": self.x, "least": self.least, "low": self.low}
        others = {"median": self.median, "high": self.high, "greatest": self.greatest, "best": self.best, "n": self.n}
        return pd.DataFrame(columns | others)


def trend(
    populations: Sequence[Results],
    name: str | Quantity,
    x: str | Quantity | None = "flops",
    share: float = 0.25,
    level: float = 0.05,
) -> Trend:
    """Return the trend of one parameter over populations.

    Args:
        populations: the populations; those without a finished network that has the parameter are left out.
        name: the parameter.
        x: the quantity whose median is the position of a population (for flop regimes); None keeps the order (for
            chains).
        share: fraction of the networks in each resample, see `best_value`.
        level: one minus the fraction of the resamples in the interval.

    Raises:
        InputError: two populations have the same name, none has a finished network with the parameter, or a quantity is
            unknown.
    """
    names = [results.name for results in Populations.of(populations)]
    rows: list[tuple[str, float, list[float]]] = []
    for results in populations:
        indices, errors = counted_errors(results)
        column = values(results, name)[indices]
        has_parameter = np.isfinite(column)
        if not has_parameter.any():
            continue
        column, errors, indices = column[has_parameter], errors[has_parameter], indices[has_parameter]
        position = float(len(rows)) if x is None else float(np.nanmedian(values(results, x)[indices]))
        good = best_of(column, errors, quantity(name, results), share, level)
        ends = [column.min(), good.low, good.median, good.high, column.max(), good.best, good.n]
        rows.append((results.name, position, ends))
    if not rows:
        chosen = name if isinstance(name, str) else name.name
        raise InputError(f"no finished network of {', '.join(names) or 'no population'} has {chosen}")
    rows.sort(key=lambda row: row[1])  # stable, so populations of equal x keep their order
    table = np.array([numbers for _, _, numbers in rows], np.float64)
    positions = np.array([position for _, position, _ in rows])
    x_quantity = None if x is None else quantity(x, populations[0])
    least, low, median, high, greatest, best, n = table.T
    sorted_names = tuple(name for name, _, _ in rows)
    counts = n.astype(np.int64)
    return Trend(
        quantity(name, populations[0]),
        sorted_names,
        positions,
        x_quantity,
        least,
        low,
        median,
        high,
        greatest,
        best,
        counts,
    )


def trends(
    populations: Sequence[Results],
    names: Iterable[str | Quantity] | None = None,
    x: str | Quantity | None = "flops",
    share: float = 0.25,
    level: float = 0.05,
) -> tuple[Trend, ...]:
    """Return `trend` for several parameters, by default for all that vary in a population and that all have.

    Raises:
        InputError: as `trend`.
    """
    chosen = common_parameters(populations) if names is None else tuple(names)
    return tuple(trend(populations, name, x, share, level) for name in chosen)


def common_parameters(populations: Sequence[Results]) -> tuple[Quantity, ...]:
    """Return the parameters that vary in at least one population and that all populations have."""
    if not populations:
        return ()
    varying = {parameter.name for results in populations for parameter in parameters_of(results)}
    owned = [
        [parameter.name for parameter in available(results, ["parameter"]) if _has_all(results, parameter)]
        for results in populations
    ]
    return tuple(
        quantity(name, populations[0]) for name in owned[0] if name in varying and all(name in names for names in owned)
    )


def _has_all(results: Results, parameter: Quantity) -> bool:
    """Return whether all networks have a quantity; they have ``b`` and ``g`` only if their stages share them."""
    column: Column = values(results, parameter)
    return parameter.name not in ("b", "g") or bool(np.isfinite(column).all())
