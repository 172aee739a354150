"""The complete analysis of several runs in one call: numbers, figures and report."""

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
    """The numbers, conclusions and files that `analyze` produces."""

    summaries: tuple[SpaceSummary, ...]
    edfs: Mapping[str, EDF]
    """EDFs of the spaces with a trial that counts; the others are in `summaries` only."""
    comparisons: tuple[Comparison, ...]
    matched: tuple[Matched, ...]
    """Comparisons at equal complexity: of pairs whose budgets differ, or of all pairs (see ``match``)."""
    sentences: tuple[str, ...]
    """The conclusion of each comparison, or the progress of a space that cannot be compared yet."""
    notes: tuple[str, ...]
    """Warnings: failures, unfinished trials, different training."""
    trained: tuple[str, ...]
    """Sentences on what was trained, on which data, by whom and when, if origins were given."""
    spaces: Table
    """The table that the command prints."""
    failed: Table
    """Failed trials by reason, with examples."""
    report: Path
    figures: tuple[Path, ...]
    """``.svg`` files and the ``.csv`` files of their numbers; the EDFs also as ``.pdf`` and ``.png``."""


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

    The same inputs give the same bytes. Runs may be unfinished, or have a single trial or only failed ones.

    Args:
        results: one or more runs with different names and the same number of classes.
        out: the folder to write to; it is created if it does not exist.
        provenance: entries of the report's section on its provenance, in that order.
        origins: what was trained, one for each of ``results`` (see `origin_of`); without them the report omits it.
        level: significance level of bands and conclusions.
        seed: seed of the bootstrap.
        figures: ``standard``, or ``all`` for error against every parameter and their importance for each run, too.
        match: ``flops``, ``params``, ``activations`` or ``train_s`` compares all pairs at equal values of it, too;
            ``auto`` does so for pairs whose budgets differ, by the quantity that differs; None for no pair.
        margin: if given, also report which spaces are not worse than others by more than these percentage points.

    Raises:
        InputError: there are no runs, two have the same name, their numbers of classes differ, or the choice of
            figures or of ``match`` is unknown.
        RunError: a file cannot be written.
    """
    if not results:
        raise InputError("no run was given; give at least one run to analyse")
    noise = [sentence for run in results for sentence in noise_sentences(run, level)]
    best = [tables.best_table(run) for run in results]
    populations = Populations.of(random_subset(by_network(run)) for run in results)
    results = populations.members
    if figures not in get_args(Figures):
        raise unknown("choice of figures", figures, get_args(Figures))
    edfs = populations.edfs()
    comparisons = compare_all(results, level, seed=seed)
    matched, refused = match_all(results, comparisons, match)
    margins = () if margin is None else within_margins(results, comparisons, margin)
    sentences = [*_conclusions(results, [*comparisons, *matched, *margins], level), *noise, *_without_trials(results)]
    summaries = tuple(tables.summarize(run) for run in results)
    spaces = tables.space_table(summaries)
    unmet = dict.fromkeys(check.sentence for pair in comparisons for check in pair.preconditions if check.sentence)
    notes = (*tables.notes(results), *refused, *unmet, *other_failures(results, comparisons, seed=seed))
    trained = origin.sentences(origins)
    failed = tables.failure_table(results)

    edf_drawing = _edf_drawing(results, edfs, comparisons, level)
    drawings = overview.figures_of(results, comparisons, every=figures == "all", level=level, seed=seed)
    drawings[:0] = overview.matched_figures(results, matched, level=level)
    html = render_report(
        results,
        title=f"Error distributions of {_listed([run.name for run in results])}",
        sentences=sentences,
        notes=notes,
        trained=trained,
        origins=origins,
        edf=edf_drawing,
        figures=drawings,
        spaces=spaces,
        comparisons=tables.comparison_table(comparisons),
        best=best,
        best_values=[tables.best_values_table(run) for run in results if run.name in edfs],
        failed=failed,
        provenance=provenance,
    )
    written = [path for drawing in (edf_drawing, *drawings) for path in drawing.write(out / "figures", ("svg", "csv"))]
    written += edf_drawing.write(out / "figures", ("pdf", "png"))
    report = out / "report.html"
    write_bytes(report, html.encode(errors="backslashreplace"))  # a run's name may not be UTF-8
    return Analysis(
        summaries, edfs, comparisons, matched, tuple(sentences), notes, trained, spaces, failed, report, tuple(written)
    )


def _conclusions(
    results: Sequence[Results], claims: Sequence[Comparison | Matched | WithinMargin], level: float
) -> list[str]:
    """Return the sentences of all claims and of the pairs of runs that trained the same networks differently."""
    paired = [compare_paired(a, b, level) for a, b in overview.pairs_of_same_networks(results)]
    return [claim.sentence() for claim in (*claims, *paired)]


def _without_trials(results: Sequence[Results]) -> list[str]:
    """Return a sentence for each run in which no trial counts."""
    return [f"{run.name}: no trial counts yet ({run.counts.sentence()})." for run in results if not run.counted().any()]


def _edf_drawing(
    results: Sequence[Results],
    edfs: Mapping[str, EDF],
    comparisons: Sequence[Comparison],
    level: float,
) -> Drawing:
    """Draw the EDFs of all runs, with their numbers and caption."""
    return Drawing(
        "edf",
        "Error EDF",
        plot_edf(results, level),
        edf_numbers(edfs, level),
        " ".join([edf_caption(edfs, comparisons, level), *progress(results)]),
    )


def _listed(names: Sequence[str]) -> str:
    """Return names as part of a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
