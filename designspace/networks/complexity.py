"""Multiply-adds, parameters and activations in closed form, for one network or a whole population.

The convention is that of pycls and of "Designing Network Design Spaces" (section 3.1, figure 12), so that figures
compare: ``flops`` are multiply-adds of convolutions and linear layers, plus one for each output element of a layer with
a bias; ``activations`` are the output elements of convolutions, linear layers and the stem's max pool; ``params`` are
all learned weights (the running statistics of batch-norm are not learned).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from designspace.networks.blocks import (
    BlockShape,
    Int,
    Layer,
    block_layers,
    halved,
    head_layers,
    stem_layers,
)
from designspace.networks.network import Network
from designspace.support.errors import InputError

Column = NDArray[Any]
"""Numbers, one for each network of a population. Shape (n,)."""


class Complexity(NamedTuple):
    """What a network costs for one image: ints, or int64 columns for a population."""

    flops: Int
    """Multiply-adds."""
    params: Int
    """Learned weights."""
    activations: Int
    """Output elements of convolutions, linear layers and the stem's max pool."""


@dataclass(frozen=True, slots=True)
class StemColumns:
    """The stem of every network of a population: like `Stem`, with a width for all or a column of widths."""

    kind: str
    width: Int


@dataclass(frozen=True, slots=True)
class StageColumns:
    """One stage of every network of a population: like `Stage`, with a column of shape (n,) for each number."""

    depth: Column
    width: Column
    stride: int
    bottleneck_ratio: Column
    group_width: Column


@dataclass(frozen=True, slots=True)
class NetworkColumns:
    """A population of networks that share all but their stages' numbers and radix: like `Network`, as columns."""

    stem: StemColumns
    stages: tuple[StageColumns, ...]
    radix: Column
    block: str
    se_ratio: float
    pools_after: bool | Column
    head_width: int
    num_classes: int
    in_channels: int


def complexity(network: Network, resolution: int = 224) -> Complexity:
    """Count one network at square images of ``resolution`` pixels.

    >>> from designspace.networks import catalog
    >>> complexity(catalog.get("regnetx_400mf"))
    Complexity(flops=397678568, params=5157512, activations=3143272)
    """
    total = total_complexity(network, resolution)
    return Complexity(*(int(value) for value in total))


def total_complexity(network: Network | NetworkColumns, resolution: int) -> Complexity:
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
            flops = flops + layer.repeats * macs
            params = params + layer.repeats * weights
            activations = activations + layer.repeats * outputs
        elif layer.kind == "batch_norm":
            params = params + layer.repeats * (2 * layer.out_width)
        else:
            activations = activations + layer.repeats * outputs
    return Complexity(flops, params, activations)


def network_layers(network: Network | NetworkColumns, resolution: int) -> Iterator[Layer]:
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
            network.pools_after,
        )
        size = halved(size, stage.stride)
        yield from block_layers(first)
        yield from block_layers(first._replace(in_width=stage.width, stride=1, in_size=size, repeats=stage.depth - 1))
        width = stage.width
    yield from head_layers(width, network.head_width, network.num_classes, size)
