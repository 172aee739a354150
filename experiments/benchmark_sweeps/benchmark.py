"""Measure what 10,000 trials cost besides their training.

The trials train nothing, but write their epoch and result as all trials do. The local pool runs them with two workers.
The same number of trials is submitted to a private SLURM cluster, which holds them. All commands are timed as a user
runs them. Run with `make bench`. README.md beside this file has the latest results.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

TRIALS = 10_000
HERE = Path(__file__).parent
LAUNCH = (
    "designspace.launch",
    "recipe=quick",
    "recipe.epochs=1",
    "recipe.train_images=64",
    "recipe.test_images=64",
    "recipe.warmup_epochs=0",
    "recipe.trainer=no_work:train",
)


def measured(*arguments: str) -> tuple[float, float]:
    """Return the wall seconds of a command and the peak memory of its own process in MiB."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    peak = 0.0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            peak = max(peak, _resident_mib(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with exit code {code}")
    return time.perf_counter() - start, peak


def _resident_mib(pid: int) -> float:
    """Return the current memory of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def on_slurm(folder: str) -> None:
    """Time the submission of array tasks to a private SLURM cluster, which holds them."""
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from slurm.cluster import Cluster

    with Cluster(Path(folder) / "cluster", max_array=20_000) as cluster:
        os.environ.update(cluster.environment)
        for batch in (1, 25):
            run = f"run={folder}/run{batch}"
            measured("designspace.sample", "space=AnyNetXA", "input=fashion_mnist", f"n={TRIALS}", run)
            options = ("launcher=slurm", f"launcher.trials_per_task={batch}", "launcher.sbatch=[hold]")
            seconds, peak = measured("designspace.launch", run, "recipe=quick", *options)
            print(f"launch of {TRIALS} trials on SLURM, {batch} per array task: {seconds:.2f} s, {peak:.0f} MiB peak")
            seconds, peak = measured("designspace.status", run)
            print(f"status of that run: {seconds:.2f} s")


def main() -> None:
    """Print the measurements."""
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        run = f"run={folder}/run"
        measured("designspace.sample", "space=AnyNetXA", "input=fashion_mnist", f"n={TRIALS}", run)
        seconds, peak = measured(*LAUNCH, run, "launcher.workers=2")
        print(f"{TRIALS} trials that train nothing, 2 workers: {seconds:.0f} s, launcher {peak:.0f} MiB peak")
        print(f"per trial on a worker: {2 * seconds / TRIALS * 1e3:.1f} ms")
        if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin"):
            on_slurm(folder)
        else:
            print("launching on SLURM was not measured: found no slurmctld")
        for name, *arguments in (
            ("launch", "launcher.workers=2"),
            ("status",),
            ("collect",),
            ("status", "trials=running"),
        ):
            seconds, peak = measured(f"designspace.{name}", run, *arguments)
            print(f"{' '.join((name, *arguments))} of the finished run: {seconds:.2f} s, {peak:.0f} MiB peak")


if __name__ == "__main__":
    main()
