"""RegNet: the widths of all blocks from three numbers ("Designing Network Design Spaces", section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designspace.networks import blocks
from designspace.networks.network import Stage
from designspace.support.errors import InputError

WIDTH_STEP = 8
"""All widths are multiples of this."""
SNAP = 9


@dataclass(frozen=True, slots=True)
class RegNetParameters:
    """The parameters of a RegNet: depth d, initial width w_0, slope w_a, quantisation w_m, ratio b, group width g."""

    depth: int
    w_0: int
    w_a: float
    w_m: float
    bottleneck_ratio: float = 1
    group_width: int = 8

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"depth must be at least 1 block, not {self.depth}")
        if self.w_0 < WIDTH_STEP or self.w_0 % WIDTH_STEP:
            raise InputError(f"w_0 must be a positive multiple of {WIDTH_STEP}, not {self.w_0}")
        if self.w_a < 0 or not self.w_m > 1:
            raise InputError(f"w_a must be >= 0 and w_m > 1, not w_a={self.w_a}, w_m={self.w_m}")

    def stages(self, stride: int = 2) -> tuple[Stage, ...]:
        """The stages, with widths and group widths made compatible."""
        rows = quantized_linear([self.depth], [self.w_0], [self.w_a], [self.w_m])
        stages = []
        for depth, drawn in zip(rows.depths[0].tolist(), rows.widths[0].tolist(), strict=True):
            if depth:
                width, group_width = blocks.compatible_widths(drawn, self.bottleneck_ratio, self.group_width)
                stages.append(Stage(depth, int(width), stride, self.bottleneck_ratio, int(group_width)))
        return tuple(stages)


@dataclass(frozen=True)
class QuantizedStages:
    """Stages of many RegNets, before group widths are made compatible."""

    num_stages: NDArray[np.int64]
    """Stages of each network. Shape (n,)."""
    num_levels: NDArray[np.int64]
    """Levels w_0 * w_m^k up to the last used one; more than `num_stages` where a level is skipped. Shape (n,)."""
    depths: NDArray[np.int64]
    """Blocks of each stage, 0 past the last. Shape (n, most stages)."""
    widths: NDArray[np.int64]
    """Width of each stage, 0 past the last. Shape (n, most stages)."""


def quantized_linear(depth: ArrayLike, w_0: ArrayLike, w_a: ArrayLike, w_m: ArrayLike) -> QuantizedStages:
    """Quantise u_j = w_0 + w_a j to the levels w_0 w_m^k, then to multiples of 8, and run-length encode the result.

    Equations 2 to 4 of the paper, for columns of parameters of shape (n,). Computed in float64 with halves rounded to
    even: in float32, as timm and torchvision do it, some networks come out otherwise.
    """
    depth_ = np.asarray(depth, np.int64)[:, None]
    start, slope, factor = (np.asarray(column, np.float64)[:, None] for column in (w_0, w_a, w_m))
    block = np.arange(int(depth_.max(initial=1)))[None, :]
    linear = block * slope + start
    # Rounded to SNAP decimals first, so that exact halves (w_m = 2.25 has many) do not hang on the machine's log.
    level = np.rint(np.round(np.log(linear / start) / np.log(factor), SNAP))
    width = np.rint(np.round(start * np.power(factor, level) / WIDTH_STEP, SNAP)).astype(np.int64) * WIDTH_STEP
    used = block < depth_

    # Widths do not fall along a network, so a stage begins wherever the width differs from the one before.
    begins = used & np.concatenate([np.ones_like(used[:, :1]), width[:, 1:] != width[:, :-1]], axis=1)
    stage_of_block = np.cumsum(begins, axis=1) - 1
    num_stages = stage_of_block[:, -1] + 1
    most = int(num_stages.max(initial=1))
    rows = np.broadcast_to(np.arange(len(used))[:, None], used.shape)
    depths = np.zeros((len(used), most), np.int64)
    np.add.at(depths, (rows[used], stage_of_block[used]), 1)
    widths = np.zeros_like(depths)
    widths[rows[begins], stage_of_block[begins]] = width[begins]
    num_levels = np.where(used, level, 0).max(axis=1).astype(np.int64) + 1
    return QuantizedStages(num_stages, num_levels, depths, widths)
