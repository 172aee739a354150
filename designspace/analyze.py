"""Compare runs by the EDFs of their errors: figures and report.html."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from designspace.analysis import Results
from designspace.analysis import analyze as analyze_results
from designspace.analysis.edf import check_level
from designspace.analysis.matched import Match
from designspace.analysis.origin import origin_of
from designspace.analysis.reading import labels
from designspace.analysis.results import Failures
from designspace.analysis.study import Figures
from designspace.analysis.tables import Table
from designspace.cli import app
from designspace.cli.options import Seed, one_of
from designspace.cli.tables import print_table
from designspace.spaces.population import POPULATION_FILE
from designspace.support.errors import InputError, RunError
from designspace.support.files import WriteError
from designspace.trials.folder import RunFolder
from designspace.trials.metric import Metric
from designspace.trials.open import find_runs

log = logging.getLogger("designspace.analyze")


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/analyze.yaml, which describes them."""

    runs: tuple[Path, ...]
    out: Path | None
    failures: Annotated[Failures, one_of("treatment of failures", get_args(Failures))]
    level: float
    figures: Annotated[Figures, one_of("choice of figures", get_args(Figures))]
    seed: Seed
    match: tuple[str, ...] | None
    trends: str | None
    margin: float | None


def run(options: Options) -> None:
    """Collect the results of the runs, compare them, and print the conclusions and the paths of the files."""
    paths = options.runs
    if not paths:
        raise InputError("runs is empty; give run folders, such as runs=[runs/AnyNetXA,runs/AnyNetXB]")
    check_level(options.level)
    runs = runs_at(paths)
    folders = [run.path if isinstance(run, RunFolder) else run.parent for run in runs]
    if any(path not in folders and path.is_dir() for path in paths):  # a folder of runs: the report belongs there
        folders = [path.parent if path.is_file() else path for path in paths if path.exists()]
    common = Path(os.path.commonpath([path.resolve() for path in folders]))
    show(
        runs,
        options.out or _relative(common),
        failures=options.failures,
        level=options.level,
        seed=options.seed,
        figures=options.figures,
        match=options.match,
        margin=options.margin,
        trends=options.trends,
    )


def runs_at(paths: Sequence[Path]) -> list[RunFolder | Path]:
    """Return the runs at some paths: run folders, files, folders of runs, or patterns such as ``runs/*``.

    Raises:
        InputError: there is no run at a path.
    """
    runs: dict[Path, RunFolder | Path] = {}
    for path in paths:
        is_pattern = not path.exists() and any(character in str(path) for character in "*?[")
        matches = sorted(Path().glob(str(path))) if is_pattern and not path.is_absolute() else [path]
        if is_pattern and path.is_absolute():
            matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not matches:
            raise InputError(f"no run folder or file matches {path}")
        for match in matches:
            for run in _runs_at(match, is_pattern=is_pattern):
                location = (run.path if isinstance(run, RunFolder) else run).resolve()
                runs.setdefault(location, run)
    if not runs:
        raise InputError(f"no run folder in {', '.join(map(str, paths))}; create one with python -m designspace.sample")
    return list(runs.values())


def _runs_at(path: Path, *, is_pattern: bool) -> Sequence[RunFolder | Path]:
    """Return the runs at a path; none if a pattern matches a report or figures, which are beside the runs."""
    if path.is_file():
        return [path] if not is_pattern or path.suffix == ".json" else []
    run = RunFolder(path)
    if run.exists() or run.results.is_file() or not path.is_dir():  # a published run may consist of its table only
        return [run]
    if is_pattern and not any(path.rglob(POPULATION_FILE)):
        return []
    runs = [run for run in find_runs(path) if isinstance(run, RunFolder)]
    if not runs:
        raise InputError(
            f"{path} contains only trainings of single networks; analyze compares runs made by designspace.sample"
        )
    return runs


def show(
    runs: Sequence[RunFolder | Path],
    out: Path,
    *,
    failures: Failures = "by_cause",
    level: float = 0.05,
    seed: int = 0,
    figures: Figures = "standard",
    match: Match = "auto",
    margin: float | None = None,
    trends: str | None = None,
) -> None:
    """Analyse runs, write the report to a folder, and print tables, conclusions, notes and paths.

    A run may also be a file of pycls or of the NDS data.
    """
    folders = [run for run in runs if isinstance(run, RunFolder)]
    results = _with_distinct_names([_read(run).with_failures(failures) for run in runs], runs)
    origins = [origin_of(run, result) for run, result in zip(runs, results, strict=True)]
    try:
        analysis = analyze_results(
            results,
            out,
            provenance_of(folders),
            origins=origins,
            level=level,
            seed=seed,
            figures=figures,
            match=match,
            margin=margin,
            trends=trends,
        )
    except WriteError as error:
        raise RunError(f"{error}; choose another folder for the report with out=...") from error
    show_spaces(analysis.spaces, results[0].metric)
    if analysis.failed.rows:
        print()
        rows = [row[:3] for row in analysis.failed.rows]
        print_table(analysis.failed.title, analysis.failed.header[:3], rows, texts=(0, 1))
    for title, lines in (
        ("what was trained", analysis.trained),
        ("conclusions", analysis.sentences),
        ("notes", analysis.notes),
    ):
        if lines:
            print("\n".join([f"\n{title}", *(f"- {line}" for line in lines)]))
    for result, origin in zip(results, origins, strict=True):
        if len(result.best(1)) and (line := origin.loading(str(result.best(1)["id"].iloc[0]))):
            print(f"\nthe best network of {result.name}, in Python: {line}")
    print(f"\nfigure: {analysis.figures[0]}\nreport: {analysis.report}")


def _read(run: RunFolder | Path) -> Results:
    """Read the results of a run; if it has trials, also collect them into its results.csv."""
    if not isinstance(run, RunFolder) or not run.started_keys():
        return Results.read(run)
    gathered = run.gather()
    try:
        run.write_results(gathered)
    except WriteError as error:  # the run of another user, or one on a read-only disk
        log.warning("%s; %s is analysed without writing its results.csv", error, run.name)
    return Results.read(gathered)


def show_spaces(spaces: Table, metric: Metric) -> None:
    """Print the table of the runs in two parts that fit a terminal: trials and errors, then costs."""
    names = {f"{kind} {metric.heading}": kind for kind in ("min", "max", "mean", "median")}
    names |= {name: name.removeprefix("median ") for name in spaces.header[8:]}
    first_title = f"trials, and {metric.kind} {metric.heading}" if metric.kind else f"trials, and {metric.heading}"
    for title, first in ((first_title, 1), ("medians of the networks, and total training time", 8)):
        columns = [0, *range(first, 8 if first == 1 else len(spaces.header))]
        header = [names.get(spaces.header[i], spaces.header[i]) for i in columns]
        print_table(title, header, [[row[i] for i in columns] for row in spaces.rows])


def _with_distinct_names(results: Sequence[Results], runs: Sequence[RunFolder | Path]) -> list[Results]:
    """Return results with distinct names; runs with equal names get as much of their paths as necessary."""
    if len({result.name for result in results}) == len(results):
        return list(results)
    paths = [run.path if isinstance(run, RunFolder) else run for run in runs]
    return [dataclasses.replace(result, name=name) for result, name in zip(results, labels(paths), strict=True)]


def provenance_of(folders: Sequence[RunFolder]) -> dict[str, str]:
    """Return the provenance of each run, as in its provenance.json."""
    return {f"{folder.name}: {key}": str(value) for folder in folders for key, value in folder.provenance().items()}


def _relative(path: Path) -> Path:
    """Return a path relative to the working directory if it is inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    app.main("analyze", run)
