"""Multiply-adds, parameters and activations in closed form, for one network or a whole population.

The convention is that of pycls and of "Designing Network Design Spaces" (section 3.1, figure 12), so that figures
compare: ``flops`` are multiply-adds of convolutions and linear layers, plus one for each output element of a layer with
a bias; ``activations`` are the output elements of convolutions, linear layers and the stem's max pool; ``params`` are
all learned weights (the running statistics of batch-norm are not learned).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from designspace.networks.blocks import (
    BlockShape,
    Int,
    Layer,
    Real,
    block_layers,
    halved,
    head_layers,
    stem_layers,
)
from designspace.networks.network import Network, Stem
from designspace.support.errors import InputError


class Complexity(NamedTuple):
    """What a network costs for one image: ints, or int64 columns for a population."""

    flops: Int
    """Multiply-adds."""
    params: Int
    """Learned weights."""
    activations: Int
    """Output elements of convolutions, linear layers and the stem's max pool."""


class StageLike(Protocol):
    """A `Stage`, or columns with one entry for each network (the stride is one for all)."""

    @property
    def depth(self) -> Int: ...
    @property
    def width(self) -> Int: ...
    @property
    def stride(self) -> int: ...
    @property
    def bottleneck_ratio(self) -> Real: ...
    @property
    def group_width(self) -> Int: ...


class NetworkLike(Protocol):
    """A `Network`, or a population of networks that share all but their stages and radix."""

    @property
    def stem(self) -> Stem: ...
    @property
    def stages(self) -> Sequence[StageLike]: ...
    @property
    def block(self) -> str: ...
    @property
    def se_ratio(self) -> float: ...
    @property
    def radix(self) -> Int: ...
    @property
    def downsampling(self) -> str: ...
    @property
    def head_width(self) -> int: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def in_channels(self) -> int: ...


def complexity(network: Network, resolution: int = 224) -> Complexity:
    """Count one network at square images of ``resolution`` pixels.

    >>> from designspace.networks import catalog
    >>> complexity(catalog.get("regnetx_400mf"))
    Complexity(flops=397678568, params=5157512, activations=3143272)
    """
    total = total_complexity(network, resolution)
    return Complexity(*(int(value) for value in total))


def total_complexity(network: NetworkLike, resolution: int) -> Complexity:
    """Count one network, or every network of a population in one pass: each field is a column of int64 then.

    Raises:
        InputError: ``resolution`` is not a positive number of pixels.
    """
    if resolution < 1:
        raise InputError(f"resolution must be at least 1 pixel, not {resolution}")
    flops: Int = 0
    params: Int = 0
    activations: Int = 0
    for layer in network_layers(network, resolution):
        outputs = layer.out_width * (layer.size * layer.size)
        if layer.kind == "conv":
            weights = layer.in_width // layer.groups * layer.out_width * layer.kernel**2
            macs = weights * (layer.size * layer.size)
            if layer.bias:
                weights, macs = weights + layer.out_width, macs + outputs
            flops = flops + layer.count * macs
            params = params + layer.count * weights
            activations = activations + layer.count * outputs
        elif layer.kind == "batch_norm":
            params = params + layer.count * (2 * layer.out_width)
        else:
            activations = activations + layer.count * outputs
    return Complexity(flops, params, activations)


def network_layers(network: NetworkLike, resolution: int) -> Iterator[Layer]:
    """Every layer with weights, and the stem's max pool; equal blocks of a stage come once, with their count."""
    layers, size = stem_layers(network.stem.kind, network.in_channels, network.stem.width, resolution)
    yield from layers
    width: Int = network.stem.width
    for stage in network.stages:
        first = BlockShape(
            network.block,
            width,
            stage.width,
            stage.bottleneck_ratio,
            stage.group_width,
            network.se_ratio,
            network.radix,
            stage.stride,
            size,
            network.downsampling,
        )
        size = halved(size, stage.stride)
        yield from block_layers(first)
        yield from block_layers(
            first._replace(in_width=stage.width, stride=1, in_size=size, count=stage.depth - 1)
        )
        width = stage.width
    yield from head_layers(width, network.head_width, network.num_classes, size)
