"""Time blocks computed as one operation (`cpu.plans.ChainPlan`) and layer by layer, on one core.

Forward and backward of a batch of 128, the best of some runs; above a ratio of 1 the block is faster. This is what
`designspace.models.cpu.plans.is_chain_faster` decides by. Last figures: README.md beside this file.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import torch

from designspace.models import fuse
from designspace.models.blocks import Block
from designspace.models.cpu.plans import ChainPlan, TailPlan
from designspace.networks.network import Network, Stage, Stem

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

BATCH = 128
# (input width, width, inner width, group width, stride, height and width of the input)
SHAPES = (
    (16, 16, 16, 2, 1, 14),
    (16, 16, 16, 8, 2, 28),
    (24, 24, 24, 8, 1, 14),
    (64, 64, 64, 16, 1, 7),
    (64, 64, 32, 32, 1, 28),
    (48, 576, 144, 4, 2, 7),
    (32, 832, 208, 4, 2, 4),
    (64, 64, 64, 64, 1, 14),
    (128, 128, 128, 16, 1, 7),
    (256, 256, 64, 64, 1, 7),
    (256, 256, 256, 16, 1, 7),
    (384, 384, 384, 32, 1, 4),
    (512, 512, 512, 16, 1, 4),
    (512, 512, 512, 512, 1, 4),
)
ATTENTIONS: dict[str, dict[str, Any]] = {"none": {}, "SE": {"se_ratio": 0.25}, "radix 2": {"radix": 2}}


def milliseconds(block: Block, x: torch.Tensor, repeats: int = 5) -> float:
    """Return the time of the fastest forward and backward step."""
    gradient = torch.randn_like(block(x))
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        block(x).backward(gradient)
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def main() -> None:
    """Print one line per shape."""
    torch.set_num_threads(1)
    print_machine()
    print("attention | in  width inner group stride px | block ms layers ms ratio | chosen")
    for (name, options), (in_width, width, inner, group, stride, side) in itertools.product(ATTENTIONS.items(), SHAPES):
        network = Network(Stem("cifar", in_width), (Stage(1, width, stride, width / inner, group),), **options)
        block = Block(network, network.stages[0], in_width, first=True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(BATCH, in_width, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()
        plan = fuse(block).plan  # type: ignore[attr-defined]
        chosen = isinstance(plan.plans[0], ChainPlan)
        plan.plans = [ChainPlan.of(block, always=True)]
        block_ms = milliseconds(block, x)
        plan.plans = [TailPlan.of(block)]
        layers_ms = milliseconds(block, x)
        shape = f"{in_width:3d} {width:4d} {inner:4d} {group:4d} {stride:4d} {side:5d}"
        times = f"{block_ms:7.2f} {layers_ms:7.2f} {layers_ms / block_ms:6.2f}"
        print(f"{name:9} | {shape} | {times} | {'block' if chosen else 'layers'}", flush=True)


if __name__ == "__main__":
    main()
