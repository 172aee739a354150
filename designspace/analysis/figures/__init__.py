"""Figures: each ``draw_...`` function draws computed numbers into an `Axes` and computes nothing itself.

`finish` turns a figure into a `Drawing`, with its numbers and caption.
"""

from designspace.analysis.figures.canvas import new_axes, new_grid
from designspace.analysis.figures.drawing import Drawing, finish
from designspace.analysis.figures.edf import (
    draw_edf,
    edf_caption,
    edf_numbers,
    error_limits,
)
from designspace.analysis.figures.rendering import svg_text

__all__ = [
    "Drawing",
    "draw_edf",
    "edf_caption",
    "edf_numbers",
    "error_limits",
    "finish",
    "new_axes",
    "new_grid",
    "svg_text",
]
