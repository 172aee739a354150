"""Propose constraints on a space from its results, with evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import yaml

from designspace import launch
from designspace.analysis import Results
from designspace.analysis.refinement import Refinement, Settings, refine
from designspace.analysis.refinement.confirming import confirmation_table
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
from designspace.cli.confirming import fresh_runs, print_confirmations
from designspace.cli.options import OptionalCount, Seed, one_of, whole_number
from designspace.cli.recipes import LauncherOptions, existing_setup
from designspace.cli.tables import print_table
from designspace.support.csv_text import rows_text
from designspace.support.errors import RunError
from designspace.support.files import WriteError, write_text
from designspace.support.text import command, counted
from designspace.sweeps.head_start import importing_torch
from designspace.sweeps.preflight import check_launch
from designspace.trials.folder import RunFolder

FOLDER = "refinement"
"""Folder of the results within the run folder."""
SPACE_FILE = "refined.yaml"
ADOPTED_FILE = "adopted.yaml"
CONFIRMED_FILE = "confirmed.csv"
CONFIRMATION = "confirmation"
"""Folder of the fresh runs within that of the results."""
PROPOSED = "proposed"
"""Value of ``confirm`` for all proposed constraints."""
CANDIDATES_FILE = "candidates.csv"


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/refine.yaml, which describes them."""

    launcher: LauncherOptions
    run: Path
    match: str | None
    accept: tuple[str, ...] | None
    confirm: tuple[str, ...] | None
    n: OptionalCount
    dry_run: bool
    out: Path | None
    level: float
    effect: float
    margin: float
    permutations: Annotated[int, whole_number(100, 100_000)]
    failures: Annotated[Failures, one_of("treatment of failures", get_args(Failures))]
    seed: Seed


def run(options: Options) -> None:
    """Print the findings, write them with a figure and the refined space, and confirm constraints if asked to."""
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
        if options.confirm is not None:
            names = refinement.proposals if options.confirm == (PROPOSED,) else options.confirm
            confirm_names(refinement, names, folder, out, options)
        elif refinement.proposals:
            print(f"confirm it with fresh networks: {command('refine', run=folder.path, confirm=PROPOSED)}")
    except WriteError as error:
        raise RunError(f"{error}; choose another folder with out=...") from error


def confirm_names(refinement: Refinement, names: Sequence[str], folder: RunFolder, out: Path, options: Options) -> None:
    """Train fresh networks of the parent and of the space with each constraint, and say what they confirm."""
    fresh = fresh_runs(refinement, names, out / CONFIRMATION, options.n, folder)
    setup = existing_setup(folder)
    print(f"\nconfirmation: {fresh.describe()}; in {out / CONFIRMATION}")
    if options.dry_run:
        print(f"{counted(fresh.trainings, 'training')}; nothing was started")
        return
    fresh.create(options.provenance())
    launcher = options.launcher.make(options, setup.root)
    with importing_torch(options.launcher.is_local):
        for note in check_launch(fresh.plans(), launcher).notes:
            print(note)
        launch.train(fresh.plans(), launcher, wait=True)
    confirmations = fresh.confirmations()
    print_confirmations(confirmations)
    print("\n".join(["", *(f"- {each.sentence()}" for each in confirmations)]))
    table = confirmation_table(confirmations)
    write_text(out / CONFIRMED_FILE, rows_text([table.header, *table.rows]))
    print(f"\ntable: {out / CONFIRMED_FILE}")
    adopted = [each for each in confirmations if each.is_adopted]
    heading = "".join(f"# {each.sentence()}\n" for each in adopted)
    show_space(refinement, "adopted", [each.question.name for each in adopted], out / ADOPTED_FILE, heading)


def show_files(refinement: Refinement, accept: tuple[str, ...] | None, out: Path) -> None:
    """Write all files, and print the paths and the command to type next."""
    figure = draw_findings(refinement).write(out)[0]
    write_text(out / CANDIDATES_FILE, findings_numbers(refinement).to_csv(index=False, lineterminator="\n"))
    print(f"\nfigure: {figure}\ncandidates: {out / CANDIDATES_FILE}")
    accepted = refinement.accepted(accept)
    names = [candidate.name for candidate in accepted]
    show_space(refinement, "refined", names, out / SPACE_FILE, header(refinement, accepted))


def show_space(refinement: Refinement, kind: str, names: Sequence[str], path: Path, heading: str) -> None:
    """Write the space with some constraints, and print its path and the command to type next.

    Args:
        refinement: the refinement.
        kind: ``refined`` or ``adopted``.
        names: names of the constraints.
        path: file of the space; if there are no constraints, one of an earlier call is deleted.
        heading: comment at the top of the file.
    """
    child = refinement.child(names)
    if child is None:
        path.unlink(missing_ok=True)
        why = "nothing is proposed; accept=[...] takes candidates by name"
        print(f"no {kind} space is written, because {why if kind == 'refined' else 'no constraint is confirmed'}")
        return
    write_text(path, heading + yaml.safe_dump(child.to_dict(), sort_keys=False))
    print(f"{kind} space, with {', '.join(names)}: {path}")
    print(f"sample it: {command('sample', file=path)}")


if __name__ == "__main__":
    app.main("refine", run)
