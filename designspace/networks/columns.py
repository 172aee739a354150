"""Networks as columns: one network as columns of length 1, a population as columns with one entry per network."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from designspace.networks import blocks, heads, stems
from designspace.networks.blocks.widths import inner_width
from designspace.networks.layers import ONE, Column, Part, strided
from designspace.networks.network import Network


@dataclass(frozen=True)
class StageColumns:
    """One stage of all networks, as columns (see `Stage`)."""

    depth: Column
    width: Column
    stride: int
    bottleneck_ratio: Column
    group_width: Column
    parameters: Mapping[str, Column] = field(default_factory=dict)
    """The block's own parameters, by name."""

    @functools.cached_property
    def inner_width(self) -> Column:
        """Channels of the block's 3x3 convolution: width / b."""
        return inner_width(self.width, self.bottleneck_ratio)


@dataclass(frozen=True, slots=True)
class NetworkColumns:
    """Networks that differ in numbers only, as columns (see `Network`)."""

    stem: str
    stem_width: Column
    stages: tuple[StageColumns, ...]
    block: str
    se_ratio: float
    radix: Column
    downsamples_after_conv: Column
    """Whether an average pool after the 3x3 convolution applies the stride."""
    head_width: Column
    num_classes: Column
    in_channels: Column
    head: str = "linear"
    parameters: Mapping[str, Column] = field(default_factory=dict)
    """Own parameters of the block, the stem and the head that a network has once, by name."""
    downsamples_by_pool: bool = False
    """Whether average pools apply the strides, before or after the 3x3 convolution."""
    shortcut: str = "conv"

    @property
    def activation(self) -> Column:
        """Activation of the stem, the head and a built-in block (see `Network.activation`)."""
        kind = blocks.BLOCKS.get(self.block)
        if kind is None or not any(parameter.name == "activation" for parameter in kind.parameters):
            return np.array(["relu"])
        return self.parameters.get("activation", np.array([kind.default("activation")]))

    @staticmethod
    def of(network: Network, dtype: DTypeLike = object) -> NetworkColumns:
        """Return a single network as columns of length 1, by default of Python integers, which do not overflow."""

        def column(value: Any) -> Column:
            return np.array([value], dtype if isinstance(value, int) else None)

        return NetworkColumns(
            stem=network.stem.kind,
            stem_width=column(network.stem.width),
            stages=tuple(
                StageColumns(
                    depth=column(stage.depth),
                    width=column(stage.width),
                    stride=stage.stride,
                    bottleneck_ratio=np.array([stage.bottleneck_ratio], np.float64),
                    group_width=column(stage.group_width),
                    parameters={name: column(value) for name, value in stage.parameters},
                )
                for stage in network.stages
            ),
            block=network.block,
            se_ratio=network.se_ratio,
            radix=column(network.radix),
            downsamples_after_conv=column(network.downsamples_after_conv),
            head_width=column(network.head_width),
            num_classes=column(network.num_classes),
            in_channels=column(network.in_channels),
            head=network.head,
            downsamples_by_pool=network.downsampling != "conv",
            shortcut=network.shortcut,
            parameters={name: column(value) for name, value in network.parameters},
        )


@dataclass(frozen=True, slots=True)
class BlockColumns:
    """A block at one place of all networks, as columns; ``block[name]`` is a parameter of it."""

    networks: NetworkColumns
    stage: StageColumns
    in_width: Column
    """Input channels."""
    stride: int
    in_size: Column
    """Side of the input map, in pixels."""
    size: Column
    """Side of the output map, in pixels."""

    @property
    def width(self) -> Column:
        """Output channels."""
        return self.stage.width

    @property
    def changes_shape(self) -> Column:
        """Whether input and output differ in shape, so that the input cannot be a shortcut as it is."""
        if self.stride > 1:
            return ONE
        return 0 * ONE if self.in_width is self.width else (self.in_width != self.width) * ONE

    def __getitem__(self, name: str) -> Column:
        """Return a parameter of the block: its own ones, and those that many blocks have (see `Stage`, `Network`)."""
        if name in self.stage.parameters:
            return self.stage.parameters[name]
        if name in self.networks.parameters:
            return self.networks.parameters[name]
        if name in ("bottleneck_ratio", "group_width"):
            return getattr(self.stage, name)  # type: ignore[no-any-return]
        if name in ("se_ratio", "radix"):
            return np.atleast_1d(getattr(self.networks, name))
        return np.array([blocks.get(self.networks.block).default(name)])


def network_parts(
    networks: NetworkColumns, resolution: int, *, with_blocks: bool = True, with_head: bool = True
) -> Iterator[Part]:
    """Yield every layer with weights, and the stem's max pool, for square images of ``resolution`` pixels.

    The first block of a stage changes the shape. The other blocks keep it and are yielded once, with their number.

    Args:
        networks: the networks.
        resolution: side of the images, in pixels.
        with_blocks: whether to yield the layers of the blocks, too.
        with_head: whether to yield the layers of the head, which a backbone lacks.
    """
    stem = stems.get(networks.stem)
    size = np.full_like(networks.in_channels, resolution)
    yield Part([*stem.layers(networks.in_channels, networks.stem_width, size, **own_parameters(networks, "stem_"))])
    kind = blocks.get(networks.block)
    for block, repeats in block_positions(networks, resolution):
        if with_blocks:
            yield Part([*kind.layers(block)], repeats)
        last = block
    if not with_head:
        return
    head = heads.get(networks.head)
    at_head = (last.width, last.size, networks.head_width, networks.num_classes)
    yield Part([*head.layers(*at_head, **own_parameters(networks, "head_"))])


def block_positions(networks: NetworkColumns, resolution: int) -> Iterator[tuple[BlockColumns, Column]]:
    """Yield the first block and the other blocks of each stage, each with their number."""
    in_size = strided(np.full_like(networks.in_channels, resolution), stems.get(networks.stem).stride)
    in_width = networks.stem_width
    for stage in networks.stages:
        size = strided(in_size, stage.stride)
        yield BlockColumns(networks, stage, in_width, stage.stride, in_size, size), ONE
        yield BlockColumns(networks, stage, stage.width, 1, size, size), stage.depth - 1
        in_width, in_size = stage.width, size


def own_parameters(networks: NetworkColumns, prefix: str) -> dict[str, Column]:
    """Return the own parameters of the stem or the head, whose names begin with ``prefix``, without it."""
    items = networks.parameters.items()
    return {name.removeprefix(prefix): column for name, column in items if name.startswith(prefix)}
