"""The files of a screening: figure, tables, and a report in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.analysis.comparison import comparison_table
from designspace.analysis.figures.drawing import csv_text
from designspace.analysis.screening import Screening
from designspace.analysis.screening_agreement import Agreement
from designspace.analysis.tables import Table
from designspace.spaces.screening import limit_text
from designspace.support.files import write_text


def write_screening(
    out: Path,
    screening: Screening,
    agreed: Agreement | None = None,
    notes: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write ``screening.csv``, ``pairs.csv``, ``report.md``, and the figure ``edf`` if any network fits.

    The same screening gives the same bytes.

    Args:
        out: the folder; it is created if it does not exist.
        screening: what to write.
        agreed: how its order agrees with that of errors; written to ``agreement.csv`` too.
        notes: notes on the trained runs.
        settings: what the screening was made with, by name.

    Returns:
        The files that a reader opens, by kind.

    Raises:
        RunError: a file cannot be written.
    """
    paths = {}
    drawing = screening.drawing() if screening.results else None
    if drawing is not None:
        paths["figure"] = drawing.write(out, ("svg", "png", "csv"))[0]
    write_text(out / "screening.csv", csv_text(screening.numbers()))
    write_text(out / "pairs.csv", csv_text(comparison_table(screening.comparisons)))
    if agreed is not None:
        write_text(out / "agreement.csv", csv_text(agreed.table()))
    caption = "" if drawing is None else drawing.caption
    write_text(out / "report.md", _report(screening, agreed, notes, settings or {}, caption))
    return {**paths, "report": out / "report.md"}


def _report(
    screening: Screening, agreed: Agreement | None, notes: Sequence[str], settings: Mapping[str, Any], caption: str
) -> str:
    """Return the report as Markdown."""
    limits = ", ".join(map(limit_text, screening.limits)) or "none"
    used = "".join(f", {name}={value}" for name, value in settings.items())
    parts = [
        "# Spaces compared without training",
        f"Quantity: {screening.quantity.label}. Limits: {limits}. Settings: level={screening.level:g}{used}.",
        _markdown(screening.table()),
        "Spaces are ordered by the mean of the quantity over their networks that fit. Networks of more multiply-adds "
        "are likelier to have low errors (MCUNet, arXiv 2007.10319, section 3.1); whether that holds for these spaces "
        "only training tells.",
    ]
    if caption:
        parts.append(f"![Networks that fit](edf.svg)\n\n{caption}")
    for title, lines in (
        ("What is shown", screening.sentences()),
        ("Order by errors", () if agreed is None else agreed.sentences()),
        ("Notes", notes),
    ):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    """Return a table as Markdown."""
    rows = [table.header, ("---",) * len(table.header), *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
