"""How fast are draws, populations and the sample command?

Run with `make bench`. Last figures (one core of a shared x86-64 machine; Python 3.11, numpy 2.4; medians of 5):

    space       million draws/s  500 networks, s  command, s
    AnyNetXA               1.51             0.04        0.47
    AnyNetXB               1.56             0.04        0.46
    AnyNetXC               1.70             0.04        0.49
    AnyNetXD               1.57             0.04        0.43
    AnyNetXE               1.55             0.04        0.38
    RegNetX                0.69             0.54        0.99
    RegNetY                0.67             0.54        0.95
    start of Python with hydra, yaml, rich and numpy: 0.24 s
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from designspace.spaces import catalog
from designspace.spaces.drawing import draw
from designspace.spaces.sampling import BLOCK
from designspace.spaces.streams import Streams

BAND = (360e6, 400e6)


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
    return blocks * BLOCK / median_s(lambda: [draw(space, streams, BLOCK) for _ in range(blocks)])


def command_s(*arguments: str) -> float:
    """Wall seconds of a Python process."""
    return median_s(lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL))


def main() -> None:
    """Print the figures."""
    imports = command_s("-c", "import hydra, yaml, rich.table, numpy; hydra.compose")
    print(f"{'space':<10}{'million draws/s':>17}{'500 networks, s':>17}{'command, s':>12}")
    for name in catalog.NAMES:
        space = catalog.space(name, flops=BAND)
        with tempfile.TemporaryDirectory() as folder:
            command = command_s("-m", "designspace.sample", f"space={name}", "n=500", f"run={folder}/run")
        population = median_s(lambda space=space: space.sample(500))  # type: ignore[misc]
        print(f"{name:<10}{candidates_per_s(name) / 1e6:>17.2f}{population:>17.2f}{command:>12.2f}")
    print(f"start of Python with hydra, yaml, rich and numpy: {imports:.2f} s")


if __name__ == "__main__":
    main()
