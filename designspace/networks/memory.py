"""Bytes of maps that are alive at once while a network runs."""

from __future__ import annotations

import functools

import numpy as np

from designspace.networks.columns import NetworkColumns, network_parts
from designspace.networks.layers import Column, Part
from designspace.support.checks import whole


def peak_memory(networks: NetworkColumns, resolution: int) -> Column:
    """Return an estimate of the most bytes of maps that are alive at once in inference, for one image in float32."""
    image = _image(networks, resolution)
    largest = [_largest(part) for part in network_parts(networks, resolution)]
    return 4 * (image + 3 * functools.reduce(np.maximum, largest))


def training_memory(networks: NetworkColumns, resolution: int) -> Column:
    """Return an estimate of the most bytes of maps that are alive at once in training, for one image in float32."""
    total = _image(networks, resolution)
    for part in network_parts(networks, resolution):
        for layer in part.layers:
            total = total + layer.out_width * layer.pixels * part.repeats
    return 4 * total


def _image(networks: NetworkColumns, resolution: int) -> Column:
    """Return the number of values of an image."""
    image: Column = networks.in_channels * whole("resolution", resolution, 1) ** 2
    return image


def _largest(part: Part) -> Column:
    """Return the values of the largest map of a part."""
    return functools.reduce(np.maximum, [layer.out_width * layer.pixels for layer in part.layers])


MEMORY = {"peak_memory": peak_memory, "training_memory": training_memory}
"""Quantity -> function that counts it."""
