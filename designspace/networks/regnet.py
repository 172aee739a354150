"""RegNet: stages from a quantised line of widths ("Designing Network Design Spaces", section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designspace.networks.blocks.widths import compatible_widths
from designspace.networks.layers import Column
from designspace.networks.network import Stage
from designspace.support.errors import InputError

WIDTH_STEP = 8
"""All widths are multiples of this."""
DECIMALS = 9
"""Decimals to round to before rounding to a whole number, so that exact halves are the same on every machine."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RegNetParameters:
    """Parameters of a RegNet: depth d, initial width w_0, slope w_a, quantisation w_m, ratio b and group width g."""

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
        """Return the stages, with compatible widths and group widths."""
        rows = quantized_linear([self.depth], [self.w_0], [self.w_a], [self.w_m])
        widths, group_widths = compatible_widths(rows.widths[0], self.bottleneck_ratio, self.group_width)
        return tuple(
            Stage(depth, width, stride, self.bottleneck_ratio, group_width)
            for depth, width, group_width in zip(rows.depths[0], widths, group_widths, strict=True)
        )


@dataclass(frozen=True)
class QuantizedStages:
    """Stages of many RegNets, before group widths are made compatible."""

    num_stages: NDArray[np.int64]
    """Number of stages of each network. Shape (n,)."""
    num_levels: NDArray[np.int64]
    """Number of levels w_0 * w_m^k up to the last used one; above `num_stages` if a level is skipped. Shape (n,)."""
    depths: NDArray[np.int64]
    """Blocks of each stage, 0 after the last stage. Shape (n, max(num_stages))."""
    widths: NDArray[np.int64]
    """Width of each stage, 0 after the last stage. Shape (n, max(num_stages))."""


def quantized_linear(depth: ArrayLike, w_0: ArrayLike, w_a: ArrayLike, w_m: ArrayLike) -> QuantizedStages:
    """Quantise u_j = w_0 + w_a j to the levels w_0 w_m^k, then to multiples of 8, and run-length encode the result.

    This computes equations 2 to 4 of the paper for columns of parameters of shape (n,), with depths of at least 1. It
    uses float64 and rounds halves to even; in float32, which timm and torchvision use, some networks differ.
    """
    depth_ = np.asarray(depth, np.int64)
    start, slope, factor = (np.asarray(column, np.float64) for column in (w_0, w_a, w_m))
    # One entry per block, network after network. Padding to the deepest network would take far more entries.
    row = np.repeat(np.arange(len(depth_)), depth_)
    ends = np.cumsum(depth_)
    block = np.arange(len(row)) - np.repeat(ends - depth_, depth_)
    level = _level(_position(block, *(np.repeat(column, depth_) for column in (start, slope, np.log(factor)))))

    # Widths never decrease along a network, so a stage begins wherever the width differs from the previous one.
    begins = np.flatnonzero(_changes(level) | (block == 0))
    exact = start[row[begins]] * np.power(factor[row[begins]], level[begins]) / WIDTH_STEP
    width = np.rint(np.round(exact, DECIMALS)).astype(np.int64) * WIDTH_STEP
    is_first = _changes(width) | (block[begins] == 0)
    begins, width = begins[is_first], width[is_first]
    num_stages = np.bincount(row[begins], minlength=len(depth_))
    stage = np.arange(len(begins)) - (np.cumsum(num_stages) - num_stages)[row[begins]]
    depths = np.zeros((len(depth_), int(num_stages.max(initial=1))), np.int64)
    widths = np.zeros_like(depths)
    depths[row[begins], stage] = np.diff(begins, append=len(row))
    widths[row[begins], stage] = width
    return QuantizedStages(num_stages, level[ends - 1].astype(np.int64) + 1, depths, widths)


def sift(stages: int, depth: Column, w_0: Column, w_a: Column, w_m: Column) -> tuple[Mask, Mask]:
    """Find networks that certainly have another number of stages, or that number and a skipped level: two bool columns.

    This spares `quantized_linear` most networks and looks at only four blocks of each; where both columns are false,
    `quantized_linear` must decide. The columns have shape (n,).
    """
    other, skips = np.ones(len(depth), bool), np.zeros(len(depth), bool)
    # A network has at most as many stages as blocks, and as levels up to that of its last block.
    row = np.flatnonzero(depth >= stages)
    start, slope, log_factor = w_0[row].astype(np.float64), w_a[row], np.log(w_m[row])
    levels = _level(_position(depth[row] - 1, start, slope, log_factor)) + 1
    enough = levels >= stages
    other[row[enough]] = False
    # After its first blocks a network skips no level, because u grows by a constant and the levels by a factor. So if
    # the step from block 2 to 3 is below one level, blocks 1 and 2 determine the number of used levels. Each level is
    # a separate stage if levels are more than WIDTH_STEP apart.
    decidable = np.flatnonzero(enough & (depth[row] > 3) & (start * (w_m[row] - 1) > WIDTH_STEP))
    first, second, third = (_position(j, start[decidable], slope[decidable], log_factor[decidable]) for j in (1, 2, 3))
    used = levels[decidable] - _level(second) + (_level(second) > _level(first)) + (_level(first) > 0)
    is_certain = third - second < 1 - 1e-6
    other[row[decidable]] = is_certain & (used != stages)
    skips[row[decidable]] = is_certain & (used == stages) & (levels[decidable] > stages)
    return other, skips


def _position(block: ArrayLike, start: Column, slope: Column, log_factor: Column) -> NDArray[np.float64]:
    """Return s_j of equation 3, the position of the width of block j among the levels."""
    position: NDArray[np.float64] = np.log((np.multiply(block, slope) + start) / start) / log_factor
    return position


def _level(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest level, rounding halves to even."""
    # Rounding to DECIMALS first makes exact halves (w_m = 2.25 has many) independent of the machine's logarithm.
    return np.rint(np.round(position, DECIMALS))


def _changes(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each entry differs from the previous one; False for the first."""
    return np.concatenate([np.zeros(min(1, len(column)), bool), column[1:] != column[:-1]])
