"""The EDF figure in one call, from results or from plain errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.edf import EDF, edf
from designspace.analysis.figures import draw_edf, new_axes
from designspace.analysis.figures.drawing import progress
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.support.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Run = Results | Path | str
"""Results, or a path that `Results.read` accepts: a run folder or a sweep.json."""
Plotted = Run | Sequence[Run] | Mapping[str, Run | ArrayLike]


@overload
def plot_edf(results: Plotted, level: float = 0.05, *, bands: bool = True, ax: None = None) -> Figure: ...


@overload
def plot_edf(results: Plotted, level: float = 0.05, *, bands: bool = True, ax: Axes) -> Axes: ...


def plot_edf(
    results: Plotted,
    level: float = 0.05,
    *,
    bands: bool = True,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw the error EDFs of runs, with bands of confidence 1 - ``level``.

    A notebook shows the figure if it is the last expression of a cell; its ``savefig`` writes it.

    Args:
        results: a run, several runs, or runs or errors (in percent) by the name of their space. A run is a `Results` or
            the path of a run folder; errors are a list, an array or a Series. None and NaN in plain errors are left
            out, and the figure notes it; `Results.from_errors` counts them at chance level.
        level: significance level of the bands.
        bands: whether to draw the confidence bands.
        ax: axes of your own to draw into.

    Returns:
        A new figure, or ``ax`` if it was given.

    Raises:
        InputError: no runs, two with the same name or different numbers of classes, or errors that are not numbers.
        RunError: a run cannot be read.

    >>> figure = plot_edf({"AnyNetXA": [30.1, 28.4, 33.0], "RegNetX": [27.5, 28.0, None]})
    """
    curves, notes, chance_error = _curves(results)
    figure = None
    if ax is None:
        figure, axes = new_axes(height=4.4 + 0.17 * len(curves))  # the legend has a line per curve
    else:
        axes = ax
    has_own_axes = ax is not None
    draw_edf(axes, curves, bands, level=level, chance_error=chance_error, notes=notes, legend_inside=has_own_axes)
    return axes if figure is None else figure


def _curves(results: Plotted) -> tuple[dict[str, EDF], list[str], float | None]:
    """Return the EDFs to draw by name, the notes on missing errors, and the chance error if it is known."""
    runs: list[Results] = []
    errors: dict[str, NDArray[np.float64]] = {}
    notes = []
    for name, value in _named(results):
        if isinstance(value, Results | Path | str):
            run = value if isinstance(value, Results) else Results.read(value)
            runs.append(run if name is None else replace(run, name=name))
        else:
            values = _errors(str(name), value)
            errors[str(name)] = values[np.isfinite(values)]
            if missing := values.size - errors[str(name)].size:
                notes.append(f"{name}: {missing} of {values.size} errors are missing and left out.")
    if not (runs or errors):
        raise InputError("no run was given; give at least one run to analyse")
    of_runs = Populations.of(runs).edfs()
    of_errors = {name: edf(values) for name, values in errors.items() if values.size}
    order = [run.name for run in runs if run.name in of_runs] + list(of_errors)
    notes = [*progress(runs), *notes] if runs else notes
    return {name: (of_runs | of_errors)[name] for name in order}, notes, runs[0].chance_error if runs else None


def _named(results: Plotted) -> list[tuple[str | None, Any]]:
    """Return each run or list of errors with its given name, if any."""
    if isinstance(results, Results | Path | str):
        return [(None, results)]
    if isinstance(results, Mapping | pd.DataFrame):
        return [(str(name), value) for name, value in results.items()]
    values = list(results) if isinstance(results, Iterable) else [results]
    for value in values:
        if not isinstance(value, Results | Path | str):
            raise InputError(
                "plot_edf takes runs, or errors by the name of their space, such as plot_edf({'mine': [24.1, 22.8]}), "
                f"not {type(value).__name__}"
            )
    return [(None, value) for value in values]


def _errors(name: str, values: Any) -> NDArray[np.float64]:
    """Return errors as an array, with NaN for missing ones."""
    try:
        array = np.asarray(values if hasattr(values, "__array__") else list(values), np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: errors must be numbers in percent, not {values!r}"[:200]) from error
    if array.ndim != 1 or not array.size:
        raise InputError(f"{name}: errors must be a list of at least one number, not of shape {array.shape}")
    return array
