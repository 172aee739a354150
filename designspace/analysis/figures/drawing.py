"""A finished figure: the picture, its numbers and its caption."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from designspace.analysis.figures.rendering import rendered
from designspace.analysis.figures.style import GREY, plain, style
from designspace.analysis.results import Results
from designspace.support.errors import unknown
from designspace.support.files import write_bytes
from designspace.support.text import to_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png", "csv")
MAX_VECTOR_POINTS = 2000
"""Number of points from which on they are pixels: a browser takes seconds to show 20,000 elements of an SVG."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A finished figure, made by `finish`. A notebook shows it if it is the last expression of a cell."""

    name: str
    """Stem of its file names."""
    title: str
    figure: Figure
    numbers: pd.DataFrame
    """All numbers in the figure, as one table from which it can be drawn again."""
    caption: str
    """Explanation of the figure: its content, the number of networks, and how to read it."""
    _files: dict[str, bytes] = field(default_factory=dict, init=False, repr=False)
    """Contents of its files, by format, if they were rendered ahead (see `prepared`)."""

    def __repr__(self) -> str:
        return f"Drawing({self.name!r}: {self.title}; {len(self.numbers)} rows of numbers)"

    def svg(self) -> str:
        """Return the figure as SVG, the same text each time."""
        return self._content("svg").decode()

    def prepared(self, *formats: str) -> Drawing:
        """Return this drawing with files that are rendered now; later changes of its figure do not affect them."""
        self._files.update({kind: self._content(kind) for kind in formats})
        return self

    def _content(self, kind: str) -> bytes:
        """Return the content of its file of a format.

        Raises:
            InputError: an unknown format.
        """
        if kind not in FORMATS:
            raise unknown("format", kind, FORMATS)
        if kind in self._files:
            return self._files[kind]
        return csv_text(self.numbers).encode() if kind == "csv" else rendered(self.figure, kind)

    def _repr_svg_(self) -> str:
        """Return the SVG that a notebook shows."""
        return self.svg()

    def write(self, folder: Path, formats: Sequence[str] = FORMATS) -> tuple[Path, ...]:
        """Write ``<name>.svg``, ``.pdf``, ``.png`` and ``.csv`` (its numbers), each whole or not at all.

        The same figure gives the same bytes each time.

        Raises:
            InputError: an unknown format.
            RunError: a file cannot be written.
        """
        paths = []
        for kind in formats:
            path = folder / f"{self.name}.{kind}"
            write_bytes(path, self._content(kind))
            paths.append(path)
        return tuple(paths)


NOT_DRAWN = "not drawn"
"""Note on failed trials in figures of single networks: a failed network has no error of its own."""


def finish(
    name: str,
    title: str,
    figure: Figure,
    numbers: pd.DataFrame,
    caption: str,
    results: Sequence[Results],
    failed: str | None = None,
) -> Drawing:
    """Make a `Drawing` from a figure, its numbers and caption, and the results that it shows.

    If trials failed or are unfinished, the progress of their runs and the treatment of failed trials are written below
    the axes and after the caption, so that no figure hides that a sweep is incomplete.
    """
    notes = progress(results, failed)
    if notes:
        footnote = "\n".join(textwrap.wrap(" ".join(notes), int(14 * figure.get_figwidth())))
        with style():
            figure.supxlabel(plain(footnote), x=0.01, ha="left", fontsize=7.5, color=GREY)
    rasterise(figure)
    settle(figure)
    return Drawing(name, title, figure, numbers, " ".join([caption, *notes]))


def rasterise(figure: Figure) -> None:
    """Draw sets of more than `MAX_VECTOR_POINTS` points as pixels in SVG and PDF, where each would be an element."""
    for axes in figure.axes:
        sets = [(points, len(np.asarray(points.get_offsets()))) for points in axes.collections]
        lines = [line for line in axes.lines if line.get_marker() not in ("None", "")]
        for artist, count in [*sets, *((line, np.size(line.get_xdata())) for line in lines)]:
            if count > MAX_VECTOR_POINTS:
                artist.set_rasterized(True)


def settle(figure: Figure) -> None:
    """Compute the layout once: if each rendering did it, positions and therefore bytes would differ slightly."""
    engine = figure.get_layout_engine()
    if engine is not None:
        with style():
            engine.execute(figure)
        figure.set_layout_engine("none")


def progress(results: Sequence[Results], failed: str | None = None) -> tuple[str, ...]:
    """Return a sentence on the progress of each run that has failed, unfinished or stopped trials.

    Args:
        results: the runs.
        failed: the treatment of failed trials; by default that of `Results.failed_as_text`.
    """
    notes = {}
    for run in results:
        if run.counts.failed or run.counts.unfinished or run.counts.stopped:
            treatment = failed or run.failed_as_text()
            notes[run.name] = f"{run.name}: {run.counts.sentence()}{f', {treatment}' if run.counts.failed else ''}."
    return tuple(notes.values())


def csv_text(numbers: pd.DataFrame) -> str:
    """Return numbers as CSV; texts that a spreadsheet would evaluate as formulas are marked as texts."""
    texts = {name: numbers[name].map(to_cell) for name in numbers.columns if numbers[name].dtype == object}
    marked = numbers.assign(**texts).rename(columns=to_cell)
    return marked.to_csv(index=False, lineterminator="\n")
