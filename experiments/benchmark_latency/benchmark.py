"""Measure one population several times in separate processes, predict latencies, and sample under a limit on latency.

100 networks of RegNetX, of 10 to 400 million multiply-adds, are measured by ``designspace.measure`` at batch 1: twice
alone, and once while another process keeps a core busy in the middle third of the expected time. 50 of them predict
the others. Then networks below the median latency are sampled, and measured again in another process. Run it on a
machine that does nothing else; README.md has the latest results.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from designspace.measurement.predictor import Predictor, features
from designspace.spaces.catalog import space
from designspace.spaces.costs import Cost, read_costs
from designspace.spaces.population import Population
from designspace.spaces.space import DesignSpace
from designspace.trials.folder import RunFolder

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

NETWORKS = 100
FLOPS = (10e6, 400e6)
SPLITS = 20
"""Number of random halves for the error of predictions."""
LIMITED = 40
"""Number of networks that are sampled under a limit."""


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


def prediction_errors(population: Population, latencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median relative error on the networks that were not used to fit, for several random halves."""
    assert isinstance(population.space, DesignSpace)
    counts = features(population.space.network_columns(population.columns), population.space.template.resolution)
    errors = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(latencies))
        seen, unseen = order[: len(order) // 2], order[len(order) // 2 :]
        predicted = Predictor.fit(counts[seen], latencies[seen]).predict(counts[unseen])
        errors.append(np.median(np.abs(predicted / latencies[unseen] - 1)))
    return np.array(errors)


def sample_below(folder: Path, below_ms: float) -> NDArray[np.float64]:
    """Sample networks below a latency, measure them again in another process, and return their latencies."""
    options = [
        "space=RegNetX",
        "data=imagenet",
        f"space.flops=[{FLOPS[0]},{FLOPS[1]}]",
        f"n={LIMITED}",
        f"run={folder}",
    ]
    limit = f"space.latency={{device: cpu, batch: 1, below_ms: {below_ms:.3f}}}"
    subprocess.run([sys.executable, "-m", "designspace.sample", *options, limit], check=True)
    measured = [sys.executable, "-m", "designspace.measure", f"run={folder}", "again=all"]
    subprocess.run(measured, check=True, stdout=subprocess.DEVNULL)
    accepted = set(RunFolder(folder).ids())
    return np.array([cost.median for cost in read_costs(folder) if cost.id in accepted])


def spread(costs: tuple[Cost, ...]) -> float:
    """Return the median over networks of the range of half of the visits, relative to the median visit."""
    return float(np.median([(cost.high - cost.low) / cost.median for cost in costs]))


def main() -> None:
    """Print the table."""
    print_machine()
    population = space("RegNetX", flops=FLOPS).sample(NETWORKS, seed=0)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("first", "second", "beside a load")}
        for folder in folders.values():
            RunFolder(folder).create(population, {})
        seconds = {name: measure(folders[name]) for name in ("first", "second")}
        third = seconds["first"] / 3
        seconds["beside a load"] = measure(folders["beside a load"], third, third)
        costs = {name: read_costs(folder) for name, folder in folders.items()}
        limit = float(np.median([cost.median for cost in costs["first"]]))
        again = sample_below(Path(temporary) / "limited", limit)
    medians = {name: {cost.id: cost.median for cost in each} for name, each in costs.items()}
    print("| measurement | seconds | median spread | disturbed | Spearman's rank correlation with the first |")
    print("|---|---|---|---|---|")
    for name, each in costs.items():
        ids = [cost.id for cost in costs["first"]]
        ranks = spearmanr([medians["first"][id_] for id_ in ids], [medians[name][id_] for id_ in ids]).statistic
        disturbed = sum(cost.disturbed for cost in each)
        print(f"| {name} | {seconds[name]:.0f} | {spread(each):.1%} | {disturbed} of {len(each)} | {ranks:.4f} |")
    errors = prediction_errors(population, np.array([medians["first"][id_] for id_ in population.ids]))
    print(f"\nmedian error of predictions from 50 networks: {np.median(errors):.1%}, at most {errors.max():.1%}")
    above = int((again > limit).sum())
    print(f"limit {limit:.2f} ms: {above} of {again.size} above in another process, the largest {again.max():.2f} ms")


if __name__ == "__main__":
    main()
