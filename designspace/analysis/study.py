"""The whole analysis of several runs in one call: numbers, figure, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from designspace.analysis import origin, overview, tables
from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.edf import EDF
from designspace.analysis.figures import Drawing, edf_caption, edf_numbers
from designspace.analysis.figures.drawing import progress
from designspace.analysis.margins import WithinMargin, within_margins
from designspace.analysis.matched import Matched, match_all
from designspace.analysis.origin import Origin
from designspace.analysis.paired import compare_paired
from designspace.analysis.plotting import plot_edf
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions import by_network, random_subset
from designspace.analysis.report import render_report
from designspace.analysis.results import Results
from designspace.analysis.sensitivity import other_failures
from designspace.analysis.shrunken import noise_sentences
from designspace.analysis.tables import SpaceSummary, Table
from designspace.support.display import Outlined
from designspace.support.errors import InputError, unknown
from designspace.support.files import write_bytes

Figures = Literal["standard", "all"]


@dataclass(frozen=True, repr=False)
class Analysis(Outlined):
    """What `analyze` found and where it wrote it."""

    summaries: tuple[SpaceSummary, ...]
    edfs: Mapping[str, EDF]
    """The spaces with a trial that counts; the others are in `summaries` only."""
    comparisons: tuple[Comparison, ...]
    matched: tuple[Matched, ...]
    """Pairs compared at equal complexity: those whose budgets differ, or all (see ``match``)."""
    sentences: tuple[str, ...]
    """The conclusion of each comparison, or how far a space is that cannot be compared."""
    notes: tuple[str, ...]
    """What to bear in mind: failures, unfinished trials, unequal training."""
    trained: tuple[str, ...]
    """What was trained on what, by whom and when, where that was given."""
    spaces: Table
    """The table that a command prints."""
    failed: Table
    """Failed trials by reason, with examples."""
    report: Path
    figures: tuple[Path, ...]
    """``.svg`` and the ``.csv`` of their numbers; the EDFs first, also as ``.pdf`` and ``.png``."""


def analyze(
    results: Sequence[Results],
    out: Path,
    provenance: Mapping[str, str],
    *,
    origins: Sequence[Origin] = (),
    level: float = 0.05,
    seed: int = 0,
    figures: Figures = "standard",
    match: str | None = "auto",
    margin: float | None = None,
) -> Analysis:
    """Compare runs and write ``report.html`` and its figures (``figures/edf.svg`` and others) below ``out``.

    The same inputs give the same bytes. Runs that are half done, have one trial or only failed ones are fine.

    Args:
        results: one or more runs with different names and one number of classes.
        out: the folder to write to; it is made where it does not exist.
        provenance: what the report says of its origin, in that order.
        origins: what was trained, one for each of ``results`` (see `origin_of`); without them the report says nothing
            of it.
        level: significance level of bands and conclusions.
        seed: of the bootstrap.
        figures: ``standard``, or ``all``: also error against every parameter, and their importance, for each run.
        match: ``flops``, ``params``, ``activations`` or ``train_s``: compare all pairs at equal ones, too; ``auto``:
            those pairs whose budgets differ, by what differs; None: no pair.
        margin: percentage points: also say which spaces are not worse than others by more than that.

    Raises:
        InputError: no runs, two with one name, or runs with different numbers of classes; an unknown choice of figures
            or of ``match``.
        RunError: a file cannot be written.
    """
    if not results:
        raise InputError("no run was given to analyse")
    noise = [sentence for one in results for sentence in noise_sentences(one, level)]
    best = [tables.best_table(one) for one in results]
    populations = Populations.of(random_subset(by_network(one)) for one in results)
    results = populations.members
    if figures not in get_args(Figures):
        raise unknown("choice of figures", figures, get_args(Figures))
    edfs = populations.edfs()
    comparisons = compare_all(results, level, seed=seed)
    matched, refused = match_all(results, comparisons, match)
    margins = () if margin is None else within_margins(results, comparisons, margin)
    sentences = [*_conclusions(results, [*comparisons, *matched, *margins], level), *noise, *_without_trials(results)]
    summaries = tuple(tables.summarize(one) for one in results)
    spaces = tables.space_table(summaries)
    unmet = dict.fromkeys(check.sentence for one in comparisons for check in one.preconditions if check.sentence)
    notes = (*tables.notes(results), *refused, *unmet, *other_failures(results, comparisons, seed=seed))
    trained = origin.sentences(origins)
    failed = tables.failure_table(results)

    picture = _edf_drawing(results, edfs, comparisons, level)
    drawn = overview.figures_of(results, comparisons, every=figures == "all", level=level, seed=seed)
    drawn[:0] = overview.matched_figures(results, matched, level=level)
    html = render_report(
        results,
        title=f"Error distributions of {_listed([one.name for one in results])}",
        sentences=sentences,
        notes=notes,
        trained=trained,
        origins=origins,
        edf=picture,
        figures=drawn,
        spaces=spaces,
        comparisons=tables.comparison_table(comparisons),
        best=best,
        best_values=[tables.best_values_table(one) for one in results if one.name in edfs],
        failed=failed,
        provenance=provenance,
    )
    written = [path for one in (picture, *drawn) for path in one.write(out / "figures", ("svg", "csv"))]
    written += picture.write(out / "figures", ("pdf", "png"))
    report = out / "report.html"
    write_bytes(report, html.encode(errors="backslashreplace"))  # a run's name may not be UTF-8
    return Analysis(
        summaries, edfs, comparisons, matched, tuple(sentences), notes, trained, spaces, failed, report, tuple(written)
    )


def _conclusions(
    results: Sequence[Results], claims: Sequence[Comparison | Matched | WithinMargin], level: float
) -> list[str]:
    """Return the sentences of all claims, and of the networks that two runs trained with different recipes."""
    paired = [compare_paired(a, b, level) for a, b in overview.pairs_of_same_networks(results)]
    return [claim.sentence() for claim in (*claims, *paired)]


def _without_trials(results: Sequence[Results]) -> list[str]:
    """Return a sentence for each run in which no trial counts."""
    return [f"{one.name}: no trial counts yet ({one.counts.sentence()})." for one in results if not one.counted().any()]


def _edf_drawing(
    results: Sequence[Results],
    edfs: Mapping[str, EDF],
    comparisons: Sequence[Comparison],
    level: float,
) -> Drawing:
    """Draw the EDFs of all runs, with their numbers and what they show."""
    return Drawing(
        "edf",
        "Error EDF",
        plot_edf(results, level),
        edf_numbers(edfs, level),
        " ".join([edf_caption(edfs, comparisons, level), *progress(results)]),
    )


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
