"""Simulate whether `networks_needed` gives the right number of further networks, for spaces with known differences.

Run with `make bench` (some 2 minutes of processor time), or directly; ``--draws 100`` is faster and less precise. For
each pair of populations that is given a range, networks are added to both, once, and the KS test is repeated at 5%.
README.md beside this file explains the columns and has the latest results.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.difference import ks_test
from designspace.analysis.power import networks_needed

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

Errors = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Errors]

SIZES = (48, 100)
DISTANCES = (0.0, 0.25, 0.5, 0.8)
"""Differences between the errors of B and A, in standard deviations."""
LEVEL = 0.05
SD = 3.0
"""Standard deviation of normal errors, in percentage points."""
SHAPE = 0.6
"""Shape parameter of lognormal errors, which gives a skewness of 2.3."""


def populations() -> dict[str, tuple[Draw, float]]:
    """Return spaces with known errors and their standard deviations; discrete errors are those on 100 test images."""
    sd_skewed = math.sqrt((math.exp(SHAPE**2) - 1) * math.exp(3 + SHAPE**2))
    return {
        "normal": (lambda rng, n: rng.normal(40, SD, n), SD),
        "skewed": (lambda rng, n: 35 + rng.lognormal(1.5, SHAPE, n), sd_skewed),
        "discrete": (lambda rng, n: rng.normal(40, SD, n), SD),
    }


@dataclass(frozen=True)
class GivenRange:
    """The range of further networks given for one pair, and whether each of its ends decided the comparison."""

    more: int
    most: int
    decided_at_more: bool
    decided_at_most: bool


def simulate(kind: str, n: int, distance: float, draws: int) -> list[GivenRange]:
    """Return the ranges given for pairs of populations, and whether they decided the comparison."""
    draw, sd = populations()[kind]
    rng = np.random.default_rng([list(populations()).index(kind), SIZES.index(n), DISTANCES.index(distance)])

    def errors(size: int, shift: float) -> Errors:
        values = draw(rng, size) + shift
        return np.round(values) if kind == "discrete" else values

    ranges = []
    for seed in range(draws):
        a, b = errors(n, 0.0), errors(n, distance * sd)
        needed = networks_needed(a, b, LEVEL, seed=seed)
        if needed.verdict != "more" or needed.more is None or needed.most is None:
            continue
        a, b = (np.concatenate([x, errors(needed.most, s)]) for x, s in ((a, 0.0), (b, distance * sd)))
        decided = [
            ks_test(np.sort(a[: n + more]), np.sort(b[: n + more])).p < LEVEL for more in (needed.more, needed.most)
        ]
        ranges.append(GivenRange(needed.more, needed.most, *decided))
    return ranges


def row(name: str, ranges: list[GivenRange], pairs: int) -> str:
    """Return one line of the table."""
    if not ranges:
        return f"{name:<24}{0:>5}"
    ends = [np.median([getattr(given, end) for given in ranges]) for end in ("more", "most")]
    decided = [100 * np.mean([getattr(given, f"decided_at_{end}") for given in ranges]) for end in ("more", "most")]
    numbers = [100 * len(ranges) / pairs, *ends, *decided]
    return f"{name:<24}" + "".join(
        f"{value:>{width}.0f}" for value, width in zip(numbers, (5, 6, 6, 9, 9), strict=True)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=600, help="pairs of populations of each kind, size and distance")
    draws = parser.parse_args().draws
    print_machine()
    start = time.process_time()
    groups: dict[str, list[list[GivenRange]]] = {}
    print(f"{'errors, n, d / sd':<24}range  more  most  at more  at most")
    for kind, n, distance in itertools.product(populations(), SIZES, DISTANCES):
        ranges = simulate(kind, n, distance, draws)
        print(row(f"{kind}, {n}, {distance:g}", ranges, draws), flush=True)
        for group in (f"all of {distance:g}", f"all {kind}", "all that differ") if distance else ():
            groups.setdefault(group, []).append(ranges)
    print()
    for group, cells in groups.items():
        print(row(group, [given for ranges in cells for given in ranges], draws * len(cells)))
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
