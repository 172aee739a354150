"""Measure what a latency depends on besides the network: layout of maps, denormal numbers, memory that is kept.

Each variant runs in a process of its own with one thread. The processes take turns, and each reports the least
processor time of several runs, which other load disturbs less than wall time. README.md has the latest results.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from designspace.models import AnyNet
from designspace.models.cpu import keep_freed_memory
from designspace.networks import catalog

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

NETWORKS = (("regnetx_200mf", 1), ("regnety_400mf", 1), ("resnest50", 1), ("regnetx_400mf", 16))
"""Name and batch size."""
VARIANTS = ("plain", "kept", "kept channels_last", "kept flush_denormal")
TURNS, RUNS = 3, 8


def least_ms(variant: str, name: str, batch: int) -> float:
    """Return the least processor time of several runs, in ms."""
    torch.set_num_threads(1)
    if "kept" in variant:
        keep_freed_memory()
    torch.set_flush_denormal("flush_denormal" in variant)
    layout = torch.channels_last if "channels_last" in variant else torch.contiguous_format
    model = AnyNet(catalog.get(name)).eval().to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(batch, 3, 224, 224).to(memory_format=layout)
    times = []
    with torch.inference_mode():
        for _ in range(RUNS):
            begin = time.process_time()
            model(images)
            times.append(1000 * (time.process_time() - begin))
    return min(times)


def main() -> None:
    """Print the table."""
    print_machine()
    times: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(TURNS):
        for name, batch in NETWORKS:
            for variant in VARIANTS:
                command = [sys.executable, __file__, variant, name, str(batch)]
                answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                times.setdefault((variant, name, batch), []).append(json.loads(answer))
    print(f"| network | {' | '.join(VARIANTS)} |\n|---|{'---|' * len(VARIANTS)}")
    for name, batch in NETWORKS:
        cells = [f"{statistics.median(times[variant, name, batch]):.1f}" for variant in VARIANTS]
        print(f"| {name}, batch {batch} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(least_ms(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
