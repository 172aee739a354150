"""Measure one population several times in separate processes, once beside a load, and compare the networks' ranks.

100 networks of RegNetX, of 10 to 400 million multiply-adds, are measured by ``designspace.measure`` at batch 1: twice
alone, and once while another process keeps a core busy in the middle third of the expected time. Run it on a
machine that does nothing else; README.md has the latest results.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from designspace.spaces.catalog import space
from designspace.spaces.costs import Cost, read_costs
from designspace.trials.folder import RunFolder

NETWORKS = 100
FLOPS = (10e6, 400e6)


def measure(folder: Path, load_after_s: float = 0.0, load_s: float = 0.0) -> float:
    """Measure the population in another process, beside a load from some time on; return the seconds it took."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "designspace.measure", f"run={folder}"])
    if load_s:
        time.sleep(load_after_s)
        load = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        time.sleep(load_s)
        load.kill()
        load.wait()
    if process.wait():
        raise SystemExit("the measurement failed")
    return time.perf_counter() - begin


def spread(costs: tuple[Cost, ...]) -> float:
    """Return the median over networks of the range of half of the visits, relative to the median visit."""
    return float(np.median([(cost.high - cost.low) / cost.median for cost in costs]))


def main() -> None:
    """Print the table."""
    population = space("RegNetX", flops=FLOPS).sample(NETWORKS, seed=0)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("first", "second", "beside a load")}
        for folder in folders.values():
            RunFolder(folder).create(population, {})
        seconds = {name: measure(folders[name]) for name in ("first", "second")}
        third = seconds["first"] / 3
        seconds["beside a load"] = measure(folders["beside a load"], third, third)
        costs = {name: read_costs(folder) for name, folder in folders.items()}
    medians = {name: {cost.id: cost.median for cost in each} for name, each in costs.items()}
    print("| measurement | seconds | median spread | disturbed | Spearman's rank correlation with the first |")
    print("|---|---|---|---|---|")
    for name, each in costs.items():
        ids = [cost.id for cost in costs["first"]]
        ranks = spearmanr([medians["first"][id_] for id_ in ids], [medians[name][id_] for id_ in ids]).statistic
        disturbed = sum(cost.disturbed for cost in each)
        print(f"| {name} | {seconds[name]:.0f} | {spread(each):.1%} | {disturbed} of {len(each)} | {ranks:.4f} |")


if __name__ == "__main__":
    main()
