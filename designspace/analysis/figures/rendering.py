"""Reproducible bytes of figures: the same for the same figure, without time or version."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from designspace.analysis.figures.style import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 200


def rendered(figure: Figure, kind: str, dpi: int = _DPI) -> bytes:
    """Return the bytes of a figure as ``svg``, ``pdf`` or ``png`` (``dpi`` dots per inch), without time or version."""
    blank_metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None, "Producer": None}, "png": {"Software": None}}
    file = io.BytesIO()
    with style():
        figure.savefig(file, format=kind, dpi=dpi, metadata=blank_metadata[kind])
    return file.getvalue()


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG: the same text for the same figure."""
    return rendered(figure, "svg").decode()
