"""Bytes of maps that are alive at once while a network runs, in inference and in training, in closed form.

What is counted is what `designspace.models.AnyNet` allocates when torch runs it operation by operation:

- every tensor with values per image: feature maps, pooled vectors, gates, logits, the indices of max pools (8 bytes
  each), and the images themselves, which the caller holds. Weights, their gradients, the statistics that a batch-norm
  keeps (two per channel, whatever the batch), and the scratch memory inside a kernel are not.
- in inference (``eval()``, without gradients), a map lives until its last use, but the input of a module lives until
  the module returns: Python holds the arguments of a call. So the stem's output lives through all stages, a stage's
  input through the stage, and a block's input through the block.
- in training (``train()``), the maps that the backward pass needs are kept from the forward pass until they have been
  used, beside the gradients of maps that are alive. The caller holds the logits and their gradient. Nothing is dropped,
  and nothing is recomputed.

Both are proportional to the batch. Both grow with the bytes per value, except for the indices of max pools.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from designspace.networks import blocks, heads, stems
from designspace.networks.columns import NetworkColumns, block_positions, own_parameters
from designspace.networks.complexity import totals
from designspace.networks.layers import ONE, Column
from designspace.networks.lifetimes import TrainingUsage, inference_peak, training_usage
from designspace.networks.network import Network
from designspace.networks.tape import Map, MixedStructure, Size, Tape
from designspace.support.checks import whole
from designspace.support.errors import unknown

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
"""Type of values -> bytes per value."""


class Memory(NamedTuple):
    """Memory of a network, in bytes."""

    weight_bytes: int
    """Weights, with the running statistics of batch-norms."""
    peak_memory: int
    """Most bytes of maps alive at once in inference."""
    training_memory: int
    """Most bytes of maps alive at once in training."""


def memory(network: Network, resolution: int = 224, *, batch: int = 1, dtype: str = "float32") -> Memory:
    """Count the memory of one network for a batch of square images.

    Args:
        network: the network.
        resolution: side of the images, in pixels.
        batch: number of images.
        dtype: type of weights and maps, a key of `BYTES`.

    Raises:
        InputError: a number is not positive, or the type is unknown.

    >>> from designspace.networks import catalog
    >>> memory(catalog.get("regnetx_400mf"))
    Memory(weight_bytes=20776736, peak_memory=5419008, training_memory=25096000)
    """
    columns = NetworkColumns.of(network)
    weights = totals(columns, resolution, ["weight_bytes"])["weight_bytes"]
    counted = (
        peak_memory(columns, resolution, batch=batch, dtype=dtype),
        training_memory(columns, resolution, batch=batch, dtype=dtype),
    )
    return Memory(int(weights[0]) * _bytes(dtype) // BYTES["float32"], *(int(column[0]) for column in counted))


def peak_memory(
    networks: NetworkColumns, resolution: int, *, batch: int = 1, dtype: str = "float32", folded: bool = False
) -> Column:
    """Return the most bytes of maps that are alive at once in inference, as a column.

    Args:
        networks: the networks.
        resolution: side of the square images, in pixels.
        batch: number of images.
        dtype: type of the maps, a key of `BYTES`.
        folded: count what inference runtimes hold instead of torch: norms are folded into convolutions, activations
            are computed in place, a map lives until its last use, and so does the image.

    Raises:
        InputError: a number is not positive, the type is unknown, or a custom class cannot be built.
    """
    settings = _Settings(_bytes(dtype), folded)
    parts = [
        _present(part, sum(part.held) * (not folded) + _measured(part, settings, _inference)[0])
        for part in _parts(networks, resolution)
    ]
    peak: Column = functools.reduce(np.maximum, parts) * (settings.bytes * whole("batch", batch, 1))
    return peak


def training_memory(networks: NetworkColumns, resolution: int, *, batch: int = 1, dtype: str = "float32") -> Column:
    """Return the most bytes of maps that are alive at once in a forward and backward pass, as a column.

    Args:
        networks: the networks.
        resolution: side of the square images, in pixels.
        batch: number of images.
        dtype: type of the maps, a key of `BYTES`.

    Raises:
        InputError: a number is not positive, the type is unknown, or a custom class cannot be built.
    """
    settings = _Settings(_bytes(dtype), training=True)
    forward = backward = 0 * ONE
    kept = None  # values kept for the backward pass by the parts so far, with the output of the last one
    saved_by_last = True
    for part in _parts(networks, resolution):
        usage, out = _measured(part, settings, _training)
        kept = part.held[0] if kept is None else kept
        of_each = usage.retained + out
        before = kept + (part.repeats - 1) * of_each
        forward = np.maximum(forward, _present(part, before + usage.forward))
        if part.is_head and not (saved_by_last or usage.saves_input):
            before = before - part.held[-1]
        backward = np.maximum(backward, _present(part, before + usage.backward))
        kept, saved_by_last = kept + part.repeats * of_each, usage.saves_output
    # Until the end of the backward pass, the caller holds the logits and their gradient.
    peak: Column = np.maximum(forward, backward + 2 * out) * (settings.bytes * whole("batch", batch, 1))
    return peak


@dataclass(frozen=True, slots=True)
class _Settings:
    """How maps are counted."""

    bytes: int
    """Bytes per value."""
    folded: bool = False
    training: bool = False


class _Part(NamedTuple):
    """The stem, a block at one place, or the head."""

    write: Callable[..., Map]
    """Function of a tape and the arguments that writes the maps and returns the output."""
    arguments: tuple[Any, ...]
    held: tuple[Column, ...]
    """Values of the maps that the callers hold meanwhile: the image, the inputs of the stages and of the stage, and
    last the input of the part."""
    repeats: Column = ONE
    is_head: bool = False


def _parts(networks: NetworkColumns, resolution: int) -> Iterator[_Part]:
    """Yield the parts of a network in order; equal blocks of a stage are yielded once, with their number."""
    stem = stems.get(networks.stem)
    side = np.full_like(networks.in_channels, whole("resolution", resolution, 1))
    image = networks.in_channels * side * side
    at_stem = (networks.in_channels, networks.stem_width, side, networks.activation)
    yield _Part(_with(stem.maps, own_parameters(networks, "stem_")), at_stem, (image,))
    kind = blocks.get(networks.block)
    shared = dataclasses.replace(networks, stages=())  # less to divide among structures
    outer: tuple[Column, ...] = (image,)
    for index, (block, repeats) in enumerate(block_positions(networks, resolution)):
        x = block.in_width * block.in_size * block.in_size
        if index % 2:  # the blocks of a stage after the first one
            held = (*outer, x)
        else:
            held = outer = (*outer[:2], x)
        yield _Part(kind.maps, (dataclasses.replace(block, networks=shared),), held, repeats)
        last = block
    head = heads.get(networks.head)
    at_head = (last.width, last.size, networks.head_width, networks.num_classes, networks.activation)
    x = last.width * last.size * last.size
    yield _Part(_with(head.maps, own_parameters(networks, "head_")), at_head, (image, x), is_head=True)


def _with(write: Callable[..., Map], own: Mapping[str, Column]) -> Callable[..., Map]:
    """Return a function of the own parameters of a stem or head as a function of its other columns."""
    return functools.partial(write, **own)


def _present(part: _Part, values: Column) -> Column:
    """Return the values of networks that have a part, 0 for others."""
    return values if part.repeats is ONE else np.where(part.repeats > 0, values, 0)


Result = TypeVar("Result")


def _measured(part: _Part, settings: _Settings, evaluate: Callable[[_Part, Tape, Map], Result]) -> Result:
    """Write the maps of a part and evaluate them, separately for networks that make different maps."""
    tape = Tape(Map(Size(part.held[-1])), settings.folded, settings.training, settings.bytes)
    try:
        return evaluate(part, tape, part.write(tape, *part.arguments))
    except MixedStructure as mixed:
        values = mixed.values
    results = []
    for value in np.unique(values):
        rows = np.flatnonzero(values == value)
        results.append((rows, _measured(_rows_of(part, rows), settings, evaluate)))
    joined: Result = _joined(len(values), results)
    return joined


def _inference(part: _Part, tape: Tape, out: Map) -> tuple[Column]:
    """Return the most values alive at once in inference."""
    return (inference_peak(tape, out),)


def _training(part: _Part, tape: Tape, out: Map) -> tuple[TrainingUsage, Column]:
    """Return what a part needs in training, and the values of its output."""
    is_stem = len(part.held) == 1
    return training_usage(tape, out, holds_output=part.is_head, input_gradient=not is_stem), out.size.values


def _rows_of(value: Any, rows: Column) -> Any:
    """Return the networks at some indices of columns, and of tuples, mappings and dataclasses that hold columns."""
    if isinstance(value, np.ndarray):
        return value.take(rows) if len(value) > 1 else value
    if isinstance(value, tuple):
        parts = (_rows_of(each, rows) for each in value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, Mapping):
        return {key: _rows_of(each, rows) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        return type(value)(*(_rows_of(getattr(value, name), rows) for name in fields))
    return value


def _joined(count: int, results: list[tuple[Column, Any]]) -> Any:
    """Return the results of several groups of networks as one; each comes with the indices of its networks."""
    first = results[0][1]
    if isinstance(first, np.ndarray):
        column = np.zeros(count, first.dtype)
        for rows, values in results:
            column[rows] = values
        return column
    if isinstance(first, tuple):
        return tuple(_joined(count, [(rows, each[i]) for rows, each in results]) for i in range(len(first)))
    if isinstance(first, TrainingUsage):
        names = [field.name for field in dataclasses.fields(first)]
        return TrainingUsage(
            *(_joined(count, [(rows, getattr(each, name)) for rows, each in results]) for name in names)
        )
    return all(each for _, each in results)


def _bytes(dtype: str) -> int:
    """Return the bytes per value of a type."""
    if dtype not in BYTES:
        raise unknown("dtype", dtype, BYTES)
    return BYTES[dtype]


MEMORY: dict[str, Callable[[NetworkColumns, int], Column]] = {
    "peak_memory": peak_memory,
    "int8_memory": functools.partial(peak_memory, dtype="int8", folded=True),
    "training_memory": training_memory,
}
"""Quantity -> function that counts it, for one image; in float32, except ``int8_memory``."""
