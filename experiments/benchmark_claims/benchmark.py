"""Simulate how often a claim about two equal spaces is false if a sweep is not ideal, and the power of the checks.

Run with `make bench` (some minutes), with a number of repeats (``python benchmark.py 400``), or for the cases whose
names contain a text (``python benchmark.py 400 machine``). Each line is the share of repeats in which
`designspace.analysis.compare_all` claims a difference between two populations at the level of 5%. Both are drawn from
one space, except in the cases of power. The latest results are in docs/claims.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from designspace.analysis.comparison import compare, compare_all
from designspace.analysis.matched import match_all
from designspace.analysis.replaying import run_course
from designspace.analysis.results import Results
from designspace.analysis.standings import continues
from designspace.analysis.stopping import StoppingRule
from designspace.trials.fidelity import Fidelity, Standings

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

N = 100
LOOKS = 20


def results(
    name: str,
    errors: np.ndarray,
    *,
    ids: object = None,
    unfinished: object = (),
    killed: object = (),
    **columns: object,
) -> Results:
    """Return results with the given errors.

    ``unfinished`` are the positions of waiting trials, ``killed`` those of trials that ran out of memory.
    """
    table = pd.DataFrame({"id": [f"{name} {i}" for i in range(len(errors))] if ids is None else ids})
    blank = {"flops": 4e6, "params": 5e3, "activations": 3e3, "radix": 0, "seed": 0, "epochs": 10}
    table = table.assign(**blank, train_s=60.0, final_error=errors, best_error=errors, device="cpu", detail="")
    table = table.assign(status="done", reason="", **columns)
    is_waiting, is_killed = (table.index.isin(np.asarray(positions)) for positions in (unfinished, killed))
    table.loc[is_waiting, "status"] = "waiting"
    table.loc[is_killed, ["status", "reason"]] = ["failed", "out of memory"]
    table.loc[is_waiting | is_killed, ["final_error", "best_error"]] = np.nan
    return Results.from_table(name, table, 10)


def one_look(rng: np.random.Generator, gain: float = 0.0) -> bool:
    """Compare two whole populations; ``gain`` is the difference in standard deviations."""
    a, b = rng.normal(40, 2, (2, N))
    return compare(results("A", a), results("B", b + 2 * gain)).differs


def many_looks(rng: np.random.Generator, gain: float = 0.0) -> bool:
    """Compare two sweeps 20 times while they run, and stop at the first claim."""
    a, b = rng.normal(40, 2, (2, N))
    ends = np.linspace(0, N, LOOKS + 1).astype(int)[1:]
    return any(
        compare(results("A", a, unfinished=range(end, N)), results("B", b + 2 * gain, unfinished=range(end, N))).differs
        for end in ends
    )


def with_rule(rng: np.random.Generator, spaces: int, gain: float = 0.0) -> bool:
    """Train equal spaces, or all but one equal, with 20 looks that may also give up (`StoppingRule`)."""
    errors = rng.normal(40, 2, (spaces, N))
    errors[-1] -= 2 * gain
    course = run_course([results(f"S{k}", each) for k, each in enumerate(errors)], StoppingRule())
    return any(each.comparison.better for each in course.verdicts)


def stopped_early(rng: np.random.Generator, correlation: float, gain: float = 0.0, **rule: float) -> bool:
    """Compare sweeps in which trials were stopped early, by errors that correlate with the final ones."""
    sides = []
    for name, shift in (("A", 0.0), ("B", 2 * gain)):
        final, noise = rng.normal(0, 1, (2, N))
        early = correlation * final + np.sqrt(1 - correlation**2) * noise
        fidelity = Fidelity(epochs=5, **rule)
        keys = [str(number) for number in range(N)]
        decided = fidelity.decide(dict(zip(keys, early, strict=True)), int(rng.integers(2**31)))
        sampled, promising = zip(*map(Standings(fidelity, decided).columns, keys), strict=True)
        sides.append(results(name, 40 + 2 * final + shift, sampled=sampled, promising=promising))
        stopped = ~continues(sides[-1].table)
        sides[-1].table.loc[stopped, "status"] = "stopped"
        sides[-1].table.loc[stopped, ["final_error", "best_error"]] = np.nan
    return compare(*sides).differs


def censored(rng: np.random.Generator, strength: float, batches: int, part: float) -> bool:
    """Compare a partly finished sweep with a finished one, if expensive networks have lower errors.

    The partly finished sweep trains batches of trials side by side.
    """
    size = rng.normal(0, 1, (2, N))
    errors = 40 - 2 * np.sqrt(strength) * size + 2 * np.sqrt(1 - strength) * rng.normal(0, 1, (2, N))
    cost = np.exp(0.6 * size[0])
    ends = np.concatenate([cost[batch::batches].cumsum() for batch in range(batches)])
    positions = np.concatenate([np.arange(N)[batch::batches] for batch in range(batches)])
    late = positions[ends > np.quantile(ends, part)]
    flops = np.exp(14 + 0.6 * size)
    a, b = results("A", errors[0], unfinished=late, flops=flops[0]), results("B", errors[1], flops=flops[1])
    return compare(a, b).differs


def shared(rng: np.random.Generator, part: float, gain: float = 0.0) -> bool:
    """Compare populations that share some networks, whose errors have a correlation of 0.9."""
    networks = rng.normal(0, np.sqrt(0.9), (2, N))
    common = int(part * N)
    networks[1, :common] = networks[0, :common]
    a, b = 40 + 2 * (networks + rng.normal(0, np.sqrt(0.1), (2, N)))
    ids = [[f"n{i}" if i < common else f"{name}{i}" for i in range(N)] for name in "AB"]
    return compare(results("A", a, ids=ids[0]), results("B", b + 2 * gain, ids=ids[1])).differs


def repeated(rng: np.random.Generator, seeds: int, reliability: float) -> bool:
    """Compare populations of 32 networks, trained with several seeds."""
    sides = []
    for name in "AB":
        networks = rng.normal(0, np.sqrt(reliability), 32)
        errors = 40 + 2 * (networks + rng.normal(0, np.sqrt(1 - reliability), (seeds, 32)))
        ids, seed = [f"{name}{i}" for i in range(32)] * seeds, np.repeat(np.arange(seeds), 32)
        trial = [f"{id_}@{s}" for id_, s in zip(ids, seed, strict=True)]
        sides.append(results(name, errors.ravel(), ids=ids, seed=seed, trial=trial))
    return compare(*sides).differs


def machine(rng: np.random.Generator, part: float, *, largest: bool, gain: float = 0.0) -> bool:
    """Compare if the machine kills some of A's trials, at random or the largest; cost explains half of the variance."""
    size = rng.normal(0, 1, (2, N))
    errors = 40 - 2 * np.sqrt(0.5) * size + 2 * np.sqrt(0.5) * rng.normal(0, 1, (2, N))
    count = int(part * N)
    killed = np.argsort(-size[0])[:count] if largest else rng.permutation(N)[:count]
    flops = np.exp(14 + 0.6 * size)
    sides = (
        results("A", errors[0] - 2 * gain, killed=killed, flops=flops[0]),
        results("B", errors[1], flops=flops[1]),
    )
    pairs = compare_all(sides)
    matched, _ = match_all(sides, pairs)  # at equal flops, where the loss depends on them
    return any(pair.differs for pair in pairs) or any(pair.better for pair in matched)


CASES: dict[str, Callable[[np.random.Generator], bool]] = {
    "one look": one_look,
    "20 looks": many_looks,
    **{f"20 looks with giving up, {n} spaces": lambda rng, n=n: with_rule(rng, n) for n in (2, 4)},
    **{
        f"stopped early, correlation {r:g}, {k:.0%} kept, {s:.0%} sampled": lambda rng, r=r, k=k, s=s: stopped_early(
            rng, r, keep=k, sample=s
        )
        for r, k, s in ((0.5, 0.5, 0.25), (0.9, 0.5, 0.25), (0.9, 0.25, 0.1))
    },
    **{
        f"half done, {batches} batches, R2 {strength:g}": lambda rng, s=strength, b=batches: censored(rng, s, b, 0.5)
        for batches in (2, 16, 50, 100)
        for strength in (0.2, 0.7)
    },
    **{f"{part:.0%} shared": lambda rng, p=part: shared(rng, p) for part in (0.3, 0.9, 1.0)},
    **{f"32 networks x 3 seeds, reliability {r:g}": lambda rng, r=r: repeated(rng, 3, r) for r in (0.2, 0.5, 0.9)},
    **{
        f"the machine killed {p:.0%} of A, at random": lambda rng, p=p: machine(rng, p, largest=False)
        for p in (0.05, 0.1, 0.2)
    },
    **{
        f"the machine killed {p:.0%} of A, the largest": lambda rng, p=p: machine(rng, p, largest=True)
        for p in (0.1, 0.2)
    },
    "power, one look, 0.5 sd": lambda rng: one_look(rng, 0.5),
    "power, 20 looks, 0.5 sd": lambda rng: many_looks(rng, 0.5),
    "power, 20 looks with giving up, 0.5 sd": lambda rng: with_rule(rng, 2, 0.5),
    **{
        f"power, stopped early, correlation {r:g}, 0.5 sd": lambda rng, r=r: stopped_early(rng, r, 0.5)
        for r in (0.5, 0.9)
    },
    "power, all shared, 0.15 sd": lambda rng: shared(rng, 1.0, 0.15),
    "power, the machine killed 10% of A, at random, 0.5 sd": lambda rng: machine(rng, 0.1, largest=False, gain=0.5),
    "power, the machine killed 10% of A, the largest, 0.5 sd": lambda rng: machine(rng, 0.1, largest=True, gain=0.5),
}


def main() -> None:
    """Print the share of repeats with a claim and its standard error, for each selected case."""
    print_machine()
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    cases = {name: case for name, case in CASES.items() if len(sys.argv) < 3 or sys.argv[2] in name}
    for name, case in cases.items():
        share = np.mean([case(np.random.default_rng([1, repeat])) for repeat in range(repeats)])
        print(f"{name:<60} {share:6.1%} (se {np.sqrt(share * (1 - share) / repeats):.1%})", flush=True)


if __name__ == "__main__":
    main()
