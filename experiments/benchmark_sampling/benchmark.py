"""Measure how fast networks are drawn, populations are sampled, and the sample command runs.

Run with `make bench`. README.md beside this file has the latest results.
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

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

BAND = (360e6, 400e6)
WIDE = (100e6, 1e9)
MILLION = 1_000_000
NAMES = (*(f"AnyNetX{letter}" for letter in "ABCDE"), "RegNetX", "RegNetY")


def median_s(function: Callable[[], object], repeats: int = 5) -> float:
    """Return the median wall seconds of some calls, after one call that is not timed."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def candidates_per_s(name: str, blocks: int = 32) -> float:
    """Return candidates per second on one core: drawing, making widths compatible, costs, and the complexity band."""
    space, streams = catalog.space(name, flops=BAND), Streams(0)
    return blocks * BLOCK_SIZE / median_s(lambda: [draw_block(space, streams, BLOCK_SIZE) for _ in range(blocks)])


def command_s(*arguments: str) -> float:
    """Return the wall seconds of a Python process."""
    return median_s(lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL))


def million(step: str, folder: str) -> None:
    """Draw and write a million networks, or read them; print the seconds and the peak memory of this process."""
    start = time.perf_counter()
    if step == "read":
        read_population(Path(folder))
    else:
        catalog.space("AnyNetXA", flops=None if step == "free" else WIDE).sample(MILLION).write(Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux reports KiB
    print(f"{time.perf_counter() - start:.0f} s, {peak:.0f} MiB peak")


def print_million() -> None:
    """Measure a million networks, each step once and in a separate process, because peak memory is per process."""
    with tempfile.TemporaryDirectory() as folder:
        for step, label in (("free", "draw and write"), ("band", "draw in 100 M to 1 G and write"), ("read", "read")):
            print(f"a million AnyNetXA, {label}: ", end="", flush=True)
            subprocess.run([sys.executable, __file__, step, folder], check=True)


def main() -> None:
    """Print the measurements."""
    if len(sys.argv) > 1:
        million(*sys.argv[1:])
        return
    print_machine()
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
