"""Matplotlib figures that notebooks show without pyplot."""

from __future__ import annotations

from matplotlib.figure import Figure

from designspace.analysis.figures.rendering import svg_text


class ShownFigure(Figure):
    """A matplotlib figure that a notebook shows if it is the last expression of a cell."""

    def _repr_svg_(self) -> str:
        return svg_text(self)
