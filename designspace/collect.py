"""Collect the results of a run, or of several, into results.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.cli.tables import print_table
from designspace.support.errors import InputError
from designspace.sweeps.status import count_statuses
from designspace.trials.folder import RunFolder
from designspace.trials.merge import merge


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/collect.yaml, which describes them."""

    run: Path
    others: tuple[Path, ...]


def run(options: Options) -> None:
    """Copy finished trials from other run folders, write results.csv, and print a summary."""
    target = RunFolder(options.run)
    if target.path.resolve() in {other.resolve() for other in options.others}:
        raise InputError(f"{target.path} is also in others=...; give only other folders there")
    merged = merge(target, [RunFolder(other) for other in options.others], options.provenance())
    if merged:
        rows = [
            (other, t.shared, t.copied, t.already_finished, t.differing)
            for other, t in zip(options.others, merged, strict=True)
        ]
        header = ("from", "shared networks", "copied", "already here", "of these, with other errors")
        print_table("trials", header, rows)
    gathered = target.gather()
    path = target.write_results(gathered)
    counts = count_statuses(gathered.statuses)
    print(f"{path}: {', '.join(f'{number} {status}' for status, number in counts.items())}")


if __name__ == "__main__":
    app.main("collect", run)
