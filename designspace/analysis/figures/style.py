"""The style of all figures: colours, line styles and sizes, and reproducible files.

Figures use matplotlib's object-oriented interface: pyplot is not imported and the user's settings are not changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

# Okabe and Ito's colours, which colour-blind people can distinguish; their yellow is too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Line styles and markers distinguish curves in greyscale. Their number and that of the colours have no common factor,
# so that 35 curves differ.
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)))
_MARKERS = ("o", "s", "^", "D", "v")
MAP = "cividis"
"""Colour map of ranks and errors: safe for colour-blind readers, and of rising lightness, so readable in greyscale."""
GREY = "#444444"
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "designspace",  # otherwise the ids in an SVG are random
    "svg.fonttype": "path",  # looks the same in every viewer
    "pdf.fonttype": 42,  # searchable text, as journals require
}
LEGEND_FONT = {"family": "DejaVu Sans Mono", "size": 8}  # monospaced, to keep the columns aligned


def colour(index: int) -> str:
    """Return the colour of the space with an index, from 0."""
    return COLOURS[index % len(COLOURS)]


def dashes(index: int) -> Any:
    """Return the line style of the space with an index, from 0."""
    return _DASHES[index % len(_DASHES)]


def marker(index: int) -> str:
    """Return the marker of the space with an index, from 0."""
    return _MARKERS[index % len(_MARKERS)]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Use this project's style instead of the user's settings, which are restored afterwards.

    All drawing functions use this context.
    """
    from matplotlib import style as matplotlib_style

    with matplotlib_style.context(_STYLE, after_reset=True):
        yield


def plain(text: str) -> str:
    """Escape dollar signs, so that matplotlib does not interpret them as formulas (or raise if they are not)."""
    return text.replace("$", r"\$")


def short(name: str, longest: int = 28) -> str:
    """Shorten a long name to leave room for the curves; its middle is cut because names often differ at the end."""
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-longest // 2 :]}"
