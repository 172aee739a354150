"""The kinds of heads: layers after the last stage. Their modules are in `designspace.models.heads`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from designspace.networks.layers import ONE, Column, Layer, conv, conv_norm, linear, scale
from designspace.networks.parameters import Parameter
from designspace.networks.tape import Map, Tape
from designspace.networks.user_class import traced_layers, traced_maps, user_class
from designspace.support.imported import resolve

REQUIRED = ("in_width", "num_classes")
"""Parameters that the constructor of every head takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadKind:
    """A kind of head."""

    layers: Callable[..., Iterable[Layer]]
    """Function of columns of input channels, side of the map, width of the head and classes, and of its own
    parameters."""
    maps: Callable[..., Map]
    """Function of a tape, the same columns, the activation, and its own parameters that writes its maps, in order, and
    returns the output."""
    parameters: tuple[Parameter, ...] = ()
    """Its own parameters."""
    has_width: bool = True
    """Whether it may have a 1x1 convolution first, of ``head_width`` channels."""


def _linear(in_width: Column, size: Column, head_width: Column, num_classes: Column) -> Iterator[Layer]:
    """Yield the optional 1x1 convolution, and the classifier of the pooled map."""
    if head_width.any():
        yield from conv_norm(in_width, head_width, size)
        in_width = head_width
    yield linear(in_width, num_classes)


def _layer_norm(in_width: Column, size: Column, head_width: Column, num_classes: Column) -> Iterator[Layer]:
    """Yield the layer norm of the pooled map, and its classifier."""
    yield scale(in_width, ONE, "layer_norm")
    yield linear(in_width, num_classes)


def _dense(in_width: Column, size: Column, head_width: Column, num_classes: Column) -> Iterator[Layer]:
    """Yield the optional 1x1 convolution, and the classifier of each pixel."""
    if head_width.any():
        yield from conv_norm(in_width, head_width, size)
        in_width = head_width
    yield conv(in_width, num_classes, size)


def _linear_maps(
    tape: Tape, in_width: Column, size: Column, head_width: Column, num_classes: Column, activation: Column
) -> Map:
    """Write the maps of the optional convolution, the average pool and the classifier."""
    with tape.module(tape.x):
        y, width = _optional_conv(tape, in_width, size, head_width, activation)
        y = tape.mean(y, width)
        return tape.conv(y, tape.size(num_classes)) if tape.uniform(num_classes > 0) else y


def _layer_norm_maps(
    tape: Tape, in_width: Column, size: Column, head_width: Column, num_classes: Column, activation: Column
) -> Map:
    """Write the maps of the average pool, the layer norm and the classifier."""
    with tape.module(tape.x):
        y = tape.layer_norm(tape.mean(tape.x, in_width), tape.size(ONE))
        return tape.conv(y, tape.size(num_classes)) if tape.uniform(num_classes > 0) else y


def _dense_maps(
    tape: Tape, in_width: Column, size: Column, head_width: Column, num_classes: Column, activation: Column
) -> Map:
    """Write the maps of the optional convolution and the classifier of each pixel."""
    with tape.module(tape.x):
        y, _ = _optional_conv(tape, in_width, size, head_width, activation)
        return tape.conv(y, tape.size(num_classes, size)) if tape.uniform(num_classes > 0) else y


def _optional_conv(
    tape: Tape, in_width: Column, size: Column, head_width: Column, activation: Column
) -> tuple[Map, Column]:
    """Write the maps of the 1x1 convolution, if the head has one, and return its output and its width."""
    if not tape.uniform(head_width > 0):
        return tape.x, in_width
    return tape.conv_norm(tape.x, tape.size(head_width, size), str(tape.uniform(activation))), head_width


HEADS = {
    "linear": HeadKind(layers=_linear, maps=_linear_maps),
    "layer_norm": HeadKind(layers=_layer_norm, maps=_layer_norm_maps, has_width=False),
    "dense": HeadKind(layers=_dense, maps=_dense_maps),
}
"""The built-in kinds by name."""


def get(kind: str) -> HeadKind:
    """Return the head of a kind; a custom one, such as ``mine:Head``, is imported.

    Raises:
        InputError: the kind is unknown, or a custom one cannot be imported or is not a head.
    """
    return resolve("head", kind, HEADS, _custom)


@functools.cache
def _custom(name: str) -> HeadKind:
    """Import a head, and return its kind.

    Its class is a torch module (N, in_width, H, W) -> (N, num_classes). Its constructor takes ``in_width,
    num_classes`` and parameters of its own; ``head_width`` is one if it takes it.

    Raises:
        InputError: it cannot be imported, or is not such a class.
    """
    user = user_class("space.head", name, REQUIRED)
    has_width = "head_width" in user.defaults

    def arguments(
        in_width: Column, head_width: Column, num_classes: Column, own: dict[str, Column]
    ) -> dict[str, Column]:
        widths = {"head_width": head_width} if has_width else {}
        return {"in_width": in_width, "num_classes": num_classes, **own, **widths}

    def layers(
        in_width: Column, size: Column, head_width: Column, num_classes: Column, /, **parameters: Column
    ) -> list[Layer]:
        return traced_layers(user, arguments(in_width, head_width, num_classes, parameters), in_width, size)

    def maps(
        tape: Tape,
        in_width: Column,
        size: Column,
        head_width: Column,
        num_classes: Column,
        activation: Column,
        /,
        **parameters: Column,
    ) -> Map:
        return traced_maps(tape, user, arguments(in_width, head_width, num_classes, parameters), in_width, size)

    return HeadKind(layers=layers, maps=maps, parameters=user.own_parameters(("head_width",)), has_width=has_width)
