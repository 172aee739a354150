"""Multiply-adds, parameters and activations in closed form, for one network or a whole population.

The conventions are those of pycls and of "Designing Network Design Spaces" (section 3.1, figure 12), so that counts are
comparable: ``flops`` are multiply-adds of convolutions and linear layers, plus one per output element of a layer with a
bias; ``activations`` are the output elements of convolutions, linear layers and the stem's max pool; ``params`` are all
learned weights (the running statistics of batch-norm are not learned).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from designspace.networks import blocks
from designspace.networks.blocks.custom import traced_block_layers
from designspace.networks.columns import NetworkColumns, block_positions, network_parts
from designspace.networks.layers import ONE, SCALES, Column, Layer, Part
from designspace.networks.network import Network
from designspace.support.checks import whole
from designspace.support.errors import InputError

Count = TypeVar("Count", int, Column)


class Complexity(NamedTuple, Generic[Count]):
    """Cost of a network for one image: ints, or int64 columns for a population."""

    flops: Count
    """Multiply-adds."""
    params: Count
    """Learned weights."""
    activations: Count
    """Output elements of convolutions, linear layers and the stem's max pool."""


def complexity(network: Network, resolution: int = 224, *, features: bool = False) -> Complexity[int]:
    """Count the complexity of one network for square images of ``resolution`` pixels.

    Args:
        network: the network.
        resolution: side of the images, in pixels.
        features: count the network as a backbone, without its head (classifier and head convolution). For a backbone
            with fewer stages or another output stride see `designspace.models.features.Backbone.complexity`.

    Raises:
        InputError: ``resolution`` is not a positive number of pixels.

    >>> from designspace.networks import catalog
    >>> complexity(catalog.get("regnetx_400mf"))
    Complexity(flops=397678568, params=5157512, activations=3143272)
    >>> complexity(catalog.get("regnetx_400mf"), features=True)
    Complexity(flops=397293568, params=4772512, activations=3142272)
    """
    counted = totals(NetworkColumns.of(network), resolution, Complexity._fields, with_head=not features)
    return Complexity(*(int(column[0]) for column in counted.values()))


def totals(
    networks: NetworkColumns, resolution: int, quantities: Iterable[str], *, with_head: bool = True
) -> dict[str, Column]:
    """Count quantities that are sums over layers (the keys of `SUMS`) as columns; counting fewer takes less time.

    Args:
        networks: the networks.
        resolution: side of the images, in pixels.
        quantities: keys of `SUMS`.
        with_head: whether the head counts, which a backbone lacks.

    Raises:
        InputError: ``resolution`` is not a positive number of pixels.
    """
    counted: dict[str, Column] = dict.fromkeys(quantities, np.zeros(1, np.int64))
    for part in network_parts(networks, whole("resolution", resolution, 1), with_head=with_head):
        for quantity in counted:
            counted[quantity] = counted[quantity] + cost_of(part, quantity)
    return counted


def cost_of(part: Part, quantity: str) -> Column:
    """Count a key of `SUMS` for a part of a network and its repeats, as a column."""
    kinds, count = SUMS[quantity]
    counts = [count(layer) for layer in part.layers if layer.kind in kinds]
    # Not sum(...): it starts from 0, which costs one more addition of whole columns.
    total: Column = functools.reduce(operator.add, counts) if counts else 0 * ONE
    return total * part.repeats


# Each product multiplies columns of length 1 with each other first, which takes no time.


def _flops(layer: Layer) -> Any:
    """Return a layer's multiply-adds."""
    if layer.bias:
        return (layer.inputs * layer.kernel**2 + 1) * layer.out_width * layer.pixels
    return layer.inputs * layer.out_width * (layer.pixels * layer.kernel**2)


def _params(layer: Layer) -> Any:
    """Return a layer's number of learned weights."""
    if layer.bias:
        return (layer.inputs * layer.kernel**2 + 1) * layer.out_width
    return layer.inputs * layer.out_width * layer.kernel**2


def _weight_bytes(layer: Layer) -> Any:
    """Return the bytes of a layer's weights in float32, with the running statistics of a batch-norm."""
    return 4 * (_params(layer) + 2 * layer.out_width) if layer.kind == "batch_norm" else 4 * _params(layer)


def _activations(layer: Layer) -> Any:
    """Return a layer's number of output elements."""
    return layer.out_width * layer.pixels


SUMS = {
    "flops": (("conv",), _flops),
    "params": (("conv", *SCALES), _params),
    "activations": (("conv", "max_pool"), _activations),
    "weight_bytes": (("conv", *SCALES), _weight_bytes),
}
"""Quantity -> the kinds of layers that contribute to it, and a function that counts a layer."""


def check_listed_layers(network: Network, resolution: int) -> None:
    """Raise unless a custom block that lists its layers lists those that its modules have.

    Raises:
        InputError: a count differs, or a module cannot be built.
    """
    kind = blocks.get(network.block)
    for stage, (block, _) in enumerate(block_positions(NetworkColumns.of(network), resolution)):
        listed, traced = Part([*kind.layers(block)]), Part(traced_block_layers(network.block, block))
        for quantity in Complexity._fields:
            first, second = (int(cost_of(part, quantity)[0]) for part in (listed, traced))
            if first != second:
                raise InputError(
                    f"space.block: {network.block}.layers lists {first:,} {quantity} for a block of stage "
                    f"{stage // 2 + 1} of {network}, but the module has {second:,}"
                )
