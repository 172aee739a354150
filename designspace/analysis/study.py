"""The complete analysis of several runs in one call: numbers, figures and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from designspace.analysis import tables
from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.edf import EDF
from designspace.analysis.equal_cost import EqualCost, all_at_equal_cost
from designspace.analysis.figures import Drawing, edf_caption, edf_numbers
from designspace.analysis.figures.drawing import progress, settle
from designspace.analysis.margins import WithinMargin, within_margins
from designspace.analysis.matched import Match, Matched, match_all, with_matches
from designspace.analysis.origin import Origin
from designspace.analysis.overview import equal_cost_figure
from designspace.analysis.paired import Paired, compare_paired
from designspace.analysis.plotting import plot_edf
from designspace.analysis.populations import Populations
from designspace.analysis.preconditions import by_network, random_subset
from designspace.analysis.quantities import quantity
from designspace.analysis.report import ReportContent, render_report
from designspace.analysis.report_figures import (
    EDF_FILES,
    FILES,
    drawn,
    figures_of,
    pairs_of_same_networks,
    trend_figures,
)
from designspace.analysis.results import Results
from designspace.analysis.sensitivity import other_failures
from designspace.analysis.settings import setting_sentences
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
    """Comparisons at equal cost: of pairs whose budgets differ, or of all pairs (see ``match``)."""
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
    match: Match = "auto",
    margin: float | None = None,
    trends: str | None = None,
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
        match: quantities, such as ``flops`` or ``latency``, at equal values of which all pairs are compared, too;
            ``auto`` does so for pairs whose budgets differ, by the quantity that differs; None for no pair.
        margin: if given, also report which spaces are not worse than others by more than these percentage points.
        trends: quantity against which the best value of each parameter is drawn, too (see `trend_figures`).

    Raises:
        InputError: there are no runs, two have the same name, their numbers of classes differ, or the choice of
            figures or of ``match`` is unknown.
        RunError: a file cannot be written.
    """
    _check(results, figures, trends)
    within = _sentences_of_runs(results, level)
    best = [tables.best_table(run) for run in results]
    populations = Populations.of(with_matches(random_subset(by_network(run)), match) for run in results)
    results = populations.members
    edfs = populations.edfs()
    compared = _compare(results, level=level, seed=seed, match=match, margin=margin)
    summaries = tuple(tables.summarize(run) for run in results)
    drawings = _drawings(results, edfs, compared, every=figures == "all", level=level, seed=seed, trends=trends)
    content = ReportContent(
        results,
        sentences=(*compared.sentences, *within, *_without_trials(results)),
        notes=(*tables.notes(results), *compared.notes),
        edf=drawings[0],
        figures=drawings[1:],
        spaces=tables.space_table(summaries),
        comparisons=tables.comparison_table(compared.comparisons),
        best=best,
        best_values=[tables.best_values_table(run) for run in results if run.name in edfs],
        failed=tables.failure_table(results),
        origins=origins,
        provenance=provenance,
    )
    return Analysis(
        summaries, edfs, compared.comparisons, compared.matched, content.sentences, content.notes, content.trained,
        content.spaces, content.failed, *_write(content, out),
    )  # fmt: skip


def _sentences_of_runs(results: Sequence[Results], level: float) -> list[str]:
    """Return sentences on the noise of trainings and on drawn settings, which need the single trainings."""
    noise = [sentence for run in results for sentence in noise_sentences(run, level)]
    return noise + [sentence for run in results for sentence in setting_sentences(run, level)]


def _check(results: Sequence[Results], figures: str, trends: str | None) -> None:
    """Raise an InputError if there are no runs, or the choice of figures or the quantity of trends is unknown."""
    if not results:
        raise InputError("no run was given; give at least one run to analyse")
    if figures not in get_args(Figures):
        raise unknown("choice of figures", figures, get_args(Figures))
    if trends is not None:
        quantity(trends, *results)


@dataclass(frozen=True)
class _Compared:
    """The comparisons of all pairs of runs, and what they say."""

    comparisons: tuple[Comparison, ...]
    matched: tuple[Matched, ...]
    equal_costs: tuple[EqualCost, ...]
    """The EDFs of all runs at equal values of each quantity by which any two are matched."""
    sentences: tuple[str, ...]
    """Conclusions."""
    notes: tuple[str, ...]
    """Warnings."""


def _compare(results: Sequence[Results], *, level: float, seed: int, match: Match, margin: float | None) -> _Compared:
    """Compare all pairs of runs; the arguments are those of `analyze`."""
    comparisons = compare_all(results, level, seed=seed)
    matched, refused = match_all(results, comparisons, match)
    equal_costs, left_out = all_at_equal_cost(results, matched)
    margins = () if margin is None else within_margins(results, comparisons, margin)
    # Pairs of runs that trained the same networks differently.
    paired = [compare_paired(a, b, level) for a, b in pairs_of_same_networks(results)]
    claims: list[Comparison | Matched | WithinMargin | Paired] = [*comparisons, *matched, *margins, *paired]
    unmet = dict.fromkeys(check.sentence for pair in comparisons for check in pair.preconditions if check.sentence)
    notes = (*refused, *left_out, *unmet, *other_failures(results, comparisons, seed=seed))
    return _Compared(comparisons, matched, equal_costs, tuple(claim.sentence() for claim in claims), notes)


def _drawings(
    results: Sequence[Results],
    edfs: Mapping[str, EDF],
    compared: _Compared,
    *,
    every: bool,
    level: float,
    seed: int,
    trends: str | None,
) -> list[Drawing]:
    """Draw the EDFs, and then all other figures; the arguments are those of `analyze`."""
    figures = trend_figures(results, trends) if trends else []
    if compared.equal_costs:
        figures.append(partial(equal_cost_figure, results, compared.equal_costs, compared.matched, level=level))
    figures += figures_of(results, compared.comparisons, every=every, level=level, seed=seed)
    return drawn(_edf_drawing(results, edfs, compared.comparisons, level), figures)


def _write(content: ReportContent, out: Path) -> tuple[Path, tuple[Path, ...]]:
    """Write the report and its figures; return the path of the report and those of the figures."""
    html = render_report(content)
    drawings = (content.edf, *content.figures)
    written = [path for drawing in drawings for path in drawing.write(out / "figures", FILES)]
    written += content.edf.write(out / "figures", EDF_FILES)
    report = out / "report.html"
    write_bytes(report, html.encode(errors="backslashreplace"))  # a run's name may not be UTF-8
    return report, tuple(written)


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
    figure = plot_edf(results, level)
    settle(figure)
    return Drawing(
        "edf",
        f"{results[0].metric.title} EDF",
        figure,
        edf_numbers(edfs, level),
        " ".join([edf_caption(edfs, comparisons, level), *progress(results)]),
    )
