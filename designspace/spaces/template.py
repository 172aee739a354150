"""Properties shared by all networks of a space."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from designspace.networks.columns import NetworkColumns, StageColumns
from designspace.networks.layers import Column
from designspace.networks.network import MAX_STAGES, Network, Stage, Stem
from designspace.networks.parameters import Pairs
from designspace.support.checks import at_most, make_plain, plain, whole
from designspace.support.errors import InputError
from designspace.support.text import shown

_MINIMAL = Stage(1, 8, 1, 1, 8)
"""A stage that every kind of block can have."""
POOL_DOWNSAMPLINGS = ("avg_pool_after", "avg_pool_before")
"""Average-pool downsampling by the value of ``downsampling_first`` (``avd_first`` in files)."""
MAX_RESOLUTION = 1 << 16
"""Longest allowed side of images, in pixels."""


@dataclass(frozen=True, slots=True)
class Template:
    """Properties shared by all networks of a space: all but their stages and network axes."""

    stem: Stem = field(default_factory=Stem)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    """Stride of each stage, which also sets the number of stages."""
    block: str = "bottleneck"
    se_ratio: float = 0.0
    shortcut: str = "conv"
    downsampling: str = "conv"
    head_width: int = 0
    num_classes: int = 1000
    in_channels: int = 3
    head: str = "linear"
    resolution: int = 224
    """Side of the square images for which complexity is counted, in pixels."""

    def __post_init__(self) -> None:
        make_plain(self)
        if not isinstance(self.stem, Stem):
            raise InputError(f"stem must be a Stem, not {shown(self.stem)}")
        listed = list(self.strides) if isinstance(self.strides, list | tuple | range) else []
        if not 1 <= len(listed) <= MAX_STAGES:
            raise InputError(
                f"strides must be a list of 1 to {MAX_STAGES} strides, one per stage, such as [2, 2, 2, 2], "
                f"not {shown(self.strides)}"
            )
        object.__setattr__(self, "strides", tuple(plain(stride) for stride in listed))
        at_most("resolution", whole("resolution", self.resolution, 1), MAX_RESOLUTION)
        whole("num_classes", self.num_classes, 1)
        # Creating a network with minimal stages checks all other fields.
        self.network(tuple(Stage(1, 8, stride, 1, 8) for stride in self.strides), radix=0)

    def network(
        self,
        stages: tuple[Stage, ...],
        radix: int,
        stem_width: int | None = None,
        downsampling_first: int | None = None,
        parameters: Pairs = (),
    ) -> Network:
        """Return the network with these stages; stem width and downsampling default to the template's."""
        stem = self.stem if stem_width is None else Stem(self.stem.kind, stem_width)
        downsampling = self.downsampling if downsampling_first is None else POOL_DOWNSAMPLINGS[downsampling_first]
        return Network(
            stem,
            stages,
            block=self.block,
            se_ratio=self.se_ratio,
            radix=radix,
            shortcut=self.shortcut,
            downsampling=downsampling,
            head_width=self.head_width,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            head=self.head,
            parameters=parameters,
        )

    def columns(
        self,
        stages: tuple[StageColumns, ...],
        radix: Column,
        stem_width: Column | None = None,
        downsampling_first: Column | None = None,
        parameters: Mapping[str, Column] | None = None,
    ) -> NetworkColumns:
        """Return the networks with these stages as columns of int64 (see `network`)."""
        shared = NetworkColumns.of(self.network((_MINIMAL,), radix=0), np.int64)
        return dataclasses.replace(
            shared,
            stages=stages,
            radix=radix,
            parameters=parameters or {},
            stem_width=shared.stem_width if stem_width is None else stem_width,
            downsamples_after_conv=shared.downsamples_after_conv
            if downsampling_first is None
            else downsampling_first == 0,
            downsamples_by_pool=shared.downsamples_by_pool or downsampling_first is not None,
        )
