"""Compare runs by the EDFs of their errors: figures and report.html."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from designspace.analysis import Results
from designspace.analysis import analyze as analyze_results
from designspace.analysis.edf import check_level
from designspace.analysis.origin import origin_of
from designspace.analysis.results import Failures
from designspace.analysis.study import Figures
from designspace.analysis.tables import Table
from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.support.errors import InputError, unknown
from designspace.trials.folder import RunFolder


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Gather the results of the runs, compare them, and say what was found and where it lies."""
    paths = config["runs"] if isinstance(config["runs"], list) else [config["runs"]]
    if not paths:
        raise InputError("runs is empty; give run folders, as runs=[runs/AnyNetXA,runs/AnyNetXB]")
    given = [Path(str(path)) for path in paths]
    failures, level, seed, figures = _checked(config)
    runs = [path if path.is_file() else RunFolder(path) for path in given]
    common = Path(os.path.commonpath([(path.parent if path.is_file() else path).resolve() for path in given]))
    out = Path(str(config["out"])) if config["out"] is not None else _short(common)
    show(runs, out, failures=failures, level=level, seed=seed, figures=figures)


def show(
    runs: Sequence[RunFolder | Path],
    out: Path,
    *,
    failures: Failures = "chance",
    level: float = 0.05,
    seed: int = 0,
    figures: Figures = "standard",
) -> None:
    """Gather and analyse runs into a folder, and print tables, conclusions, what to bear in mind, and the paths.

    A run may also be a file of pycls's or of the NDS data.
    """
    folders = [one for one in runs if isinstance(one, RunFolder)]
    for folder in folders:
        if folder.begun():
            folder.write_results()
    results = [Results.read(one) for one in runs]
    origins = [origin_of(run, one) for run, one in zip(runs, results, strict=True)]
    found = analyze_results(
        results,
        out,
        provenance_of(folders),
        origins=origins,
        level=level,
        failures=failures,
        seed=seed,
        figures=figures,
    )
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


def show_spaces(spaces: Table) -> None:
    """Print the table of the runs as two that fit a terminal: trials and errors, then what the networks cost."""
    names = {"min error, %": "min", "mean error, %": "mean", "median error, %": "median"}
    names |= {"median flops": "flops", "median params": "params", "median activations": "activations"}
    for title, first in (("trials, and error, top-1, %", 1), ("medians of the networks, and training in all", 8)):
        columns = [0, *range(first, 8 if first == 1 else len(spaces.header))]
        header = [names.get(spaces.header[i], spaces.header[i]) for i in columns]
        print_table(title, header, [[row[i] for i in columns] for row in spaces.rows])


def _checked(config: app.Config) -> tuple[Failures, float, int, Figures]:
    """How failures count, the level, the seed and the choice of figures that were typed."""
    failures, level, seed, figures = (config[key] for key in ("failures", "level", "seed", "figures"))
    if failures not in get_args(Failures):
        raise unknown("treatment of failures", failures, get_args(Failures))
    if isinstance(level, bool) or not isinstance(level, int | float):
        raise InputError(f"level must be a number between 0 and 1, as 0.05 for 5%, not {level!r}")
    check_level(level)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number >= 0, not {seed!r}")
    if figures not in get_args(Figures):
        raise unknown("choice of figures", figures, get_args(Figures))
    return failures, float(level), seed, figures


def provenance_of(folders: Sequence[RunFolder]) -> dict[str, str]:
    """Where each run comes from, in the words of its own provenance.json."""
    return {f"{folder.name}: {key}": str(value) for folder in folders for key, value in folder.provenance().items()}


def _short(path: Path) -> Path:
    """A path relative to the working folder where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    app.main("analyze", run)
