"""Measure a large run that two launches train at the same time while they are killed at random.

    python experiments/benchmark_sweeps/killed.py           # 20,000 trials
    python experiments/benchmark_sweeps/killed.py 1000

The trials train nothing, but write their epoch and result as all trials do. Every few seconds one of the launches is
killed with SIGKILL and started again, until all trials are done. README.md beside this file has the latest results.
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from benchmark import HERE, LAUNCH, measured
from this_machine import print_machine

LAUNCHES = 2
PAUSE_S = (4.0, 12.0)
"""Shortest and longest time between two kills."""


def start(run: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a launch with one worker, whose trainer notes each network that it has trained in ``log``."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "NO_WORK_LOG": str(log)}
    command = [sys.executable, "-m", *LAUNCH, run, "launcher.workers=1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def train_and_kill(run: str, log: Path) -> tuple[float, int]:
    """Let launches train a run and kill them at random; return the seconds until it is done and the number of kills."""
    chance, begin, kills = random.Random(0), time.perf_counter(), 0
    launches = [start(run, log) for _ in range(LAUNCHES)]
    next_kill = time.perf_counter() + chance.uniform(*PAUSE_S)
    while any(launch.poll() is None for launch in launches):
        time.sleep(0.1)
        if time.perf_counter() >= next_kill:
            number = chance.randrange(LAUNCHES)
            if launches[number].poll() is None:
                launches[number].kill()
                launches[number].wait()
                kills += 1
                launches[number] = start(run, log)
            next_kill = time.perf_counter() + chance.uniform(*PAUSE_S)
    if any(launch.returncode for launch in launches):
        raise SystemExit("a launch ended with an error")
    return time.perf_counter() - begin, kills


def print_trials(folder: Path, log: Path, kills: int) -> None:
    """Print what the trials cost from first to last, how often networks were trained, and the number of files."""
    times = sorted(path.stat().st_mtime for path in folder.glob("trials/*/result.json"))
    gaps = [1000 * LAUNCHES * (after - before) for before, after in itertools.pairwise(times)]
    tenth = len(gaps) // 10
    parts = {"first": gaps[:tenth], "middle": gaps[len(gaps) // 2 :][:tenth], "last": gaps[-tenth:]}
    shown = ", ".join(f"{statistics.median(part):.1f} ms in the {name} tenth" for name, part in parts.items())
    print(f"per trial on a worker (median): {shown}")
    trained = Counter(log.read_text().split())
    again = sum(trained.values()) - len(trained)
    print(f"{len(times)} results; {again} networks trained again, each after one of {kills} kills")
    if again > kills or len(trained) != len(times):
        raise SystemExit("networks were trained twice without a kill, or not at all")
    files = Counter(path.name for path in folder.glob("trials/*/*"))
    print(f"files per trial: {sum(files.values()) / len(times):.2f} ({', '.join(sorted(files))})")


def main(trials: int) -> None:
    """Print the measurements."""
    print_machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder, log = Path(temporary) / "run", Path(temporary) / "trained"
        run = f"run={folder}"
        measured("designspace.sample", "space=AnyNetXA", "input=fashion_mnist", f"n={trials}", run)
        seconds, kills = train_and_kill(run, log)
        print(f"{trials} trials by {LAUNCHES} launches with a worker each, {kills} kills: {seconds:.0f} s")
        print_trials(folder, log, kills)
        for name, *arguments in (
            ("status", run),
            ("collect", run),
            ("analyze", f"runs={folder}", f"out={temporary}/report"),
            ("clean", run, "fold=true"),
            ("status", run),
            ("collect", run),
        ):
            seconds, peak = measured(f"designspace.{name}", *arguments)
            print(f"{name}: {seconds:.2f} s, {peak:.0f} MiB peak", flush=True)
        left = sum(1 for path in folder.rglob("*") if path.is_file())
        print(f"files in the folded run: {left}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
