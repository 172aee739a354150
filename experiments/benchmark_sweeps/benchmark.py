"""What do 10,000 trials cost besides their training?

Trials that train nothing (but write their epoch and result as all do), run by the local pool with two workers; and the
same number submitted to a SLURM of our own that holds them. From the command line, as a user would. Run with `make
bench`. Last figures (two cores of a shared x86-64 machine, local disk; Python 3.11, SLURM 22.05):

    10000 trials that train nothing, 2 workers: 29 s, the launcher has 67 MiB at most
    per trial on a worker: 5.8 ms
    launch of 10000 trials on SLURM, 1 a task: 1.75 s, 178 MiB at most
    status of it: 0.46 s
    launch of 10000 trials on SLURM, 25 a task: 0.78 s, 143 MiB at most
    status of it: 0.42 s
    launch launcher.workers=2 of the finished run: 1.27 s, 65 MiB at most
    status of the finished run: 0.56 s, 48 MiB at most
    collect of the finished run: 1.24 s, 59 MiB at most
    status trials=running of the finished run: 0.63 s, 48 MiB at most
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

TRIALS = 10_000
HERE = Path(__file__).parent


def measured(*arguments: str) -> tuple[float, float]:
    """Wall seconds of a command, and the most memory that its own process had, in MiB."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    words = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)
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
        raise SystemExit(f"{' '.join(words)} ended with {code}")
    return time.perf_counter() - start, peak


def _resident_mib(pid: int) -> float:
    """Memory of a process now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def on_slurm(folder: str) -> None:
    """Submit tasks to a SLURM of our own, which holds them: what a user waits for."""
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from slurm.cluster import Cluster

    with Cluster(Path(folder) / "cluster", max_array=20_000) as cluster:
        os.environ.update(cluster.environment)
        for each in (1, 25):
            run = f"run={folder}/run{each}"
            measured("designspace.sample", "space=AnyNetXA", "input=fashion_mnist", f"n={TRIALS}", run)
            options = ("launcher=slurm", f"launcher.trials_per_task={each}", "launcher.sbatch=[hold]")
            seconds, peak = measured("designspace.launch", run, "recipe=quick", *options)
            print(f"launch of {TRIALS} trials on SLURM, {each} a task: {seconds:.2f} s, {peak:.0f} MiB at most")
            seconds, peak = measured("designspace.status", run)
            print(f"status of it: {seconds:.2f} s")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"run={folder}/run"
        measured("designspace.sample", "space=AnyNetXA", "input=fashion_mnist", f"n={TRIALS}", run)
        small = ("recipe.epochs=1", "recipe.train_images=64", "recipe.test_images=64")
        launch = (
            "designspace.launch",
            run,
            "recipe=quick",
            *small,
            "recipe.warmup_epochs=0",
            "recipe.trainer=no_work:train",
        )
        seconds, peak = measured(*launch, "launcher.workers=2")
        print(
            f"{TRIALS} trials that train nothing, 2 workers: {seconds:.0f} s, the launcher has {peak:.0f} MiB at most"
        )
        print(f"per trial on a worker: {2 * seconds / TRIALS * 1e3:.1f} ms")
        if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin"):
            on_slurm(folder)
        else:
            print("no slurmctld here: launching on SLURM was not measured")
        for name, *rest in (("launch", "launcher.workers=2"), ("status",), ("collect",), ("status", "trials=running")):
            seconds, peak = measured(f"designspace.{name}", run, *rest)
            print(f"{' '.join((name, *rest))} of the finished run: {seconds:.2f} s, {peak:.0f} MiB at most")


if __name__ == "__main__":
    main()
