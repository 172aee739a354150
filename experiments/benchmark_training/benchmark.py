"""Measure trials per hour of a population trained by this package and by the loops in plain.py.

Each method is a command, timed from start to end, with its imports and the start of its workers. The methods take
turns. Run with `make bench`, or directly with other settings (``--help``). README.md beside this file has the latest
results and breaks them down.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

HERE = Path(__file__).parent
METHODS = ("loop", "tricks", "designspace")


def command(*arguments: str) -> tuple[float, str]:
    """Run a Python command, and return its wall seconds and its output."""
    start = time.perf_counter()
    process = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{shlex.join(arguments)} ended with exit code {process.returncode}")
    return time.perf_counter() - start, process.stdout


def train(method: str, run: Path, plan: list[str], launcher: list[str]) -> dict[str, float]:
    """Train all networks of a new run, and return the seconds, the mean error and the share of time in training."""
    if method == "designspace":
        seconds, _ = command("-m", "designspace.launch", f"run={run}", *plan, *launcher)
        results = pd.read_csv(run / "results.csv")
        workers = json.loads(next(run.glob("launches/*/launch.json")).read_text())["workers"]
        if not (results.status == "done").all():
            raise SystemExit(f"not all trials are done:\n{results[results.status != 'done']}")
        share = results.train_s.sum() / workers / seconds
        return {"seconds": seconds, "error": results.final_error.mean(), "training": share}
    seconds, output = command(str(HERE / "plain.py"), str(run), method)
    results = pd.DataFrame(json.loads(line) for line in output.splitlines())
    return {"seconds": seconds, "error": results.error.mean(), "training": float("nan")}


def main() -> None:
    """Sample, train with each method in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20, help="number of networks")
    parser.add_argument(
        "--sample", default="space=AnyNetXA input=fashion_mnist", help="arguments of designspace.sample"
    )
    parser.add_argument(
        "--plan",
        default="data=fashion_mnist recipe=quick recipe.batch_size=128 recipe.epochs=2 recipe.train_images=2000 "
        "recipe.test_images=1000 recipe.zero_init_residual=false",
        help="arguments of designspace.launch for data and recipe",
    )
    parser.add_argument(
        "--launcher",
        default="",
        help="arguments of designspace.launch for the launcher, such as launcher.workers_per_gpu=4",
    )
    parser.add_argument("--ways", nargs="*", default=METHODS, choices=METHODS, help="methods to time")
    parser.add_argument(
        "--repeats", type=int, default=3, help="repeats of each method; the slow loop is always timed once"
    )
    arguments = parser.parse_args()
    plan, launcher = shlex.split(arguments.plan), shlex.split(arguments.launcher)
    print_machine()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.repeats):
            for method in arguments.ways:
                if method == "loop" and number:
                    continue
                run = Path(folder, f"{method}{number}")
                command("-m", "designspace.sample", *shlex.split(arguments.sample), f"n={arguments.n}", f"run={run}")
                if method != "designspace":  # plan.py writes the plan that a launch would write
                    command(str(HERE / "plan.py"), str(run), *plan)
                rows.append({"way": method, **train(method, run, plan, launcher)})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table["trials per hour"] = 3600 * arguments.n / table.seconds
    print(f"\n{arguments.n} networks: {arguments.sample}; {arguments.plan} {arguments.launcher}")
    print(table.groupby("way", sort=False).agg(["median", "min", "max"]).round(3).T.to_string())
    medians = table.groupby("way")["trials per hour"].agg(statistics.median)
    for method in medians.index.drop("designspace", errors="ignore"):
        if "designspace" in medians.index:
            print(f"designspace against {method}: {medians['designspace'] / medians[method]:.2f}x the trials per hour")


if __name__ == "__main__":
    main()
