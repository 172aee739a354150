"""How fast are draws, populations and the sample command?

Run with `make bench`. Last figures (one core of a shared x86-64 machine; Python 3.11, numpy 2.4; medians of 5):

    space       million draws/s  500 networks, s  command, s
    AnyNetXA               2.54             0.02        0.45
    AnyNetXB               2.72             0.03        0.47
    AnyNetXC               3.57             0.02        0.47
    AnyNetXD               2.40             0.03        0.47
    AnyNetXE               2.08             0.02        0.46
    RegNetX                4.45             0.09        0.60
    RegNetY                3.62             0.11        0.61
    start of Python with hydra, yaml, rich and numpy: 0.36 s
    a million AnyNetXA, draw and write: 7 s, 455 MiB at most
    a million AnyNetXA, draw in 100 M to 1 G and write: 7 s, 456 MiB at most
    a million AnyNetXA, read: 12 s, 441 MiB at most
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from designspace.spaces import catalog
from designspace.spaces.drawing import draw_block
from designspace.spaces.population_files import read_population
from designspace.spaces.sampling import BLOCK_SIZE
from designspace.spaces.streams import Streams

BAND = (360e6, 400e6)
WIDE = (100e6, 1e9)
MILLION = 1_000_000
NAMES = (*(f"AnyNetX{letter}" for letter in "ABCDE"), "RegNetX", "RegNetY")


def median_s(work: Callable[[], object], repeats: int = 5) -> float:
    """Median wall seconds of some calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def candidates_per_s(name: str, blocks: int = 32) -> float:
    """Draws per second: draw, make compatible, cost, compare with the band; on one core."""
    space, streams = catalog.space(name, flops=BAND), Streams(0)
    return blocks * BLOCK_SIZE / median_s(lambda: [draw_block(space, streams, BLOCK_SIZE) for _ in range(blocks)])


def command_s(*arguments: str) -> float:
    """Wall seconds of a Python process."""
    return median_s(lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL))


def million(step: str, folder: str) -> None:
    """Draw and write a million networks, or read them again; print seconds and peak memory of this process."""
    start = time.perf_counter()
    if step == "read":
        read_population(Path(folder))
    else:
        catalog.space("AnyNetXA", flops=None if step == "free" else WIDE).sample(MILLION).write(Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    print(f"{time.perf_counter() - start:.0f} s, {peak:.0f} MiB at most")


def print_million() -> None:
    """A million AnyNetXA networks, each step once in a process of its own: peak memory is a process's."""
    with tempfile.TemporaryDirectory() as folder:
        for step, words in (("free", "draw and write"), ("band", "draw in 100 M to 1 G and write"), ("read", "read")):
            print(f"a million AnyNetXA, {words}: ", end="", flush=True)
            subprocess.run([sys.executable, __file__, step, folder], check=True)


def main() -> None:
    """Print the figures."""
    if len(sys.argv) > 1:
        million(*sys.argv[1:])
        return
    imports = command_s("-c", "import hydra, yaml, rich.table, numpy; hydra.compose")
    print(f"{'space':<10}{'million draws/s':>17}{'500 networks, s':>17}{'command, s':>12}")
    for name in NAMES:
        space = catalog.space(name, flops=BAND)
        with tempfile.TemporaryDirectory() as folder:
            command = command_s("-m", "designspace.sample", f"space={name}", "n=500", f"run={folder}/run")
        population = median_s(lambda space=space: space.sample(500))  # type: ignore[misc]
        print(f"{name:<10}{candidates_per_s(name) / 1e6:>17.2f}{population:>17.2f}{command:>12.2f}")
    print(f"start of Python with hydra, yaml, rich and numpy: {imports:.2f} s")
    print_million()


if __name__ == "__main__":
    main()
