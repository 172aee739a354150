"""The report: one HTML file that needs nothing beside itself, the same bytes for the same inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources

from designspace.analysis.tables import Table

_ID = re.compile(r'(?<=\sid=")|(?<=href="#)|(?<=url\(#)')
_PREAMBLE = re.compile(r"\A.*?(?=<svg\b)", re.DOTALL)
_NOT_SHOWN = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'\s(?:width|height)="[^"]*"')


def render_report(
    *,
    title: str,
    sentences: Sequence[str],
    notes: Sequence[str],
    figure_svg: str,
    caption: str,
    spaces: Table,
    comparisons: Table,
    best: Sequence[Table],
    failures: Table,
    treatment: str,
    provenance: Mapping[str, str],
) -> str:
    """The HTML of a report.

    All text is escaped; ``figure_svg`` must be an SVG that matplotlib wrote. ``treatment`` says what failed trials do:
    "count at chance level" or "are left out".
    """
    import jinja2  # a tenth of a second that numbers alone need not pay
    from markupsafe import Markup

    source = resources.files("designspace.analysis").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(
        title=title,
        sentences=sentences,
        notes=notes,
        figure=Markup(inline_svg(figure_svg, "edf", title)),
        caption=caption,
        spaces=spaces,
        comparisons=comparisons,
        best=best,
        failures=failures,
        treatment=treatment,
        provenance=provenance,
    )


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
