"""Gather results into results.csv, also those of other runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace.cli import app
from designspace.cli.provenance import provenance
from designspace.cli.tables import print_table
from designspace.support.errors import InputError
from designspace.sweeps.status import run_status
from designspace.trials.folder import RunFolder
from designspace.trials.merge import merge


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Copy finished trials from other folders, write results.csv, and say what is in it."""
    target = RunFolder(Path(config["run"]))
    others = config["others"] if isinstance(config["others"], list) else [config["others"]]
    if str(target.path.resolve()) in {str(Path(other).resolve()) for other in others}:
        raise InputError(f"{target.path} is among others; give only the other folders there")
    taken = merge(target, [RunFolder(Path(other)) for other in others], provenance("collect", typed))
    if taken:
        rows = [(other, t.shared, t.taken, t.known, t.unequal) for other, t in zip(others, taken, strict=True)]
        header = ("from", "networks shared", "taken over", "known before", "of these, with other errors")
        print_table("trials", header, rows)
    path = target.write_results()
    counts = run_status(target).counts
    print(f"{path}: {', '.join(f'{number} {status}' for status, number in counts.items())}")


if __name__ == "__main__":
    app.main("collect", run)
