"""Measure a training step of large published networks beside timm's and, for ResNeSt, the authors' modules.

A step is forward, backward and the reset of gradients, in float32 and training mode. timm's modules are measured with
images in PyTorch's default format (NCHW) and channels last. Each measurement runs in a separate process, and the
programs take turns, so that other load on the machine affects all of them. README.md has the latest results.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

ROUNDS = 3
SECONDS = 5.0
"""Time of a measurement after its first step, which is not counted."""


class Case(NamedTuple):
    """A network, the side of its images in pixels, images per batch, and threads."""

    network: str
    side: int
    batch: int
    threads: int = 2


CASES = (
    Case("regnetx_400mf", 224, 16),
    Case("regnetx_400mf", 64, 32),
    Case("regnety_400mf", 224, 16),
    Case("regnety_400mf", 64, 32),
    Case("resnet50", 224, 8),
    Case("resnet50", 64, 16),
    Case("resnest50", 224, 8),
    Case("resnest50", 64, 16),
    Case("resnest50", 224, 8, threads=1),
)
PROGRAMS = ("designspace", "timm", "timm, channels last", "authors")


def model_of(program: str, network: str):  # type: ignore[no-untyped-def]
    """Return the module of a program."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    import originals

    if program == "authors":
        return originals.official_resnest(network)
    if program != "designspace":
        return originals.timm_model(network)
    from designspace.models import create_model, fuse

    return fuse(create_model(network))


def measure(program: str, case: Case) -> None:
    """Print the fastest step in seconds and the peak memory of the process in MiB, as JSON."""
    import torch

    torch.set_num_threads(case.threads)
    model, images = model_of(program, case.network).train(), torch.randn(case.batch, 3, case.side, case.side)
    if "channels last" in program:
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    seconds: list[float] = []
    while not seconds or sum(seconds[1:]) < SECONDS:
        start = time.perf_counter()
        model.zero_grad(set_to_none=True)
        model(images).sum().backward()
        seconds.append(time.perf_counter() - start)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux reports KiB
    print(json.dumps([min(seconds[1:]), peak_kib / 1024]))


def in_turns(case: Case) -> dict[str, list[tuple[float, float]]]:
    """Return seconds and MiB of each program in each round."""
    programs = [name for name in PROGRAMS if name != "authors" or "resnest" in case.network]
    measured: dict[str, list[tuple[float, float]]] = {program: [] for program in programs}
    for _ in range(ROUNDS):
        for program in programs:
            command = [sys.executable, __file__, "--measure", program, *map(str, case)]
            process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured[program].append(tuple(json.loads(process.stdout)))
    return measured


def cells(measured: dict[str, list[tuple[float, float]]]) -> Iterator[str]:
    """Yield the milliseconds of each program, the factor over timm's better layout, and two programs' memory."""
    seconds = {program: [each[0] for each in rounds] for program, rounds in measured.items()}
    for program in PROGRAMS:
        yield f"{1000 * statistics.median(seconds[program]):.0f}" if program in seconds else ""
    # Neighbouring measurements see the same load, so factors are taken within a round; then their median.
    layouts = [seconds["timm"], seconds["timm, channels last"]]
    better = min(layouts, key=statistics.median)
    factors = [timm / own for timm, own in zip(better, seconds["designspace"], strict=True)]
    yield f"{statistics.median(factors):.2f} ({min(factors):.2f} to {max(factors):.2f})"
    for program in ("designspace", "timm"):
        yield f"{statistics.median(each[1] for each in measured[program]):.0f}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted({case.network for case in CASES})
    parser.add_argument("network", nargs="?", choices=names, help="by default all")
    chosen = parser.parse_args().network
    print_machine()
    print(f"| network | pixels | batch | threads | {' | '.join(f'{name}, ms' for name in PROGRAMS)} ", end="")
    print(f"| timm's better / designspace | designspace, MiB | timm, MiB |\n|{'---|' * 11}", flush=True)
    for case in CASES:
        if chosen in (None, case.network):
            print(f"| {' | '.join([*map(str, case), *cells(in_turns(case))])} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Case(sys.argv[3], *map(int, sys.argv[4:])))
    else:
        main()
