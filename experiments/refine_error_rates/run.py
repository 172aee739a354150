"""Simulate how often `designspace.refine` proposes something where nothing is, and how often it finds what is planted.

``python experiments/refine_error_rates/run.py`` takes about ten minutes on one core; a number of repeats and parts of
the names of cases may follow (``run.py 100 planted``). Networks are drawn from AnyNetXA by the package; only their
errors are simulated. Each line is the share of populations with a proposal of a kind. The results are in README.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from designspace.analysis.refinement import Settings
from designspace.analysis.refinement.candidates import Candidate, candidates
from designspace.analysis.refinement.population import RefinedPopulation
from designspace.analysis.refinement.proposals import refine_population
from designspace.analysis.results import Results
from designspace.spaces import catalog

Column = np.ndarray
NARROW, WIDE = (360e6, 400e6), (100e6, 1600e6)
POPULATIONS = 10
"""Number of populations that the repeats of a case share."""
SETTINGS = Settings(permutations=500)
CHANCE = 90.0


@dataclass(frozen=True)
class Drawn:
    """A population of which only the errors are missing."""

    population: RefinedPopulation
    candidates: tuple[Candidate, ...]

    def column(self, name: str) -> Column:
        """Return a column of the networks."""
        return self.population.column(name)

    def stages(self, letter: str) -> Column:
        """Return a parameter of all stages. Shape (n, 4)."""
        return np.column_stack([self.column(f"{letter}{stage}") for stage in range(1, 5)])


@functools.cache
def drawn(n: int, flops: tuple[float, float], seed: int) -> Drawn:
    """Draw a population and make its candidates."""
    space = catalog.space("AnyNetXA", flops=flops)
    table = space.sample(n, seed).to_frame().reset_index()
    names = ["id", *space.column_names(), "flops", "params", "activations"]
    results = Results.from_errors("AnyNetXA", np.full(n, 40.0), 10, {name: table[name] for name in names})
    population = RefinedPopulation.of(results, space)
    return Drawn(population, candidates(population))


Errors = Callable[[Drawn, np.random.Generator], Column]


def mixed(signal: Column, strength: float, rng: np.random.Generator) -> Column:
    """Return errors of which a signal (the higher, the better) explains a part of the variance."""
    scaled = (signal - signal.mean()) / signal.std()
    return 40 - 2 * np.sqrt(strength) * scaled + 2 * np.sqrt(1 - strength) * rng.normal(0, 1, signal.size)


def diverged(errors: Column, part: float, rng: np.random.Generator) -> Column:
    """Return errors of which some are those of guessing."""
    return np.where(rng.random(errors.size) < part, CHANCE, errors)


def of_images(errors: Column, images: int, rng: np.random.Generator) -> Column:
    """Return errors counted on a number of test images."""
    return 100 * rng.binomial(images, np.clip(errors / 100, 0, 1)) / images


def normal(d: Drawn, rng: np.random.Generator) -> Column:
    """Return normal errors."""
    return rng.normal(40, 2, d.population.n)


def rises(d: Drawn) -> Column:
    """Return the number of pairs of stages whose width rises, less those whose width falls."""
    width = d.stages("w")
    return sum(np.sign(width[:, j] - width[:, i]) for i in range(4) for j in range(i + 1, 4))


def slope(d: Drawn) -> Column:
    """Return the slope of the logarithm of the width over the stages."""
    return np.log(d.stages("w")) @ np.array([-1.5, -0.5, 0.5, 1.5])


def middle_of_stage(d: Drawn) -> Column:
    """Return how close the depth of the third stage is to its median, in ratios."""
    depth = np.log(d.column("d3"))
    return -np.abs(depth - np.median(depth))


def middle_of_all(d: Drawn) -> Column:
    """Return how close the depths of all stages are to 4, in ratios."""
    return -np.abs(np.log(d.stages("d") / 4)).sum(axis=1)


def small_ratio(d: Drawn) -> Column:
    """Return minus the mean logarithm of the bottleneck ratios."""
    return -np.log(d.stages("b")).mean(axis=1)


def cost(d: Drawn) -> Column:
    """Return the logarithm of the flops."""
    return np.log(d.column("flops"))


@dataclass(frozen=True)
class Case:
    """A law of errors, and the names of the proposals that would be right."""

    n: int
    errors: Errors
    right: tuple[str, ...] = ()
    """Beginnings of the names of right proposals."""
    wrong: tuple[str, ...] = ()
    """Beginnings of the names of proposals of the opposite."""
    flops: tuple[float, float] = NARROW


def planted(n: int, signal: Callable[[Drawn], Column], strength: float, *right: str, wrong: str = "-") -> Case:
    """Return a case in which a signal explains a part of the variance."""
    return Case(n, lambda d, rng: mixed(signal(d), strength, rng), right, (wrong,))


WIDTHS = ("width_non_decreasing",)
CASES = {
    "noise, normal, n = 50": Case(50, normal),
    "noise, normal, n = 100": Case(100, normal),
    "noise, normal, n = 500": Case(500, normal),
    "noise, log-normal, n = 100": Case(100, lambda d, rng: 30 + rng.lognormal(1, 1, d.population.n).clip(0, 50)),
    "noise, t with 2 degrees, 10% diverged, n = 100": Case(
        100, lambda d, rng: diverged((40 + rng.standard_t(2, d.population.n)).clip(5, 89), 0.1, rng)
    ),
    "noise, 20% diverged, n = 100": Case(100, lambda d, rng: diverged(normal(d, rng), 0.2, rng)),
    "noise, 500 test images, n = 50": Case(50, lambda d, rng: of_images(normal(d, rng), 500, rng)),
    "noise, 100 test images, n = 100": Case(100, lambda d, rng: of_images(normal(d, rng), 100, rng)),
    "noise, flops explain 50%, 0.1 to 1.6 GF, n = 100": Case(100, lambda d, rng: mixed(cost(d), 0.5, rng), flops=WIDE),
    "planted, rising widths, R2 0.1, n = 100": planted(100, rises, 0.1, *WIDTHS, wrong="width_non_increasing"),
    "planted, rising widths, R2 0.2, n = 50": planted(50, rises, 0.2, *WIDTHS, wrong="width_non_increasing"),
    "planted, rising widths, R2 0.2, n = 100": planted(100, rises, 0.2, *WIDTHS, wrong="width_non_increasing"),
    "planted, rising widths, R2 0.2, 20% diverged, n = 100": Case(
        100, lambda d, rng: diverged(mixed(rises(d), 0.2, rng), 0.2, rng), WIDTHS, ("width_non_increasing",)
    ),
    "planted, slope of the widths, R2 0.2, n = 100": planted(100, slope, 0.2, "width", wrong="width_non_increasing"),
    "planted, middle depth of a stage, R2 0.2, n = 100": planted(100, middle_of_stage, 0.2, "depth3"),
    "planted, middle depth of all stages, R2 0.2, n = 100": planted(100, middle_of_all, 0.2, "depth"),
    "planted, small bottleneck ratios, R2 0.2, n = 100": planted(100, small_ratio, 0.2, "bottleneck_ratio"),
}


def proposals(case: Case, repeat: int) -> tuple[str, ...]:
    """Return the proposals for one simulated population of a case."""
    population = drawn(case.n, case.flops, repeat % POPULATIONS)
    rng = np.random.default_rng([1, repeat])
    errors = case.errors(population, rng)
    simulated = dataclasses.replace(population.population, errors=errors)
    settings = dataclasses.replace(SETTINGS, seed=repeat)
    return refine_population(simulated, population.candidates, settings).proposals


def main() -> None:
    """Print the shares of repeats with any, a right, an opposite and another proposal, for each selected case."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    parts = sys.argv[2:] or [""]
    cases = {name: case for name, case in CASES.items() if any(part in name for part in parts)}
    print(f"{repeats} populations each, standard error at most {np.sqrt(0.25 / repeats):.1%}")
    print(f"{'':<56} {'any':>8} {'right':>8} {'opposite':>8} {'other':>8} {'CPU s':>6}")
    for name, case in cases.items():
        start = time.process_time()
        found = [proposals(case, repeat) for repeat in range(repeats)]
        right = [sum(proposal.startswith(case.right) for proposal in names) for names in found]
        wrong = [sum(proposal.startswith(case.wrong) for proposal in names) for names in found]
        other = [len(names) - r - w for names, r, w in zip(found, right, wrong, strict=True)]
        shares = [np.mean(np.array(counts) > 0) for counts in ([len(names) for names in found], right, wrong, other)]
        columns = " ".join(f"{share:>8.1%}" for share in shares)
        print(f"{name:<56} {columns} {time.process_time() - start:>6.0f}", flush=True)


if __name__ == "__main__":
    main()
