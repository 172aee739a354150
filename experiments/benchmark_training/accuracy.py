"""Compare the errors of one network trained with ten seeds by this package and by plain PyTorch.

The plain loop of plain.py uses other code and other random numbers, but the same recipe, so the two agree if their
mean errors do within the noise between seeds. Run with ``python accuracy.py [--space RegNetY] [recipe.epochs=10 ...]``;
README.md has the latest results.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import plain
import torch
from scipy import stats

import designspace as ds
from designspace import data
from designspace.cli.app import compose
from designspace.training import train

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

SEEDS = 10
PLAN = [
    "data=fashion_mnist",
    "recipe=quick",
    "recipe.batch_size=64",
    "recipe.lr=0.1",
    "recipe.zero_init_residual=false",
]


class Task(NamedTuple):
    """A training."""

    program: str
    seed: int
    space: str
    radix: int
    overrides: tuple[str, ...]


def error(task: Task) -> float:
    """Return the final error of one training in percent."""
    program, seed, overrides = task.program, task.seed, task.overrides
    torch.set_num_threads(1)
    config = compose("launch", ["run=-", *PLAN, *overrides])
    recipe = ds.Recipe.from_dict({**config["recipe"], "data": config["data"]["name"]})
    images = data.load(recipe.data, None, recipe.train_images, recipe.test_images)
    channels, size, classes = data.shape(recipe.data).fitting
    settings = {"stem": "cifar", "stem_width": 16, "flops": (2e6, 3.5e6), "radix": task.radix}
    space = ds.space(task.space, resolution=size, in_channels=channels, num_classes=classes, **settings)
    network = space.sample(1)[0]
    if program == "plain":
        return float(plain.train(network, recipe, images, seed, tricks=False)["error"])
    return train(network, recipe, images, seed=seed, device=plain.DEVICE).final_error


def main() -> None:
    """Train with both programs, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="RegNetX", help="space of the network")
    parser.add_argument("--radix", type=int, default=0, help="its splits; 0 for none")
    parser.add_argument("overrides", nargs="*", help="arguments of designspace.launch for the recipe")
    arguments = parser.parse_args()
    print_machine()
    os.environ["OMP_NUM_THREADS"] = "1"
    workers = plain.CORES if plain.DEVICE.type == "cpu" else 1
    errors = {}
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for program in ("plain", "designspace"):
            settings = (arguments.space, arguments.radix, tuple(arguments.overrides))
            errors[program] = pool.map(error, [Task(program, seed, *settings) for seed in range(SEEDS)], chunksize=1)
            mean, deviation = statistics.mean(errors[program]), statistics.stdev(errors[program])
            print(f"{program}: {mean:.2f} +- {deviation:.2f} %, {SEEDS} seeds: {errors[program]}", flush=True)
    test = stats.ttest_ind(*errors.values(), equal_var=False)
    print(f"difference of the means: {test.statistic:.2f} standard errors (Welch), p = {test.pvalue:.2f}")


if __name__ == "__main__":
    main()
