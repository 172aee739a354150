"""Gather results into results.csv, also those of other runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.support.errors import InputError
from designspace.sweeps.status import run_status
from designspace.trials.folder import RunFolder
from designspace.trials.merge import merge


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/collect.yaml, which says what they mean."""

    run: Path
    others: tuple[Path, ...]


def run(options: Options) -> None:
    """Copy finished trials from other folders, write results.csv, and say what is in it."""
    target = RunFolder(options.run)
    if target.path.resolve() in {other.resolve() for other in options.others}:
        raise InputError(f"{target.path} is among others; give only the other folders there")
    taken = merge(target, [RunFolder(other) for other in options.others], options.provenance())
    if taken:
        rows = [
            (other, t.shared, t.copied, t.already_finished, t.differing)
            for other, t in zip(options.others, taken, strict=True)
        ]
        header = ("from", "networks shared", "taken over", "known before", "of these, with other errors")
        print_table("trials", header, rows)
    path = target.write_results()
    counts = run_status(target).counts
    print(f"{path}: {', '.join(f'{number} {status}' for status, number in counts.items())}")


if __name__ == "__main__":
    app.main("collect", run)
