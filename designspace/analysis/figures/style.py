"""The look of all figures: colours, line styles, sizes, and files of the same bytes each time.

All is object-oriented matplotlib in a style of its own: pyplot is not imported and the user's settings stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

# Okabe and Ito's colours, which colour-blind people tell apart; their yellow is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Line styles tell the curves apart in grey. Their number has no factor in common with that of the colours, so that 35
# curves differ; so with the markers of points.
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)))
_MARKERS = ("o", "s", "^", "D", "v")
MAP = "cividis"
"""Colour map of ranks and errors: for the colour-blind, and of rising lightness, so that it holds in grey."""
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
    "svg.hashsalt": "designspace",  # else the ids in an SVG are random
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "pdf.fonttype": 42,  # text that can be searched; what journals ask for
}
LEGEND_FONT = {"family": "DejaVu Sans Mono", "size": 8}  # one width for all letters keeps its columns


def colour(place: int) -> str:
    """The colour of the space in that place, from 0."""
    return COLOURS[place % len(COLOURS)]


def dashes(place: int) -> Any:
    """The line style of the space in that place, from 0."""
    return _DASHES[place % len(_DASHES)]


def marker(place: int) -> str:
    """The marker of the space in that place, from 0."""
    return _MARKERS[place % len(_MARKERS)]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults with this project's changes, whatever the user has set; his settings come back after.

    Everything that draws does so within it.
    """
    from matplotlib import style as matplotlib_style

    with matplotlib_style.context(_STYLE, after_reset=True):
        yield


def plain(text: str) -> str:
    """Text that matplotlib writes as it stands: a dollar sign would begin a formula, or raise where it is none."""
    return text.replace("$", r"\$")


def short(name: str, longest: int = 28) -> str:
    """A name that leaves room for the curves: what is too long loses its middle, as names often differ at the end."""
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-longest // 2 :]}"
