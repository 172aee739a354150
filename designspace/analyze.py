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
from designspace.trials.open import find_runs

log = logging.getLogger("designspace.analyze")


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/analyze.yaml, which says what they mean."""

    runs: tuple[Path, ...]
    out: Path | None
    failures: Annotated[Failures, one_of("treatment of failures", get_args(Failures))]
    level: float
    figures: Annotated[Figures, one_of("choice of figures", get_args(Figures))]
    seed: Seed
    match: str | None
    margin: float | None


def run(options: Options) -> None:
    """Gather the results of the runs, compare them, and say what was found and where it lies."""
    given = options.runs
    if not given:
        raise InputError("runs is empty; give run folders, as runs=[runs/AnyNetXA,runs/AnyNetXB]")
    check_level(options.level)
    runs = runs_at(given)
    folders = [run.path if isinstance(run, RunFolder) else run.parent for run in runs]
    if any(path not in folders and path.is_dir() for path in given):  # folders of runs: the report is for all of them
        folders = [path.parent if path.is_file() else path for path in given if path.exists()]
    common = Path(os.path.commonpath([path.resolve() for path in folders]))
    show(
        runs,
        options.out or _short(common),
        failures=options.failures,
        level=options.level,
        seed=options.seed,
        figures=options.figures,
        match=options.match,
        margin=options.margin,
    )


def runs_at(given: Sequence[Path]) -> list[RunFolder | Path]:
    """Return the runs at some paths: run folders, files, and folders of runs, also by a pattern as ``runs/*``.

    Raises:
        InputError: there is no run at a path.
    """
    runs: dict[Path, RunFolder | Path] = {}
    for path in given:
        is_pattern = not path.exists() and any(sign in str(path) for sign in "*?[")
        matches = sorted(Path().glob(str(path))) if is_pattern and not path.is_absolute() else [path]
        if is_pattern and path.is_absolute():
            matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not matches:
            raise InputError(f"no run folder or file matches {path}")
        for match in matches:
            for run in _runs_at(match, is_pattern=is_pattern):
                place = (run.path if isinstance(run, RunFolder) else run).resolve()
                runs.setdefault(place, run)
    if not runs:
        raise InputError(
            f"no run folder is in {', '.join(map(str, given))}; make one with python -m designspace.sample"
        )
    return list(runs.values())


def _runs_at(path: Path, *, is_pattern: bool) -> Sequence[RunFolder | Path]:
    """The runs at a path; none where a pattern matches a report or figures, which lie beside runs."""
    if path.is_file():
        return [path] if not is_pattern or path.suffix == ".json" else []
    run = RunFolder(path)
    if run.exists() or run.results.is_file() or not path.is_dir():  # a published run may have its table alone
        return [run]
    if is_pattern and not any(path.rglob(POPULATION_FILE)):
        return []
    runs = [run for run in find_runs(path) if isinstance(run, RunFolder)]
    if not runs:
        raise InputError(f"{path} holds trainings of single networks only; analyze compares runs of designspace.sample")
    return runs


def show(
    runs: Sequence[RunFolder | Path],
    out: Path,
    *,
    failures: Failures = "by_cause",
    level: float = 0.05,
    seed: int = 0,
    figures: Figures = "standard",
    match: str | None = "auto",
    margin: float | None = None,
) -> None:
    """Gather and analyse runs into a folder, and print tables, conclusions, what to bear in mind, and the paths.

    A run may also be a file of pycls's or of the NDS data.
    """
    folders = [one for one in runs if isinstance(one, RunFolder)]
    results = _named_apart([_read(one).with_failures(failures) for one in runs], runs)
    origins = [origin_of(run, one) for run, one in zip(runs, results, strict=True)]
    try:
        found = analyze_results(
            results,
            out,
            provenance_of(folders),
            origins=origins,
            level=level,
            seed=seed,
            figures=figures,
            match=match,
            margin=margin,
        )
    except WriteError as error:
        raise RunError(f"{error}; choose a folder for the report with out=...") from error
    show_spaces(found.spaces)
    if found.failed.rows:
        print()
        rows = [row[:3] for row in found.failed.rows]
        print_table(found.failed.title, found.failed.header[:3], rows, texts=(0, 1))
    for title, lines in (
        ("what was trained", found.trained),
        ("what it says", found.sentences),
        ("what to bear in mind", found.notes),
    ):
        if lines:
            print("\n".join([f"\n{title}", *(f"- {line}" for line in lines)]))
    for one, origin in zip(results, origins, strict=True):
        if len(one.best(1)) and (line := origin.loading(str(one.best(1)["id"].iloc[0]))):
            print(f"\nthe best network of {one.name}, in Python: {line}")
    print(f"\nfigure: {found.figures[0]}\nreport: {found.report}")


def _read(run: RunFolder | Path) -> Results:
    """Read a run; where it has trials, gather them into its results.csv on the way."""
    if not isinstance(run, RunFolder) or not run.started_keys():
        return Results.read(run)
    gathered = run.gather()
    try:
        run.write_results(gathered)
    except WriteError as error:  # somebody else's run, or one on a disk that is mounted for reading
        log.warning("%s; %s is analysed as its trials say", error, run.name)
    return Results.read(gathered)


def show_spaces(spaces: Table) -> None:
    """Print the table of the runs as two that fit a terminal: trials and errors, then what the networks cost."""
    names = {"min error, %": "min", "mean error, %": "mean", "median error, %": "median"}
    names |= {"median flops": "flops", "median params": "params", "median activations": "activations"}
    for title, first in (("trials, and error, top-1, %", 1), ("medians of the networks, and training in all", 8)):
        columns = [0, *range(first, 8 if first == 1 else len(spaces.header))]
        header = [names.get(spaces.header[i], spaces.header[i]) for i in columns]
        print_table(title, header, [[row[i] for i in columns] for row in spaces.rows])


def _named_apart(results: Sequence[Results], runs: Sequence[RunFolder | Path]) -> list[Results]:
    """Results of runs with equal names, named with as much of their paths as tells them apart."""
    if len({result.name for result in results}) == len(results):
        return list(results)
    paths = [run.path if isinstance(run, RunFolder) else run for run in runs]
    return [dataclasses.replace(result, name=name) for result, name in zip(results, labels(paths), strict=True)]


def provenance_of(folders: Sequence[RunFolder]) -> dict[str, str]:
    """Where each run comes from, in the words of its own provenance.json."""
    return {f"{folder.name}: {key}": str(value) for folder in folders for key, value in folder.provenance().items()}


def _short(path: Path) -> Path:
    """A path relative to the working folder where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    app.main("analyze", run)
