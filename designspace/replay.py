"""Replay finished runs under a rule that stops early."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from designspace.analysis import Results
from designspace.analysis.replaying import Replay, replay, replay_fidelity
from designspace.analysis.results import Failures
from designspace.analyze import runs_at
from designspace.cli import app
from designspace.cli.early_stops import fidelity_of
from designspace.cli.looks import rule_of
from designspace.cli.options import OptionalCount, Seed, StopOptions, one_of, whole_number
from designspace.cli.tables import print_table
from designspace.support.errors import InputError, RunError
from designspace.support.files import WriteError, write_text

FILE = "replay.csv"


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/replay.yaml, which describes them."""

    runs: tuple[Path, ...]
    stop: StopOptions
    n: OptionalCount
    orders: Annotated[int, whole_number(0, 100_000)]
    level: float
    failures: Annotated[Failures, one_of("treatment of failures", get_args(Failures))]
    out: Path | None
    seed: Seed


def run(options: Options) -> None:
    """Print what the rule would have saved, and the conclusion on each pair."""
    results = [Results.read(run).with_failures(options.failures) for run in runs_at(options.runs)]
    fidelity = fidelity_of(options.stop)
    if fidelity is not None:
        if options.is_given("stop.looks"):
            raise InputError("stop.looks ends comparisons and stop.epochs ends trials: replay one of them at a time")
        replayed = replay_fidelity(results, fidelity, options.orders, options.n, options.level, options.seed)
    else:
        replayed = replay(results, rule_of(options.stop, options.level), options.orders, options.n, options.seed)
    show(replayed)
    if options.out:
        try:
            write_text(options.out / FILE, replayed.table().to_csv(index=False, lineterminator="\n"))
        except WriteError as error:
            raise RunError(f"{error}; choose another folder with out=...") from error
        print(f"table: {options.out / FILE}")


def show(replayed: Replay) -> None:
    """Print a replay."""
    rows = [
        (
            f"{row.a}, {row.b}",
            row.better or "-",
            row.replayed_better or "-",
            row.verdict,
            f"{row.n_a} and {row.n_b}",
            f"{row.of_a} and {row.of_b}",
            "yes" if row.same else "no",
        )
        for row in replayed.table().itertuples()
    ]
    header = ("pair", "better, all networks", "replayed", "ended as", "networks", "of", "same")
    print_table("in the order of the populations", header, rows, texts=(0, 1, 2, 3, 4, 5, 6))
    print()
    for sentence in replayed.sentences():
        print(f"- {sentence}")


if __name__ == "__main__":
    app.main("replay", run)
