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
from importlib import resources
from typing import TYPE_CHECKING

import pandas as pd

from designspace.analysis.figures.rendering import rendered
from designspace.analysis.origin import Origin, origin_table
from designspace.analysis.report_data import as_json, edf_position, trial_data
from designspace.analysis.results import Failures, Results
from designspace.analysis.tables import Table

if TYPE_CHECKING:
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


def render_report(
    results: Sequence[Results],
    *,
    title: str,
    sentences: Sequence[str],
    notes: Sequence[str],
    trained: Sequence[str] = (),
    origins: Sequence[Origin] = (),
    edf: Drawing,
    figures: Sequence[Drawing] = (),
    spaces: Table,
    comparisons: Table,
    best: Sequence[Table],
    best_values: Sequence[Table] = (),
    failed: Table,
    provenance: Mapping[str, str],
) -> str:
    """Return the HTML of a report.

    All text is escaped; figures must be matplotlib figures.

    Args:
        results: the runs; the page shows all their trials.
        title: title of the page.
        sentences: conclusions.
        notes: warnings.
        trained: what was trained, as sentences.
        origins: the origin of each run; empty, or one for each of ``results``.
        edf: the figure at the top, with a single axes: errors against cumulative probability.
        figures: further figures with different names, one section each.
        spaces: table with a row per run.
        comparisons: table with a row per pair of runs; left out if it has no rows.
        best: tables of the best networks, one per run.
        best_values: tables of the best networks' parameters, one per run.
        failed: table of failed trials by reason; left out if it has no rows.
        provenance: entries of the section on the report's provenance.
    """
    import jinja2  # imported here because it takes a tenth of a second
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = [
        {
            "name": drawing.name,
            "title": drawing.title,
            "picture": Markup(_picture(drawing, f"{drawing.title}: {title}")),
            "wide": drawing.figure.get_figwidth() > _WIDE,
            "caption": drawing.caption,
            "numbers": _numbers(drawing.numbers) if _is_small(drawing.numbers) else None,
            "rows": len(drawing.numbers),
        }
        for drawing in (edf, *figures)
    ]
    data = {**trial_data(results), "edf": edf_position(edf.figure)}  # the layout is known once the figure is rendered
    script = _template("report.js")
    return environment.from_string(_template("report.html.j2")).render(
        title=title,
        sentences=sentences,
        notes=notes,
        trained=trained,
        origin=origin_table(origins),
        figures=sections,
        spaces=spaces,
        comparisons=comparisons,
        best=list(zip(best, _loading(best, origins), strict=True)),
        best_values=best_values,
        failed=failed,
        treatment=TREATMENT[results[0].failures],
        provenance=provenance,
        data=Markup(as_json(data)),
        style=Markup(_template("report.css")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


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


def _template(name: str) -> str:
    """Return the text of one of this package's templates."""
    return resources.files("designspace.analysis").joinpath("templates", name).read_text(encoding="utf-8")
