"""The report: one HTML file that needs nothing beside itself, the same bytes for the same inputs.

The page's own program is `templates/report.js`. No other may run there: the page's security policy names that
program's digest, and all names and texts of runs reach it as data.
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
from designspace.analysis.report_data import as_json, edf_place, trial_data
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
    "by_cause": "Networks that diverged count at chance level, what the machine ended does not count",
    "chance": "Failed trials count at chance level",
    "exclude": "Failed trials do not count",
}
_WIDE = 7.0
"""Figures of several panels, wider than so many inches, take the whole width of the page."""
_LARGEST_SVG = 400_000
"""Bytes; the file beside the page is an SVG all the same."""
_SCREEN_DPI = 100
_MOST_NUMBERS = (60, 12)
"""Tables of so many rows and columns stand below their figure; larger ones are in its CSV file alone."""


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
    """The HTML of a report.

    All text is escaped; figures must be matplotlib's.

    Args:
        results: the runs, all of whose trials the page shows.
        title: of the page.
        sentences: what it says.
        notes: what to bear in mind.
        trained: what was trained, in sentences.
        origins: the same in full, for each run; where there are any, as many as ``results``.
        edf: the figure at the top, with one axes: errors against cumulative probability.
        figures: more of them, a section each; their names must differ.
        spaces: a row for each run.
        comparisons: a row for each pair of runs; one without rows is left out.
        best: the best networks, a table for each run.
        best_values: what parameters the best networks have, a table for each run.
        failed: failed trials by reason; one without rows is left out.
        provenance: where it comes from.
    """
    import jinja2  # a tenth of a second that numbers alone need not pay
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = [
        {
            "name": one.name,
            "title": one.title,
            "picture": Markup(_picture(one, f"{one.title}: {title}")),
            "wide": one.figure.get_figwidth() > _WIDE,
            "caption": one.caption,
            "numbers": _numbers(one.numbers) if _is_small(one.numbers) else None,
            "rows": len(one.numbers),
        }
        for one in (edf, *figures)
    ]
    data = {**trial_data(results), "edf": edf_place(edf.figure)}  # its layout is known from here on
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
        texts.append(Markup(html.escape(text, quote=False)))  # quotes stay, to be read and copied
    return texts


def _picture(drawing: Drawing, label: str) -> str:
    """A figure as an element: an SVG, or, where thousands of points make that too large, an image within the page."""
    from markupsafe import escape

    svg = drawing.svg()
    if len(svg) <= _LARGEST_SVG:
        return inline_svg(svg, drawing.name, label)
    data = base64.b64encode(rendered(drawing.figure, "png", _SCREEN_DPI)).decode()
    return f'<img alt="{escape(label)}" src="data:image/png;base64,{data}">'


def inline_svg(svg: str, prefix: str, label: str) -> str:
    """An SVG file's text as an element within HTML.

    Its ids get a prefix, so that several of them do not clash; its size becomes that of the page; what is not shown
    (comments, which repeat the texts, and metadata) goes; ``label`` is what a screen reader says.
    """
    from markupsafe import escape

    body = _NOT_SHOWN.sub("", _PREAMBLE.sub("", svg))
    head, separator, rest = body.partition(">")
    head = _SIZE.sub("", head).replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return head + separator + _ID.sub(f"{prefix}-", rest)


def _is_small(numbers: pd.DataFrame) -> bool:
    """Whether a table of numbers may stand on the page."""
    return all(size <= most for size, most in zip(numbers.shape, _MOST_NUMBERS, strict=True))


def _numbers(numbers: pd.DataFrame) -> Table:
    """The numbers of a figure as text."""
    rows = tuple(tuple(_text(value) for value in row) for row in numbers.itertuples(index=False))
    return Table("Numbers", tuple(map(str, numbers.columns)), rows)


def _text(value: object) -> str:
    """One number with the digits that mean something, or one word."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    return "" if value is None else str(value)


def _template(name: str) -> str:
    """The text of one of this room's templates."""
    return resources.files("designspace.analysis").joinpath("templates", name).read_text(encoding="utf-8")
