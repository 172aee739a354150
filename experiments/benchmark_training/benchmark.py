"""How many trials an hour: a population trained by this package, and by the loops that a user would write (plain.py).

Every way of training is a command, timed from start to end as a user would wait for it: its imports, its workers' start
and all. The ways take turns. Run with `make bench`, or with other settings (``--help``); README.md beside this file has
the figures and says what they are made of.
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

HERE = Path(__file__).parent
WAYS = ("loop", "tricks", "designspace")


def command(*words: str) -> tuple[float, str]:
    """Run a command, and give its wall seconds and its output."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)} ended with {done.returncode}")
    return time.perf_counter() - start, done.stdout


def train(way: str, run: Path, plan: list[str], launcher: list[str]) -> dict[str, float]:
    """Train all networks of a fresh run one way; seconds, mean error, and the part of them that was training."""
    if way == "designspace":
        seconds, _ = command("-m", "designspace.launch", f"run={run}", *plan, *launcher)
        results = pd.read_csv(run / "results.csv")
        workers = json.loads(next(run.glob("launches/*/launch.json")).read_text())["workers"]
        if not (results.status == "done").all():
            raise SystemExit(f"not all trials are done:\n{results[results.status != 'done']}")
        share = results.train_s.sum() / workers / seconds
        return {"seconds": seconds, "error": results.final_error.mean(), "training": share}
    seconds, output = command(str(HERE / "plain.py"), str(run), way)
    found = pd.DataFrame(json.loads(line) for line in output.splitlines())
    return {"seconds": seconds, "error": found.error.mean(), "training": float("nan")}


def main() -> None:
    """Sample, train in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20, help="networks")
    parser.add_argument("--sample", default="space=AnyNetXA input=fashion_mnist", help="of designspace.sample")
    parser.add_argument(
        "--plan",
        default="data=fashion_mnist recipe=quick recipe.batch_size=128 recipe.epochs=2 recipe.train_images=2000 "
        "recipe.test_images=1000 recipe.zero_init_residual=false",
        help="data and recipe, of designspace.launch",
    )
    parser.add_argument("--launcher", default="", help="of designspace.launch, as launcher.workers_per_gpu=4")
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--repeats", type=int, default=3, help="the slow loop is timed once all the same")
    arguments = parser.parse_args()
    plan, launcher = shlex.split(arguments.plan), shlex.split(arguments.launcher)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.repeats):
            for way in arguments.ways:
                if way == "loop" and number:
                    continue
                run = Path(folder, f"{way}{number}")
                command("-m", "designspace.sample", *shlex.split(arguments.sample), f"n={arguments.n}", f"run={run}")
                if way != "designspace":  # the plan is written by a launch that trains nothing
                    command(str(HERE / "plan.py"), str(run), *plan)
                rows.append({"way": way, **train(way, run, plan, launcher)})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table["trials an hour"] = 3600 * arguments.n / table.seconds
    print(f"\n{arguments.n} networks: {arguments.sample}; {arguments.plan} {arguments.launcher}")
    print(table.groupby("way", sort=False).agg(["median", "min", "max"]).round(3).T.to_string())
    medians = table.groupby("way")["trials an hour"].agg(statistics.median)
    for way in medians.index.drop("designspace", errors="ignore"):
        if "designspace" in medians.index:
            print(f"designspace against {way}: {medians['designspace'] / medians[way]:.2f}x the trials an hour")


if __name__ == "__main__":
    main()
