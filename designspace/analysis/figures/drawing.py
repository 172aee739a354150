"""A finished figure: the picture, its numbers, and what it says."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from designspace.analysis.figures.rendering import rendered, svg_text
from designspace.analysis.figures.style import GREY, plain, style
from designspace.analysis.results import Results
from designspace.support.errors import unknown
from designspace.support.files import write_bytes, write_text
from designspace.support.text import to_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png", "csv")


@dataclass(frozen=True, eq=False)
class Drawing:
    """A finished figure. Make it with `finish`. A notebook shows it where it is the last thing in a cell."""

    name: str
    """Stem of its files."""
    title: str
    figure: Figure
    numbers: pd.DataFrame
    """Every number that is drawn, as one table: what to draw the figure again from."""
    caption: str
    """What it shows, of how many networks, and how to read it."""

    def __repr__(self) -> str:
        return f"Drawing({self.name!r}: {self.title}; {len(self.numbers)} rows of numbers)"

    def svg(self) -> str:
        """The figure as SVG, the same text each time."""
        return self._svg

    @functools.cached_property
    def _svg(self) -> str:
        """Rendered once: the report and the file beside it need it both."""
        return svg_text(self.figure)

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
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
            if kind not in FORMATS:
                raise unknown("format", kind, FORMATS)
            path = folder / f"{self.name}.{kind}"
            if kind == "csv":
                write_text(path, _csv_text(self.numbers))
            else:
                write_bytes(path, self._svg.encode() if kind == "svg" else rendered(self.figure, kind))
            paths.append(path)
        return tuple(paths)


NOT_DRAWN = "not drawn"
"""What figures of single networks say: a failed one has no error of its own."""


def finish(
    name: str,
    title: str,
    figure: Figure,
    numbers: pd.DataFrame,
    caption: str,
    results: Sequence[Results],
    failed: str | None = None,
) -> Drawing:
    """Make a `Drawing` of what was drawn from some results.

    How far their runs are, and what became of failed trials, is written below the axes and after the caption, wherever
    trials failed or have not ended: no figure of a sweep that is half done goes without that.
    """
    notes = progress(results, failed)
    if notes:
        written = "\n".join(textwrap.wrap(" ".join(notes), int(14 * figure.get_figwidth())))
        with style():
            figure.supxlabel(plain(written), x=0.01, ha="left", fontsize=7.5, color=GREY)
    settle(figure)
    return Drawing(name, title, figure, numbers, " ".join([caption, *notes]))


def settle(figure: Figure) -> None:
    """Lay the figure out, once for all: each rendering would move things by a hair, and its bytes would differ."""
    engine = figure.get_layout_engine()
    if engine is not None:
        with style():
            engine.execute(figure)
        figure.set_layout_engine("none")


def progress(results: Sequence[Results], failed: str | None = None) -> tuple[str, ...]:
    """Say how far each run is that has failed or unfinished trials, in a sentence each.

    Args:
        results: the runs.
        failed: what became of failed trials; by default what `Results.failed_in_words` says.
    """
    notes = {}
    for one in results:
        if one.counts.failed or one.counts.unfinished:
            told = failed or one.failed_in_words()
            notes[one.name] = f"{one.name}: {one.counts.sentence()}{f', {told}' if one.counts.failed else ''}."
    return tuple(notes.values())


def _csv_text(numbers: pd.DataFrame) -> str:
    """Return numbers as CSV; texts that a spreadsheet would run as formulas are marked as texts."""
    texts = {name: numbers[name].map(to_cell) for name in numbers.columns if numbers[name].dtype == object}
    marked = numbers.assign(**texts).rename(columns=to_cell)
    return marked.to_csv(index=False, lineterminator="\n")
