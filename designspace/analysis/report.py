"""The report: one self-contained HTML file, with the same bytes for the same inputs.

The page's only script is `templates/report.js`: the page's security policy allows only this script's digest, and all
names and texts of runs reach it as data.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import pandas as pd

from designspace.analysis.figures.rendering import rendered
from designspace.analysis.origin import Origin, origin_table, sentences
from designspace.analysis.report_data import as_json, edf_position, trial_data
from designspace.analysis.results import Failures, Results
from designspace.analysis.tables import Table

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

    from designspace.analysis.figures import Drawing

_ID = re.compile(r'(?<=\sid=")|(?<=href="#)|(?<=url\(#)')
_PREAMBLE = re.compile(r"\A.*?(?=<svg\b)", re.DOTALL)
_NOT_SHOWN = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'\s(?:width|height)="[^"]*"')
TREATMENT: dict[Failures, str] = {
    "by_cause": "Networks that diverged count at chance level; trials that failed for other reasons do not count",
    "chance": "Failed trials count at chance level",
    "exclude": "Failed trials do not count",
}
_WIDE = 7.0
"""Width in inches above which a figure takes the full width of the page."""
_LARGEST_SVG = 400_000
"""Size in bytes above which the page shows an image instead; the file beside the page is always an SVG."""
_SCREEN_DPI = 100
_MOST_NUMBERS = (60, 12)
"""Largest numbers of rows and columns of a table on the page; larger tables are only in the figure's CSV file."""


@dataclass(frozen=True, eq=False)
class ReportContent:
    """The contents of a report."""

    results: Sequence[Results]
    """The runs; the page shows all their trials."""
    sentences: tuple[str, ...]
    """Conclusions."""
    notes: tuple[str, ...]
    """Warnings."""
    edf: Drawing
    """The figure at the top, with a single axes: errors against cumulative probability."""
    spaces: Table
    """A row per run."""
    comparisons: Table
    """A row per pair of runs; left out if it has no rows."""
    best: Sequence[Table]
    """The best networks of each run."""
    failed: Table
    """Failed trials by reason; left out if it has no rows."""
    provenance: Mapping[str, str]
    """Entries of the section on the report's provenance."""
    figures: Sequence[Drawing] = ()
    """Further figures with different names, one section each."""
    best_values: Sequence[Table] = ()
    """The parameters of the best networks of each run."""
    origins: Sequence[Origin] = ()
    """The origin of each run; empty, or one for each of ``results``."""

    @property
    def title(self) -> str:
        """Title of the page."""
        *others, last = [run.name for run in self.results]
        names = f"{', '.join(others)} and {last}" if others else last
        return f"{self.results[0].metric.title} distributions of {names}"

    @property
    def trained(self) -> tuple[str, ...]:
        """What was trained, as sentences."""
        return sentences(self.origins)


def render_report(content: ReportContent) -> str:
    """Return the HTML of a report. All text is escaped; figures must be matplotlib figures."""
    from markupsafe import Markup

    sections = [_section(drawing, content.title) for drawing in (content.edf, *content.figures)]
    data = {**trial_data(content.results), "edf": edf_position(content.edf.figure)}
    script = _text_of("report.js")
    return _template("report.html.j2").render(
        title=content.title,
        sentences=content.sentences,
        notes=content.notes,
        trained=content.trained,
        origin=origin_table(content.origins),
        figures=sections,
        spaces=content.spaces,
        comparisons=content.comparisons,
        best=list(zip(content.best, _loading(content.best, content.origins), strict=True)),
        best_values=content.best_values,
        failed=content.failed,
        metric=content.results[0].metric,
        treatment=TREATMENT[content.results[0].failures],
        provenance=content.provenance,
        data=Markup(as_json(data)),
        style=Markup(_text_of("report.css")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _section(drawing: Drawing, title: str) -> dict[str, Any]:
    """Return the values that the template shows of a figure, on the page with a title."""
    from markupsafe import Markup

    return {
        "name": drawing.name,
        "title": drawing.title,
        "picture": Markup(_picture(drawing, f"{drawing.title}: {title}")),
        "wide": drawing.figure.get_figwidth() > _WIDE,
        "caption": drawing.caption,
        "numbers": _numbers(drawing.numbers) if _is_small(drawing.numbers) else None,
        "rows": len(drawing.numbers),
    }


def _loading(best: Sequence[Table], origins: Sequence[Origin]) -> list[Markup]:
    """Return, for each table of best networks, the lines of Python that load them, escaped for HTML."""
    from markupsafe import Markup

    if not origins:
        return [Markup()] * len(best)
    texts = []
    for table, origin in zip(best, origins, strict=True):
        lines = [f"model = {line}" for row in table.rows if (line := origin.loading(row[0]))]
        text = "\n".join(["import designspace\n", *lines]) if lines else ""
        texts.append(Markup(html.escape(text, quote=False)))  # quotes stay readable and can be copied
    return texts


def _picture(drawing: Drawing, label: str) -> str:
    """Return a figure as an HTML element: an SVG, or an embedded image if the SVG is too large."""
    from markupsafe import escape

    svg = drawing.svg()
    if len(svg) <= _LARGEST_SVG:
        return inline_svg(svg, drawing.name, label)
    data = base64.b64encode(rendered(drawing.figure, "png", _SCREEN_DPI)).decode()
    return f'<img alt="{escape(label)}" src="data:image/png;base64,{data}">'


def inline_svg(svg: str, prefix: str, label: str) -> str:
    """Return the text of an SVG file as an element within HTML.

    Its ids get a prefix, so that those of several figures do not clash. Its size adapts to the page. Comments (which
    repeat the texts) and metadata are removed. Screen readers read ``label``.
    """
    from markupsafe import escape

    body = _NOT_SHOWN.sub("", _PREAMBLE.sub("", svg))
    head, separator, content = body.partition(">")
    head = _SIZE.sub("", head).replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return head + separator + _ID.sub(f"{prefix}-", content)


def _is_small(numbers: pd.DataFrame) -> bool:
    """Return whether a table of numbers is small enough for the page."""
    return all(size <= most for size, most in zip(numbers.shape, _MOST_NUMBERS, strict=True))


def _numbers(numbers: pd.DataFrame) -> Table:
    """Return the numbers of a figure as a table of text."""
    rows = tuple(tuple(_text(value) for value in row) for row in numbers.itertuples(index=False))
    return Table("Numbers", tuple(map(str, numbers.columns)), rows)


def _text(value: object) -> str:
    """Return a number with its significant digits, or any other value, as text."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    return "" if value is None else str(value)


def _template(name: str) -> jinja2.Template:
    """Return one of this package's templates."""
    import jinja2  # imported here because it takes a tenth of a second

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_text_of(name))


def _text_of(name: str) -> str:
    """Return the text of a file in this package's folder of templates."""
    return resources.files("designspace.analysis").joinpath("templates", name).read_text(encoding="utf-8")
