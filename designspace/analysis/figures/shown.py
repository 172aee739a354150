"""The figures of this project: matplotlib's, and notebooks show them without pyplot."""

from __future__ import annotations

from matplotlib.figure import Figure

from designspace.analysis.figures.rendering import svg_text


class ShownFigure(Figure):
    """A matplotlib figure that a notebook shows where it is the last line of a cell."""

    def _repr_svg_(self) -> str:
        return svg_text(self)
