"""Simulate how often several spaces are called different at equal cost, by all pairs and quantities tested together.

Run with ``--draws 200`` for a faster and less precise table. README.md beside this file has the latest results.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from designspace.analysis.matched import compare_matched
from designspace.analysis.p_values import holm
from designspace.analysis.results import Results

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

COSTS = ("flops", "params", "activations")
LEVEL = 0.05
NOISE = 0.15
"""Standard deviation of ln params and ln activations around ln flops, on which alone errors depend."""


@dataclass(frozen=True)
class Case:
    """Spaces whose networks have errors of 50 - 4 ln flops + N(0, 1.5) points at ln flops of N(., 0.5)."""

    spaces: int
    n: int
    """Number of networks of each space."""
    shift: float
    """Distance of each space from the next in ln flops."""
    gain: float = 0.0
    """Percentage points by which the first space is better at equal flops."""
    costs: tuple[str, ...] = COSTS
    shared: float = 0.0
    """Correlation of the errors of networks with the same index; above 0, these also have the same flops."""


CASES = (
    Case(3, 50, 0.0),
    Case(3, 50, 0.3),
    Case(3, 50, 0.6),
    Case(3, 100, 0.3),
    Case(5, 50, 0.0),
    Case(5, 50, 0.3),
    Case(3, 500, 0.3),
    Case(3, 50, 0.0, shared=0.8),
    Case(3, 100, 0.3, gain=1.0),
    Case(3, 100, 0.3, gain=1.0, costs=("flops",)),
)


def populations(case: Case, rng: np.random.Generator) -> list[Results]:
    """Return a population of each space."""
    together, same_logs = rng.normal(0, 1, case.n), rng.normal(0, 0.5, case.n)
    results = []
    for index in range(case.spaces):
        logs = same_logs if case.shared else rng.normal(index * case.shift, 0.5, case.n)
        noise = np.sqrt(case.shared) * together + np.sqrt(1 - case.shared) * rng.normal(0, 1, case.n)
        errors = 50 - 4 * logs + 1.5 * noise - (case.gain if index == 0 else 0.0)
        costs = {name: 1e6 * np.exp(logs + rng.normal(0, NOISE, case.n)) for name in COSTS[1:]}
        results.append(Results.from_errors(f"S{index}", errors, 10, {"flops": 1e6 * np.exp(logs), **costs}))
    return results


def claims(case: Case, rng: np.random.Generator) -> tuple[bool, float]:
    """Return whether a claim about two equal spaces is made, and the share of the tests of the first two that claim."""
    pairs = list(itertools.combinations(populations(case, rng), 2))
    tests = [compare_matched(a, b, cost, LEVEL) for a, b in pairs for cost in case.costs]
    is_claimed = np.array(holm([test.p for test in tests])) < LEVEL
    is_true = np.array([case.gain > 0 and test.a == "S0" for test in tests])
    return bool(is_claimed[~is_true].any()), float(is_claimed[: len(case.costs)].mean())


def main() -> None:
    """Print a row per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print_machine()
    print("| spaces | networks | apart in ln c | gain | quantities | shared | wrong claims | power |\n|" + "---|" * 8)
    for case in CASES:
        rng = np.random.default_rng(0)
        wrong, power = np.transpose([claims(case, rng) for _ in range(draws)])
        found = f"{100 * power.mean():.0f}%" if case.gain else ""
        print(
            f"| {case.spaces} | {case.n} | {case.shift:g} | {case.gain:g} | {len(case.costs)} | {case.shared:g} "
            f"| {100 * wrong.mean():.1f}% | {found} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
