"""A tape of the maps that a module makes: which ones, by which operations, and what those keep for the backward pass.

A block, stem or head writes its maps once, in the order in which its module makes them, for all networks of a
population; `designspace.networks.lifetimes` finds out how many values are alive at once. The sizes of maps are columns,
but all networks of a tape make the same maps: where they would differ, `Tape.uniform` raises `MixedStructure`, and the
caller makes a tape per structure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from designspace.networks.layers import ONE, Column

SAVES_RESULT = ("relu", "sigmoid", "softmax")
"""Activations whose backward pass needs the result; that of others needs the input."""


class MixedStructure(Exception):
    """Raised if the networks of a tape make different maps."""

    def __init__(self, values: Column) -> None:
        super().__init__()
        self.values = values
        """The value of each network that decides which maps it makes. Shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    """A number of values per image. Maps of the same `Size` can be counted instead of added."""

    values: Column


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A map, or a view of one."""

    size: Size
    base: Map | None = None
    """The map of which it is a view."""

    @property
    def storage(self) -> Map:
        """The map whose memory it uses."""
        return self if self.base is None else self.base


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """An operation, and what its backward pass needs and makes."""

    inputs: tuple[Map, ...]
    outputs: tuple[Map, ...]
    """Its results; a view of an input needs no memory of its own."""
    saved: tuple[Map, ...]
    """Maps that it keeps for the backward pass."""
    gradients: tuple[Size | None, ...]
    """Size of the gradient of each input; None if it is that of the output, or a view of it. A gradient that is larger
    than its input is then summed to the size of the input."""
    workspace: tuple[Size, ...] = ()
    """Sizes of further maps that the backward pass makes."""


@dataclass(frozen=True, slots=True)
class TracedUsage:
    """What running a module has shown, in values per image, as columns; see `designspace.networks.lifetimes`."""

    forward: Column
    """Most values alive at once in the forward pass, in inference or in training."""
    backward: Column
    """Most values alive at once in the backward pass; 0 in inference."""
    retained: Column
    """Values kept after the forward pass, without the output; 0 in inference."""
    out: Column
    """Values of the output."""


@dataclass(slots=True)
class Tape:
    """The operations of a block, stem or head, in their order."""

    x: Map
    """The input."""
    folded: bool = False
    """Whether norms are folded into convolutions and activations are computed in place, as inference runtimes do. The
    input of a module is then not kept until the module returns."""
    training: bool = False
    """Whether the maps are those of training; only modules that are run to find them need to know."""
    bytes: int = 4
    """Bytes per value."""
    steps: list[Step] = field(default_factory=list)
    last_use: dict[Map, int] = field(default_factory=dict)
    """Storage -> index of the last step that needs it in the forward pass."""
    traced: TracedUsage | None = None
    """The result, if the module was run because it lists no maps."""
    _sizes: dict[tuple[int, int], tuple[Column, Column, Size]] = field(default_factory=dict)

    @staticmethod
    def uniform(values: Any) -> Any:
        """Return the value that all networks have in common.

        Raises:
            MixedStructure: their values differ.
        """
        column = np.atleast_1d(values)
        if len(column) > 1 and (column != column[0]).any():
            raise MixedStructure(column)
        return column[0]

    def size(self, width: Column, side: Column = ONE) -> Size:
        """Return the size of a square map; the same object for the same columns."""
        key = (id(width), id(side))
        if key not in self._sizes:
            # The columns are kept, so that no other ones get their ids.
            self._sizes[key] = (width, side, Size(width * (side * side)))
        return self._sizes[key][2]

    def _of_bytes(self, size: Size, count: int) -> Size:
        """Return the size of a map whose values have at least ``count`` bytes."""
        return size if count <= self.bytes else Size(size.values * (count // self.bytes))

    @contextlib.contextmanager
    def module(self, x: Map) -> Iterator[None]:
        """Keep the input of a module until it returns, since the caller of a function holds its arguments."""
        yield
        if not self.folded:
            self._use(x)

    def _use(self, x: Map) -> None:
        """Record that the last step needs a map."""
        self.last_use[x.storage] = len(self.steps) - 1

    def step(
        self,
        *inputs: Map,
        outputs: Iterable[Map],
        saved: Iterable[Map] = (),
        gradients: Iterable[Size | None] | None = None,
        workspace: Iterable[Size] = (),
    ) -> None:
        """Add an operation (see `Step`); by default, the gradient of each input is a new map of its size."""
        sizes = tuple(x.size for x in inputs) if gradients is None else tuple(gradients)
        self.steps.append(Step(inputs, tuple(outputs), tuple(saved), sizes, tuple(workspace)))
        for x in (*inputs, *self.steps[-1].outputs):
            self._use(x)

    def new(self, size: Size, *inputs: Map, **details: Any) -> Map:
        """Add an operation with one result; see `step`."""
        out = Map(size)
        self.step(*inputs, outputs=(out,), **details)
        return out

    def conv(self, x: Map, size: Size) -> Map:
        """Add a convolution, a linear layer or an average pool, with a result of a size."""
        return self.new(size, x, saved=(x,))

    def norm(self, x: Map) -> Map:
        """Add a batch-norm."""
        return x if self.folded else self.new(x.size, x, saved=(x,))

    def layer_norm(self, x: Map, pixels: Size) -> Map:
        """Add a layer norm of the channels of each pixel, whose mean and deviation it keeps in float32 at least."""
        each = self._of_bytes(pixels, 4)
        out, statistics = Map(x.size), (Map(each), Map(each))
        self.step(x, outputs=(out, *statistics), saved=(x, *statistics))
        return out

    def activation(self, x: Map, kind: str = "relu") -> Map:
        """Add an activation."""
        if self.folded:
            return x
        out = Map(x.size)
        self.step(x, outputs=(out,), saved=(out if kind in SAVES_RESULT else x,))
        return out

    def conv_norm(self, x: Map, size: Size, activation: str = "relu") -> Map:
        """Add a convolution, its batch-norm, and an activation unless its name is empty."""
        with self.module(x):
            y = self.norm(self.conv(x, size))
            return self.activation(y, activation) if activation else y

    def add(self, x: Map, y: Map) -> Map:
        """Add a sum of two maps of the same size."""
        return self.new(x.size, x, y, gradients=(None, None))

    def scale(self, x: Map, factors: Map) -> Map:
        """Add a product of a map and a factor per channel."""
        return self.new(x.size, x, factors, saved=(x, factors), gradients=(x.size, x.size))

    def mean(self, x: Map, width: Column) -> Map:
        """Add an average over the pixels of each of ``width`` channels."""
        return self.new(self.size(width), x)

    def max_pool(self, x: Map, size: Size) -> Map:
        """Add a max pool with a result of a size; it computes and keeps an index for each value."""
        out = Map(size)
        indices = () if self.folded else (Map(self._of_bytes(size, 8)),)
        self.step(x, outputs=(out, *indices), saved=(x, *indices))
        return out

    def chunks(self, x: Map, size: Size, count: int) -> list[Map]:
        """Add views of equal parts of a map."""
        views = [Map(size, x.storage) for _ in range(count)]
        self.step(x, outputs=views)
        return views

    def concatenate(self, x: Map, y: Map, size: Size) -> Map:
        """Add a map that consists of two others."""
        return self.new(size, x, y, gradients=(None, None))

    def patches(self, x: Map, size: Size, padded: Size) -> Map:
        """Add a convolution of patches that do not overlap, of a map that is padded first."""
        with self.module(x):
            return self.conv(x if self.folded else self.new(padded, x), size)

    def squeeze_excitation(self, x: Map, width: Column, squeezed: Column, activation: str = "relu") -> Map:
        """Add squeeze-and-excitation of a map of ``width`` channels."""
        with self.module(x):
            hidden = self.activation(self.conv(self.mean(x, width), self.size(squeezed)), activation)
            with self.module(hidden):
                return self.scale(x, self.activation(self.conv(hidden, self.size(width)), "sigmoid"))
