"""Does the analysis ask for the right number of further networks? By simulation of spaces whose difference is known.

Run with `make bench`, or alone; `--draws 100` is a quick look. For each pair of populations that `networks_needed`
gives a range, networks are added to both, once, and the KS test is repeated at 5%. Columns:

- told: pairs that are given a range, per cent of all pairs;
- more, most: median of both ends of the range;
- at more, at most: of the pairs that are told, those that are decided with this number of further networks, per cent.

Last figures, over 600 draws (standard error 2 to 4 per cent where a third are told); d is the difference of the means
in standard deviations:

    errors, n, d / sd        told  more  most  at more  at most
    normal, 48, 0              25    44   130       11        7
    normal, 48, 0.25           32    38   110       34       56
    normal, 48, 0.5            31    23    60       64       87
    normal, 48, 0.8            13    15    43       79       97
    normal, 100, 0             24   110   290       10        8
    normal, 100, 0.25          41    73   190       55       82
    normal, 100, 0.5           15    45   115       84       98
    normal, 100, 0.8            0    31    76      100      100
    skewed, 48, 0              19    44   130       11       10
    skewed, 48, 0.25           39    28    72       48       81
    skewed, 48, 0.5            10    15    45       75       98
    skewed, 48, 0.8             0
    skewed, 100, 0             23   120   370        4        6
    skewed, 100, 0.25          31    55   160       77       96
    skewed, 100, 0.5            0    26    78      100      100
    skewed, 100, 0.8            0
    discrete, 48, 0            12    53   140       12        5
    discrete, 48, 0.25         26    49   140       35       51
    discrete, 48, 0.5          40    35    85       66       88
    discrete, 48, 0.8          16    25    63       94       99
    discrete, 100, 0           12   130   390        3        1
    discrete, 100, 0.25        36    95   260       46       80
    discrete, 100, 0.5         23    70   185       89       99
    discrete, 100, 0.8          1    42   109       83      100

    all of 0.25                34    53   150       49       76
    all normal                 22    37   110       58       80
    all that differ            20    41   110       60       83
    all of 0.5                 20    33    85       73       92
    all of 0.8                  5    20    50       87       98
    all skewed                 13    32    90       63       89
    all discrete               24    50   130       62       82

Of the pairs of spaces that differ and are told a range, 83% are decided with its upper end: 80 to 89% by the shape of
the errors, but 76, 92 and 98% by their distance. No rule can keep 70 to 90% at every distance: the pairs that are told
a range have observed distances in a narrow band, whatever the true one is. Of the pairs of equal spaces 12 to 25% are
told a range; 1 to 10% of them are then "decided", wrongly. It takes some 2 minutes of processor time.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.difference import ks_test
from designspace.analysis.power import networks_needed

Errors = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Errors]

SIZES = (48, 100)
DISTANCES = (0.0, 0.25, 0.5, 0.8)
"""How much higher the errors of B are, in standard deviations."""
LEVEL = 0.05
SD = 3.0
"""Standard deviation of normal errors, percentage points."""
SHAPE = 0.6
"""Of lognormal errors: skewness 2.3."""


def populations() -> dict[str, tuple[Draw, float]]:
    """Spaces of known errors, each with its standard deviation; discrete ones are those of 100 test images."""
    sd_skewed = math.sqrt((math.exp(SHAPE**2) - 1) * math.exp(3 + SHAPE**2))
    return {
        "normal": (lambda rng, n: rng.normal(40, SD, n), SD),
        "skewed": (lambda rng, n: 35 + rng.lognormal(1.5, SHAPE, n), sd_skewed),
        "discrete": (lambda rng, n: rng.normal(40, SD, n), SD),
    }


@dataclass(frozen=True)
class Told:
    """One pair that was given a range."""

    more: int
    most: int
    decided_at_more: bool
    decided_at_most: bool


def simulate(kind: str, n: int, distance: float, draws: int) -> list[Told]:
    """Return the pairs of populations that are told a range, with what became of them."""
    draw, sd = populations()[kind]
    rng = np.random.default_rng([list(populations()).index(kind), SIZES.index(n), DISTANCES.index(distance)])

    def errors(size: int, shift: float) -> Errors:
        values = draw(rng, size) + shift
        return np.round(values) if kind == "discrete" else values

    told = []
    for seed in range(draws):
        a, b = errors(n, 0.0), errors(n, distance * sd)
        needed = networks_needed(a, b, LEVEL, seed=seed)
        if needed.verdict != "more" or needed.more is None or needed.most is None:
            continue
        a, b = (np.concatenate([x, errors(needed.most, s)]) for x, s in ((a, 0.0), (b, distance * sd)))
        decided = [
            ks_test(np.sort(a[: n + more]), np.sort(b[: n + more])).p < LEVEL for more in (needed.more, needed.most)
        ]
        told.append(Told(needed.more, needed.most, *decided))
    return told


def row(name: str, told: list[Told], pairs: int) -> str:
    """Return one line of the table."""
    if not told:
        return f"{name:<24}{0:>5}"
    ends = [np.median([getattr(pair, end) for pair in told]) for end in ("more", "most")]
    decided = [100 * np.mean([getattr(pair, f"decided_at_{end}") for pair in told]) for end in ("more", "most")]
    numbers = [100 * len(told) / pairs, *ends, *decided]
    return f"{name:<24}" + "".join(
        f"{value:>{width}.0f}" for value, width in zip(numbers, (5, 6, 6, 9, 9), strict=True)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=600, help="pairs of populations of each kind, size and distance")
    draws = parser.parse_args().draws
    begun = time.process_time()
    groups: dict[str, list[list[Told]]] = {}
    print(f"{'errors, n, d / sd':<24} told  more  most  at more  at most")
    for kind, n, distance in itertools.product(populations(), SIZES, DISTANCES):
        told = simulate(kind, n, distance, draws)
        print(row(f"{kind}, {n}, {distance:g}", told, draws), flush=True)
        for group in (f"all of {distance:g}", f"all {kind}", "all that differ") if distance else ():
            groups.setdefault(group, []).append(told)
    print()
    for group, cells in groups.items():
        print(row(group, [pair for told in cells for pair in told], draws * len(cells)))
    print(f"{time.process_time() - begun:.0f} s of processor time")


if __name__ == "__main__":
    main()
