"""Propose constraints on a space from its results, with evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import yaml

from designspace.analysis import Results
from designspace.analysis.refinement import Refinement, Settings, refine
from designspace.analysis.refinement.findings import (
    draw_findings,
    findings_numbers,
    findings_table,
    header,
    sentences,
)
from designspace.analysis.results import Failures
from designspace.analysis.tables import notes
from designspace.cli import app
from designspace.cli.options import Seed, one_of, whole_number
from designspace.cli.tables import print_table
from designspace.support.errors import RunError
from designspace.support.files import WriteError, write_text
from designspace.support.text import command
from designspace.trials.folder import RunFolder

FOLDER = "refinement"
"""Folder of the results within the run folder."""
SPACE_FILE = "refined.yaml"
CANDIDATES_FILE = "candidates.csv"


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/refine.yaml, which describes them."""

    run: Path
    match: str | None
    accept: tuple[str, ...] | None
    out: Path | None
    level: float
    effect: float
    margin: float
    permutations: Annotated[int, whole_number(100, 100_000)]
    failures: Annotated[Failures, one_of("treatment of failures", get_args(Failures))]
    seed: Seed


def run(options: Options) -> None:
    """Print the findings, and write them with a figure and the refined space."""
    settings = Settings(options.level, options.effect, options.margin, options.permutations, options.seed)
    folder = RunFolder(options.run)
    space = folder.space()
    results = Results.read(folder).with_failures(options.failures)
    refinement = refine(results, space, options.match, settings)
    refinement.child(options.accept)  # an unknown name is an error before anything is written
    out = options.out or folder.path / FOLDER
    table = findings_table(refinement)
    print_table(table.title, table.header, table.rows, texts=(0, 1, 6))
    for title, lines in (
        ("findings", sentences(refinement)),
        ("notes", (*refinement.population.notes, *notes([refinement.population.results]))),
    ):
        if lines:
            print("\n".join([f"\n{title}", *(f"- {line}" for line in dict.fromkeys(lines))]))
    try:
        show_files(refinement, options.accept, out)
    except WriteError as error:
        raise RunError(f"{error}; choose another folder with out=...") from error


def show_files(refinement: Refinement, accept: tuple[str, ...] | None, out: Path) -> None:
    """Write all files, and print the paths and the command to type next."""
    figure = draw_findings(refinement).write(out)[0]
    write_text(out / CANDIDATES_FILE, findings_numbers(refinement).to_csv(index=False, lineterminator="\n"))
    print(f"\nfigure: {figure}\ncandidates: {out / CANDIDATES_FILE}")
    path, child = out / SPACE_FILE, refinement.child(accept)
    if child is None:
        path.unlink(missing_ok=True)  # of an earlier call, with other results or names
        print("no refined space is written, because nothing is proposed; accept=[...] takes candidates by name")
        return
    accepted = refinement.accepted(accept)
    write_text(path, header(refinement, accepted) + yaml.safe_dump(child.to_dict(), sort_keys=False))
    print(f"refined space, with {', '.join(candidate.name for candidate in accepted)}: {path}")
    print(f"sample it: {command('sample', file=path)}")


if __name__ == "__main__":
    app.main("refine", run)
