"""Empty figures in this project's style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.figures.style import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_axes(width: float = 6.4, height: float = 4.8) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches with a single axes, in this project's style."""
    figure, grid = new_grid(1, 1, width=width, height=height)
    return figure, grid[0, 0]


def new_grid(
    rows: int, columns: int, *, width: float = 3.4, height: float = 3.0, sharex: Any = False, sharey: Any = False
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and an array of its axes, of shape (rows, columns), each axes of a size in inches."""
    from designspace.analysis.figures.shown import ShownFigure  # matplotlib takes a third of a second to import

    with style():
        figure = ShownFigure(figsize=(width * columns, height * rows), layout="constrained")
        return figure, np.asarray(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey))
