"""Multiply-adds, parameters and activations in closed form, for one network or a whole population.

The convention is that of pycls and of "Designing Network Design Spaces" (section 3.1, figure 12), so that figures
compare: ``flops`` are multiply-adds of convolutions and linear layers, plus one for each output element of a layer with
a bias; ``activations`` are the output elements of convolutions, linear layers and the stem's max pool; ``params`` are
all learned weights (the running statistics of batch-norm are not learned).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from designspace.support.checks import whole

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
    radix: Int
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
    return Complexity(**totals(network, resolution, Complexity._fields))


def totals(network: Network | NetworkColumns, resolution: int, quantities: Iterable[str]) -> dict[str, Int]:
    """Like `total_complexity`, for the named quantities alone: one is counted in less time than three.

    Raises:
        InputError: ``resolution`` is not a positive number of pixels.
    """
    resolution = whole("resolution", resolution, 1)  # also because NumPy's small integers would overflow below
    counted: dict[str, Int] = dict.fromkeys(quantities, 0)
    for layer in network_layers(network, resolution):
        for quantity in counted:
            count, factor = _COUNTS[quantity](layer)
            if isinstance(factor, int) and factor == 0:
                continue
            counted[quantity] = counted[quantity] + count * (layer.repeats * factor)
    return counted


# What one layer adds to a quantity, as two factors: a column, and a number or a column. The second is 0 where the layer
# adds nothing. Numbers are multiplied with each other before they meet a column.


def _weights(layer: Layer) -> Int:
    """Weights of a convolution's kernel at one tap."""
    whole = isinstance(layer.groups, int) and layer.groups == 1  # spares the slow division of columns
    return (layer.in_width if whole else layer.in_width // layer.groups) * layer.out_width


def _flops(layer: Layer) -> tuple[Int, Int]:
    """Multiply-adds."""
    if layer.kind != "conv":
        return 0, 0
    if layer.bias:
        return _weights(layer) * layer.kernel**2 + layer.out_width, layer.size * layer.size
    return _weights(layer), layer.kernel**2 * layer.size * layer.size


def _params(layer: Layer) -> tuple[Int, Int]:
    """Learned weights."""
    if layer.kind == "conv":
        return _weights(layer) * layer.kernel**2 + (layer.out_width if layer.bias else 0), 1
    return layer.out_width, 2 if layer.kind == "batch_norm" else 0


def _activations(layer: Layer) -> tuple[Int, Int]:
    """Output elements."""
    return layer.out_width, 0 if layer.kind == "batch_norm" else layer.size * layer.size


_COUNTS = {"flops": _flops, "params": _params, "activations": _activations}


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
