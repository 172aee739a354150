"""Simulate how often each 95% band and interval of the analysis contains the true value.

Run with `make bench` (some 4 minutes of processor time), or directly; ``--draws 200`` is faster and less precise.
README.md beside this file has the latest results.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.complexity_weights import complexity_weights
from designspace.analysis.difference import difference
from designspace.analysis.edf import EDF, edf
from designspace.analysis.effects import Estimate, best_of_k, mean_difference, median_difference, probability_lower
from designspace.analysis.paired import kendall, mean_paired_difference, spearman

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

Errors = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Errors]

SIZES = (16, 50, 100, 500)
SHIFT = 1.5
"""Difference between the errors of B and A, in percentage points."""
CHANCE = 90.0
TRUTH_SIZE = 2_000_000
"""Number of networks that represent a whole space, because not all true values have a closed form."""
GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "regnetx_400mf_imagenet_25_epochs.csv"
RESAMPLES = 400


def golden_errors() -> Errors:
    """Return the errors of 32 real networks in percent."""
    with GOLDEN.open(newline="") as file:
        return np.array([float(row["top1_error"]) for row in csv.DictReader(file)])


def populations() -> dict[str, Draw]:
    """Return spaces with known distributions of errors."""
    golden = golden_errors()

    def failing(rng: np.random.Generator, n: int) -> Errors:
        return np.where(rng.uniform(size=n) < 0.1, CHANCE, rng.normal(40, 3, n))

    return {
        "normal": lambda rng, n: rng.normal(40, 3, n),
        "skewed": lambda rng, n: 35 + rng.lognormal(1.5, 0.6, n),
        "golden": lambda rng, n: rng.choice(golden, n),
        "failing": failing,
    }


def shifted(errors: Errors) -> Errors:
    """Return the errors of a slightly worse space; failed networks stay at chance level."""
    return np.where(errors == CHANCE, CHANCE, errors + SHIFT)


@dataclass(frozen=True)
class Truth:
    """True values for a space and its shifted version, computed from `TRUTH_SIZE` networks."""

    a: EDF
    b: EDF
    mean: float
    median: float
    best: dict[int, float]
    """Probability that the best of k networks of A is better, by k."""
    ks: tuple[float, float, float]
    """Spearman's rho, Kendall's tau and the mean difference of pairs."""


def truth_of(draw: Draw) -> Truth:
    """Return the true values for a space."""
    rng = np.random.default_rng(987)
    a, b = draw(rng, TRUTH_SIZE), shifted(draw(rng, TRUTH_SIZE))
    best = {k: float(best_of_k(a, b, k).probability[0]) for k in (1, 2, 5, 10, 50)}
    x, y = paired(draw, rng, TRUTH_SIZE // 10)
    pairs = spearman(x, y).value, kendall(x, y).value, float(np.mean(x - y))
    return Truth(edf(a), edf(b), float(a.mean() - b.mean()), float(np.median(a) - np.median(b)), best, pairs)


def paired(draw: Draw, rng: np.random.Generator, n: int) -> tuple[Errors, Errors]:
    """Return errors of the same networks under two recipes.

    The second recipe is three points better on average; networks that fail under the first also fail under the second.
    """
    x = draw(rng, n)
    return x, np.where(x == CHANCE, CHANCE, x - 3 + rng.normal(0, 1.5, n))


def band_contains(curve: EDF, half_width: float, truth: Callable[[Errors], Errors]) -> bool:
    """Return whether a band around an EDF contains the true curve at each step and just before it."""
    return _farthest(curve.errors, curve.probabilities, truth) <= half_width


def _farthest(errors: Errors, values: Errors, truth: Callable[[Errors], Errors]) -> float:
    """Return the largest distance between a step function and a true curve; errors of steps may repeat."""
    distinct, last = np.unique(errors[::-1], return_index=True)
    at = values[errors.size - 1 - last]
    before = np.concatenate([[0.0], at[:-1]])
    left = truth(np.nextafter(distinct, -np.inf))
    return max(float(np.abs(at - truth(distinct)).max()), float(np.abs(before - left).max()))


def interval_contains(estimate: Estimate, true: float) -> bool:
    """Return whether an interval contains the true value."""
    return estimate.low - 1e-12 <= true <= estimate.high + 1e-12


def coverage_of_draw(draw: Draw, truth: Truth, n: int, rng: np.random.Generator, seed: int) -> dict[str, bool]:
    """Return, for one pair of populations of n networks, whether each band and interval contains the true value."""
    a, b = draw(rng, n), shifted(draw(rng, n))
    first, second = edf(a), edf(b)
    covered = {
        "EDF, DKW": band_contains(first, first.band().half_width, truth.a),
        "EDF, bootstrap": band_contains(
            first, first.bootstrap_band(resamples=RESAMPLES, seed=seed).half_width, truth.a
        ),
    }
    # Errors here do not depend on complexity, so the true curve of the normalised EDF is the same.
    weighted = edf(a, complexity_weights(rng.uniform(size=n), 8, (0, 1)))
    band = weighted.bootstrap_band(resamples=RESAMPLES, seed=seed)
    covered["EDF, 8 bins"] = band_contains(weighted, band.half_width, truth.a)
    curve = difference(first, second, resamples=RESAMPLES, seed=seed)
    farthest = _farthest(curve.errors, curve.values, lambda errors: truth.a(errors) - truth.b(errors))
    covered["difference of EDFs"] = farthest <= curve.half_width
    covered["mean"] = interval_contains(mean_difference(a, b), truth.mean)
    covered["median"] = interval_contains(median_difference(a, b), truth.median)
    covered["P(A better)"] = interval_contains(probability_lower(a, b), truth.best[1])
    for k in (2, 5, 10, 50):
        if 10 * k <= n:
            best = best_of_k(a, b, k)
            covered[f"best of {k}"] = bool(best.low[0] <= truth.best[k] <= best.high[0])
    x, y = paired(draw, rng, n)
    estimates = (spearman(x, y), kendall(x, y), mean_paired_difference(x, y))
    for name, estimate, true in zip(("Spearman", "Kendall", "paired mean"), estimates, truth.ks, strict=True):
        covered[name] = interval_contains(estimate, true)
    return covered


def main() -> None:
    """Print one table per space."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000, help="pairs of populations of each size")
    draws = parser.parse_args().draws
    print_machine()
    start = time.perf_counter()
    print(
        f"coverage of 95% bands and intervals in percent, over {draws} draws (standard error "
        f"{100 * (0.95 * 0.05 / draws) ** 0.5:.1f}); * is outside 94 to 96"
    )
    for name, draw in populations().items():
        truth = truth_of(draw)
        columns = {}
        for n in SIZES:
            rng = np.random.default_rng([n, 5])
            rows = [coverage_of_draw(draw, truth, n, rng, seed) for seed in range(draws)]
            columns[n] = {key: 100 * float(np.mean([row[key] for row in rows])) for key in rows[0]}
        print(f"\n{name:<20}" + "".join(f"{f'n = {n}':>10}" for n in SIZES))
        for key in columns[SIZES[-1]]:
            cells = (columns[n].get(key) for n in SIZES)
            texts = ("-" if cell is None else f"{cell:.1f}{' ' if 94 <= cell <= 96 else '*'}" for cell in cells)
            print(f"{key:<20}" + "".join(f"{text:>10}" for text in texts), flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
