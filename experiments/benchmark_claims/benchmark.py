"""How often is a claim false, where spaces are alike and a sweep is not ideal? And what power do the checks cost?

Run with `make bench` (some minutes), or with a number of repeats: ``python benchmark.py 400``, and of
some cases with a part of their names: ``python benchmark.py 400 machine``. Every line is a share of
repeats in which `designspace.analysis.compare_all` claims something of two populations of one space (level 5%).

Last figures: see the table at the end of docs/claims.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd

from designspace.analysis.comparison import compare, compare_all
from designspace.analysis.matched import match_all
from designspace.analysis.results import Results

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
    """Results of errors; ``unfinished`` are the places of trials that wait, ``killed`` of those out of memory."""
    table = pd.DataFrame({"id": [f"{name} {i}" for i in range(len(errors))] if ids is None else ids})
    blank = {"flops": 4e6, "params": 5e3, "activations": 3e3, "radix": 0, "seed": 0, "epochs": 10}
    table = table.assign(**blank, train_s=60.0, final_error=errors, best_error=errors, device="cpu", detail="")
    table = table.assign(status="done", reason="", **columns)
    waits, fails = (table.index.isin(np.asarray(places)) for places in (unfinished, killed))
    table.loc[waits, "status"] = "waiting"
    table.loc[fails, ["status", "reason"]] = ["failed", "out of memory"]
    table.loc[waits | fails, ["final_error", "best_error"]] = np.nan
    return Results.from_table(name, table, 10)


def one_look(rng: np.random.Generator, gain: float = 0.0) -> bool:
    """Two whole populations; ``gain`` in standard deviations."""
    a, b = rng.normal(40, 2, (2, N))
    return compare(results("A", a), results("B", b + 2 * gain)).differs


def many_looks(rng: np.random.Generator, gain: float = 0.0) -> bool:
    """Two sweeps that are looked at 20 times, until something is claimed."""
    a, b = rng.normal(40, 2, (2, N))
    ends = np.linspace(0, N, LOOKS + 1).astype(int)[1:]
    return any(
        compare(results("A", a, unfinished=range(end, N)), results("B", b + 2 * gain, unfinished=range(end, N))).differs
        for end in ends
    )


def censored(rng: np.random.Generator, strength: float, packs: int, part: float) -> bool:
    """A sweep of packs side by side, of which a part is done, against a whole one; dear networks have lower errors."""
    size = rng.normal(0, 1, (2, N))
    errors = 40 - 2 * np.sqrt(strength) * size + 2 * np.sqrt(1 - strength) * rng.normal(0, 1, (2, N))
    cost = np.exp(0.6 * size[0])
    ends = np.concatenate([cost[pack::packs].cumsum() for pack in range(packs)])
    place = np.concatenate([np.arange(N)[pack::packs] for pack in range(packs)])
    late = place[ends > np.quantile(ends, part)]
    flops = np.exp(14 + 0.6 * size)
    a, b = results("A", errors[0], unfinished=late, flops=flops[0]), results("B", errors[1], flops=flops[1])
    return compare(a, b).differs


def shared(rng: np.random.Generator, part: float, gain: float = 0.0) -> bool:
    """Populations of which a part are the same networks, whose errors correlate by 0.9."""
    networks = rng.normal(0, np.sqrt(0.9), (2, N))
    common = int(part * N)
    networks[1, :common] = networks[0, :common]
    a, b = 40 + 2 * (networks + rng.normal(0, np.sqrt(0.1), (2, N)))
    ids = [[f"n{i}" if i < common else f"{name}{i}" for i in range(N)] for name in "AB"]
    return compare(results("A", a, ids=ids[0]), results("B", b + 2 * gain, ids=ids[1])).differs


def repeated(rng: np.random.Generator, seeds: int, reliability: float) -> bool:
    """32 networks of each population, trained with several seeds."""
    sides = []
    for name in "AB":
        networks = rng.normal(0, np.sqrt(reliability), 32)
        errors = 40 + 2 * (networks + rng.normal(0, np.sqrt(1 - reliability), (seeds, 32)))
        ids, seed = [f"{name}{i}" for i in range(32)] * seeds, np.repeat(np.arange(seeds), 32)
        trial = [f"{id_}@{s}" for id_, s in zip(ids, seed, strict=True)]
        sides.append(results(name, errors.ravel(), ids=ids, seed=seed, trial=trial))
    return compare(*sides).differs


def machine(rng: np.random.Generator, part: float, *, largest: bool, gain: float = 0.0) -> bool:
    """The machine ends a part of A's trials, any or the largest, where cost explains half of the variance of errors."""
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
    return any(one.differs for one in pairs) or any(one.better for one in matched)


CASES: dict[str, Callable[[np.random.Generator], bool]] = {
    "one look": one_look,
    "20 looks": many_looks,
    **{
        f"half done, {packs} packs, R2 {strength:g}": lambda rng, s=strength, p=packs: censored(rng, s, p, 0.5)
        for packs in (2, 16, 50, 100)
        for strength in (0.2, 0.7)
    },
    **{f"{part:.0%} shared": lambda rng, p=part: shared(rng, p) for part in (0.3, 0.9, 1.0)},
    **{f"32 networks x 3 seeds, reliability {r:g}": lambda rng, r=r: repeated(rng, 3, r) for r in (0.2, 0.5, 0.9)},
    **{
        f"the machine ended {p:.0%} of A, any": lambda rng, p=p: machine(rng, p, largest=False)
        for p in (0.05, 0.1, 0.2)
    },
    **{
        f"the machine ended {p:.0%} of A, the largest": lambda rng, p=p: machine(rng, p, largest=True)
        for p in (0.1, 0.2)
    },
    "power, one look, 0.5 sd": lambda rng: one_look(rng, 0.5),
    "power, 20 looks, 0.5 sd": lambda rng: many_looks(rng, 0.5),
    "power, all shared, 0.15 sd": lambda rng: shared(rng, 1.0, 0.15),
    "power, the machine ended 10% of A, any, 0.5 sd": lambda rng: machine(rng, 0.1, largest=False, gain=0.5),
    "power, the machine ended 10% of A, the largest, 0.5 sd": lambda rng: machine(rng, 0.1, largest=True, gain=0.5),
}


def main() -> None:
    """Print the share of repeats with a claim, and its Monte-Carlo error; of the cases that hold a given text."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    chosen = {name: case for name, case in CASES.items() if len(sys.argv) < 3 or sys.argv[2] in name}
    for name, case in chosen.items():
        share = np.mean([case(np.random.default_rng([1, repeat])) for repeat in range(repeats)])
        print(f"{name:<55} {share:6.1%} (se {np.sqrt(share * (1 - share) / repeats):.1%})", flush=True)


if __name__ == "__main__":
    main()
