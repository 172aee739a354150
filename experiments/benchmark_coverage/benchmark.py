"""Does 95% mean 95%? How often each band and interval of the analysis holds the truth, by simulation.

Run with `make bench`, or alone; `--draws 200` is a quick look. Last figures, per cent, over 2,000 draws (standard error
0.5; * is outside 94 to 96):

    normal                  n = 16    n = 50   n = 100   n = 500
    EDF, DKW                 96.0      96.0      96.4*     94.7
    EDF, bootstrap           95.8      95.9      96.0      94.5
    EDF, 8 bins              98.0*     96.5*     96.5*     94.3
    difference of EDFs       95.2      94.9      95.5      95.2
    mean                     95.5      94.8      95.5      95.2
    median                   95.3      94.8      95.0      94.8
    P(A better)              98.0*     95.5      95.5      94.9
    best of 2                    -     95.5      95.3      95.2
    best of 5                    -     98.6*     97.4*     95.6
    best of 10                   -         -     98.2*     95.4
    best of 50                   -         -         -     99.0*
    Spearman                 98.0*     95.8      95.8      94.2
    Kendall                  99.1*     96.2*     96.2*     94.4
    paired mean              95.2      94.8      95.5      95.9

    skewed                  n = 16    n = 50   n = 100   n = 500
    EDF, DKW                 96.0      96.0      96.4*     94.7
    EDF, bootstrap           95.8      95.9      96.0      94.5
    EDF, 8 bins              98.0*     96.5*     96.5*     94.3
    difference of EDFs       95.1      95.0      95.7      95.2
    mean                     96.0*     95.0      95.9      94.5
    median                   96.0      95.0      95.3      94.8
    P(A better)              98.2*     95.9      95.9      94.8
    best of 2                    -     97.0*     95.6      94.4
    best of 5                    -     98.7*     98.0*     95.6
    best of 10                   -         -    100.0*     97.7*
    best of 50                   -         -         -    100.0*
    Spearman                 97.7*     94.9      95.5      94.8
    Kendall                  98.8*     95.8      95.7      95.0
    paired mean              95.2      94.8      95.5      95.9

    golden                  n = 16    n = 50   n = 100   n = 500
    EDF, DKW                 96.9*     97.4*     97.0*     96.9*
    EDF, bootstrap           96.0      95.1      94.7      94.1
    EDF, 8 bins              96.2*     95.0      95.1      94.5
    difference of EDFs       95.0      94.5      94.9      94.1
    mean                     94.8      95.1      95.2      94.3
    median                   92.2*     90.5*     92.6*     99.0*
    P(A better)              98.1*     95.7      96.0      94.5
    best of 2                    -     98.0*     96.9*     94.2
    best of 5                    -    100.0*    100.0*     97.5*
    best of 10                   -         -    100.0*    100.0*
    best of 50                   -         -         -    100.0*
    Spearman                 96.4*     95.1      95.0      95.2
    Kendall                  97.5*     95.6      95.7      95.4
    paired mean              95.0      94.8      95.5      93.8*

    failing                 n = 16    n = 50   n = 100   n = 500
    EDF, DKW                 96.5*     96.1*     95.7      95.5
    EDF, bootstrap           96.2*     96.0*     95.5      95.4
    EDF, 8 bins              97.7*     96.5*     96.0      95.6
    difference of EDFs       95.7      96.0      94.8      94.7
    mean                     96.9*     95.2      95.8      95.2
    median                   97.4*     95.9      95.5      94.8
    P(A better)              98.1*     96.3*     95.3      94.8
    best of 2                    -     96.5*     95.3      94.8
    best of 5                    -     99.1*     97.5*     95.0
    best of 10                   -         -     99.1*     94.4
    best of 50                   -         -         -     98.3*
    Spearman                 97.0*     95.5      95.0      94.5
    Kendall                  98.2*     96.4*     95.2      94.8
    paired mean              95.3      95.0      94.8      94.5

What misses, and why: for 16 networks, for k near n / 10 and within bins the intervals are wide on purpose; "golden" has
32 distinct errors, so that the median of its space is one of two, which no interval for continuous errors can know.
It takes some 4 minutes of processor time.
"""

from __future__ import annotations

import argparse
import csv
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

Errors = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Errors]

SIZES = (16, 50, 100, 500)
SHIFT = 1.5
"""B's errors are so much higher, percentage points."""
CHANCE = 90.0
MANY = 2_000_000
"""Networks that stand for the whole space where the truth has no closed form."""
GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "regnetx_400mf_imagenet_25_epochs.csv"
RESAMPLES = 400


def golden_errors() -> Errors:
    """Errors of 32 real networks, per cent."""
    with GOLDEN.open(newline="") as file:
        return np.array([float(row["top1_error"]) for row in csv.DictReader(file)])


def populations() -> dict[str, Draw]:
    """Spaces of known errors."""
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
    """The same space a little worse; what failed stays at chance level."""
    return np.where(errors == CHANCE, CHANCE, errors + SHIFT)


@dataclass(frozen=True)
class Truth:
    """What a space and its shifted one are like: from very many networks."""

    a: EDF
    b: EDF
    mean: float
    median: float
    best: dict[int, float]
    """P(best of k of A is better) by k."""
    ks: tuple[float, float, float]
    """Spearman's rho, Kendall's tau and the mean difference of pairs."""


def truth_of(draw: Draw) -> Truth:
    """The truth about a space."""
    rng = np.random.default_rng(987)
    a, b = draw(rng, MANY), shifted(draw(rng, MANY))
    best = {k: float(best_of_k(a, b, k).probability[0]) for k in (1, 2, 5, 10, 50)}
    x, y = paired(draw, rng, MANY // 10)
    pairs = spearman(x, y).value, kendall(x, y).value, float(np.mean(x - y))
    return Truth(edf(a), edf(b), float(a.mean() - b.mean()), float(np.median(a) - np.median(b)), best, pairs)


def paired(draw: Draw, rng: np.random.Generator, n: int) -> tuple[Errors, Errors]:
    """The same networks under two recipes: three points better with noise; a failed one fails under both."""
    x = draw(rng, n)
    return x, np.where(x == CHANCE, CHANCE, x - 3 + rng.normal(0, 1.5, n))


def holds(curve: EDF, half_width: float, truth: Callable[[Errors], Errors]) -> bool:
    """Whether a band of that half width holds the true curve, at each of its steps and just before it."""
    return _farthest(curve.errors, curve.probabilities, truth) <= half_width


def _farthest(errors: Errors, values: Errors, truth: Callable[[Errors], Errors]) -> float:
    """Largest distance of a step function from a true curve. Steps are at distinct errors or repeated ones."""
    distinct, last = np.unique(errors[::-1], return_index=True)
    at = values[errors.size - 1 - last]
    before = np.concatenate([[0.0], at[:-1]])
    left = truth(np.nextafter(distinct, -np.inf))
    return max(float(np.abs(at - truth(distinct)).max()), float(np.abs(before - left).max()))


def covered(one: Estimate, true: float) -> bool:
    """Whether an interval holds the truth."""
    return one.low - 1e-12 <= true <= one.high + 1e-12


def one_draw(draw: Draw, truth: Truth, n: int, rng: np.random.Generator, seed: int) -> dict[str, bool]:
    """Which bands and intervals hold the truth, of one pair of populations of n networks."""
    a, b = draw(rng, n), shifted(draw(rng, n))
    first, second = edf(a), edf(b)
    found = {
        "EDF, DKW": holds(first, first.band().half_width, truth.a),
        "EDF, bootstrap": holds(first, first.bootstrap_band(resamples=RESAMPLES, seed=seed).half_width, truth.a),
    }
    # Errors here do not depend on complexity, so the normalised EDF has the same truth.
    weighted = edf(a, complexity_weights(rng.uniform(size=n), 8, (0, 1)))
    band = weighted.bootstrap_band(resamples=RESAMPLES, seed=seed)
    found["EDF, 8 bins"] = holds(weighted, band.half_width, truth.a)
    apart = difference(first, second, resamples=RESAMPLES, seed=seed)
    farthest = _farthest(apart.errors, apart.values, lambda errors: truth.a(errors) - truth.b(errors))
    found["difference of EDFs"] = farthest <= apart.half_width
    found["mean"] = covered(mean_difference(a, b), truth.mean)
    found["median"] = covered(median_difference(a, b), truth.median)
    found["P(A better)"] = covered(probability_lower(a, b), truth.best[1])
    for k in (2, 5, 10, 50):
        if 10 * k <= n:
            best = best_of_k(a, b, k)
            found[f"best of {k}"] = bool(best.low[0] <= truth.best[k] <= best.high[0])
    x, y = paired(draw, rng, n)
    estimates = (spearman(x, y), kendall(x, y), mean_paired_difference(x, y))
    for name, one, true in zip(("Spearman", "Kendall", "paired mean"), estimates, truth.ks, strict=True):
        found[name] = covered(one, true)
    return found


def main() -> None:
    """Print one table for each space."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    start = time.perf_counter()
    print(
        f"coverage of 95% bands and intervals, per cent, over {draws} draws (standard error "
        f"{100 * (0.95 * 0.05 / draws) ** 0.5:.1f}); * is outside 94 to 96"
    )
    for name, draw in populations().items():
        truth = truth_of(draw)
        columns = {}
        for n in SIZES:
            rng = np.random.default_rng([n, 5])
            rows = [one_draw(draw, truth, n, rng, seed) for seed in range(draws)]
            columns[n] = {key: 100 * float(np.mean([row[key] for row in rows])) for key in rows[0]}
        print(f"\n{name:<20}" + "".join(f"{f'n = {n}':>10}" for n in SIZES))
        for key in columns[SIZES[-1]]:
            cells = (columns[n].get(key) for n in SIZES)
            texts = ("-" if one is None else f"{one:.1f}{' ' if 94 <= one <= 96 else '*'}" for one in cells)
            print(f"{key:<20}" + "".join(f"{text:>10}" for text in texts), flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
