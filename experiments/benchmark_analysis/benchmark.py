"""Measure the time and memory that reading and analysing results take, beside their targets.

Run with `make bench`; ``benchmark.py read`` measures only the reading. Each part runs in a separate process, because
peak memory is counted per process; imports are not included. On a busy machine, CPU seconds are more reliable than
wall seconds. The million rows are random networks with made-up errors, of which 1% failed; the runs of 500 networks
are folders as training writes them, with ten epochs per trial.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

MILLION = 1_000_000
RUNS = ("AnyNetXA", "AnyNetXE")
NETWORKS = 500
EPOCHS = 10
TARGETS = {
    "two runs of 500: analyze": (5.0, 2048),
    "a million trials: all of it": (10.0, 2048),
    "a million trials: read": (5.0, 1536),
    "a run of 500: read": (0.05, None),
}
"""Upper limits in seconds and MiB for each measurement."""


def write_million(path: Path) -> None:
    """Write a results.csv of a million trials, piece by piece."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(MILLION)
    for start in range(0, MILLION, 100_000):
        piece = ids[start : start + 100_000]
        n = len(piece)
        failed = rng.random(n) < 0.01
        error = np.round(np.clip(20 + rng.gamma(4, 6, n), 0, 90), 3)
        columns: dict[str, object] = {"id": [f"{number * 0xF4243:012x}" for number in piece]}
        columns |= {f"d{stage}": rng.integers(1, 17, n) for stage in range(1, 5)}
        columns |= {f"w{stage}": 8 * rng.integers(1, 129, n) for stage in range(1, 5)}
        columns |= {f"b{stage}": 2 ** rng.integers(0, 3, n) for stage in range(1, 5)}
        columns |= {f"g{stage}": 2 ** rng.integers(0, 6, n) for stage in range(1, 5)}
        columns |= {"radix": 0, "flops": rng.integers(200_000_000, 400_000_000, n)}
        columns |= {name: rng.integers(1_000_000, 20_000_000, n) for name in ("params", "activations")}
        columns |= {"seed": rng.integers(0, 2, n), "status": np.where(failed, "failed", "done")}
        columns |= {"final_error": np.where(failed, np.nan, error)}
        columns |= {"best_error": np.where(failed, np.nan, np.round(error - rng.random(n), 3))}
        columns |= {"epochs": np.where(failed, 3, EPOCHS)}
        columns |= {"train_s": np.where(failed, np.nan, np.round(100 * rng.random(n), 3)), "device": "a GPU"}
        columns |= {"memory_bytes": rng.integers(100_000_000, 2_000_000_000, n)}
        columns |= {"reason": np.where(failed, "diverged", "")}
        columns |= {"detail": np.where(failed, "loss is nan in epoch 3, at step 12", "")}
        pd.DataFrame(columns).to_csv(path, index=False, mode="a", header=start == 0)


def write_run(path: Path, seed: int) -> None:
    """Write a run whose trials are all done, as training writes it."""
    from designspace.spaces import catalog
    from designspace.trials.folder import RunFolder
    from designspace.trials.recipe import Recipe
    from designspace.trials.trial import EpochRecord, TrialResult, fingerprint_of

    recipe, folder = Recipe(epochs=EPOCHS), RunFolder(path)
    folder.create(catalog.space(path.name, flops=(200e6, 400e6), num_classes=10).sample(NETWORKS), {})
    folder.write_plan(recipe, seed)
    rng = np.random.default_rng(seed)
    for id_ in folder.ids():
        errors = 90 * np.exp(-np.arange(1, EPOCHS + 1) * rng.uniform(0.05, 0.15))
        history = tuple(
            EpochRecord(epoch, 0.1, 2 / epoch, float(error), float(error), 3.21)
            for epoch, error in enumerate(errors, start=1)
        )
        # TrialFolder would flush each file to the disk, which takes minutes for files that are deleted afterwards.
        trial = folder.trial(id_).path
        trial.mkdir(parents=True)
        lines = (json.dumps(dataclasses.asdict(record)) for record in history)
        (trial / "history.jsonl").write_text("".join(f"{line}\n" for line in lines))
        result = dataclasses.asdict(TrialResult.of_history(history, "cpu", 2**30))
        (trial / "result.json").write_text(json.dumps({"asked": fingerprint_of(id_, recipe, seed), **result}))


def timed(label: str, work: Callable[[], object]) -> None:
    """Call a function, and print its label, wall and CPU seconds, and the process's peak memory so far in MiB."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux reports KiB
    print(json.dumps([label, seconds, cpu, peak]), flush=True)


def run_part(name: str, folder: Path) -> None:
    """Run one part of the benchmark in this process, and print its measurements as lines of JSON."""
    if name == "million":
        measure_million(folder)
    elif name == "read_million":
        from designspace.analysis import Results, read_table

        path = folder / "results.csv"
        timed("a million trials: read", lambda: Results.from_table("million", read_table(path), 10).errors())
    elif name == "read_runs":
        from designspace.analysis import Results

        Results.read(folder / RUNS[0])
        timed("a run of 500: read", lambda: Results.read(folder / RUNS[1]))
        timed("two runs of 500: read as one", lambda: Results.read(*(folder / run for run in RUNS)))
    else:
        from designspace.analysis import Results, analyze

        for module in ("scipy.stats", "matplotlib.figure", "jinja2", "sklearn.ensemble"):
            __import__(module)
        timed(
            "two runs of 500: analyze",
            lambda: analyze([Results.read(folder / run) for run in RUNS], folder / "report", {"from": "a benchmark"}),
        )


def measure_million(folder: Path) -> None:
    """Time reading, EDF, bands, comparison and best values of a million trials, one by one and together."""
    import scipy.stats  # noqa: F401  (imported first, so that its import is not timed)

    from designspace.analysis import Results, read_table
    from designspace.analysis.best_values import best_values
    from designspace.analysis.comparison import compare
    from designspace.analysis.edf import edf

    loaded: list[Results] = []

    def read() -> None:
        loaded.append(Results.from_table("million", read_table(folder / "results.csv"), 10))

    def compare_halves() -> None:
        compare(*loaded[0].split("seed").values())

    def everything() -> None:
        timed("a million trials: read again", read)
        timed("a million trials: EDF and both bands", lambda: [
            (curve := edf(loaded[0].errors())), curve.band(), curve.bootstrap_band()
        ])  # fmt: skip
        timed("a million trials: compare halves", compare_halves)
        timed("a million trials: best values", lambda: best_values(loaded[0], ["flops", "d1", "w4"]))

    timed("a million trials: all of it", everything)


def measured(name: str, folder: Path) -> Iterator[tuple[str, float, float, float]]:
    """Yield the measurements of a part that runs in a fresh process: label, wall seconds, CPU seconds, MiB."""
    process = subprocess.run(
        [sys.executable, __file__, name, str(folder)], check=True, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout.splitlines():
        label, seconds, cpu, peak = json.loads(line)
        yield label, seconds, cpu, peak


def main() -> None:
    """Print the measurements beside their targets."""
    if len(sys.argv) > 2:
        run_part(sys.argv[1], Path(sys.argv[2]))
        return
    print_machine()
    parts = ["read_runs", "read_million"] + ([] if sys.argv[1:] == ["read"] else ["analyze", "million"])
    print(f"{'':<40}{'s':>8}{'CPU s':>8}{'MiB':>8}{'target':>20}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, run in enumerate(RUNS):
            write_run(folder / run, seed)
        write_million(folder / "results.csv")
        for part in parts:
            for label, seconds, cpu, peak in measured(part, folder):
                max_s, max_mib = TARGETS.get(label, (None, None))
                target = f"{max_s:g} s" if max_s else ""
                target += f", {max_mib} MiB" if max_mib else ""
                print(f"{label:<40}{seconds:>8.2f}{cpu:>8.2f}{peak:>8.0f}{target:>20}", flush=True)


if __name__ == "__main__":
    main()
