"""The kinds of stems: layers before the first stage. Their modules are in `designspace.models.stems`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from designspace.networks.layers import ONE, Column, Layer, conv, conv_norm, max_pool, scale, strided
from designspace.networks.parameters import Parameter
from designspace.networks.tape import Map, Tape
from designspace.networks.user_class import traced_layers, traced_maps, user_class
from designspace.support.errors import InputError
from designspace.support.imported import resolve
from designspace.support.text import shown

REQUIRED = ("in_channels", "width")
"""Parameters that the constructor of every stem takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StemKind:
    """A kind of stem."""

    stride: int
    """Factor by which it divides the side of an image."""
    layers: Callable[..., Iterable[Layer]]
    """Function of columns of input channels, width and side of the image, and of the stem's own parameters."""
    maps: Callable[..., Map]
    """Function of a tape, the same columns, the activation, and the stem's own parameters that writes its maps, in
    order, and returns the output."""
    has_pool: bool = False
    """Whether it ends with a max pool of stride 2."""
    parameters: tuple[Parameter, ...] = ()
    """Its own parameters."""


def _single(channels: Column, width: Column, size: Column, *, stride: int, kernel: int = 3) -> Iterator[Layer]:
    """Yield a convolution and its batch-norm."""
    yield from conv_norm(channels, width, strided(size, stride), kernel=kernel)


def _pooled(channels: Column, width: Column, size: Column, *, kernel: int) -> Iterator[Layer]:
    """Yield a convolution of stride 2, its batch-norm and a max pool."""
    half = strided(size, 2)
    yield from conv_norm(channels, width, half, kernel=kernel)
    yield max_pool(width, strided(half, 2))


def _deep(channels: Column, width: Column, size: Column) -> Iterator[Layer]:
    """Yield three convolutions, of which the first two have half the width, and a max pool."""
    half = strided(size, 2)
    yield from conv_norm(channels, width // 2, half, kernel=3)
    yield from conv_norm(width // 2, width // 2, half, kernel=3)
    yield from conv_norm(width // 2, width, half, kernel=3)
    yield max_pool(width, strided(half, 2))


def _patches(channels: Column, width: Column, size: Column) -> Iterator[Layer]:
    """Yield a convolution of patches of 4 x 4 pixels, with bias, and a layer norm."""
    side = strided(size, 4)
    yield conv(channels, width, side, kernel=4)
    yield scale(width, side * side, "layer_norm")


def _single_maps(tape: Tape, channels: Column, width: Column, size: Column, activation: Column, *, stride: int) -> Map:
    """Write the maps of a convolution, its batch-norm and its activation."""
    return tape.conv_norm(tape.x, tape.size(width, strided(size, stride)), str(tape.uniform(activation)))


def _pooled_maps(tape: Tape, channels: Column, width: Column, size: Column, activation: Column) -> Map:
    """Write the maps of a convolution, its batch-norm and activation, and a max pool."""
    half = strided(size, 2)
    with tape.module(tape.x):
        y = tape.conv_norm(tape.x, tape.size(width, half), str(tape.uniform(activation)))
        return tape.max_pool(y, tape.size(width, strided(half, 2)))


def _deep_maps(tape: Tape, channels: Column, width: Column, size: Column, activation: Column) -> Map:
    """Write the maps of three convolutions, and a max pool."""
    half, kind = strided(size, 2), str(tape.uniform(activation))
    narrow, wide = tape.size(width // 2, half), tape.size(width, half)
    with tape.module(tape.x):
        y = tape.conv_norm(tape.conv_norm(tape.x, narrow, kind), narrow, kind)
        return tape.max_pool(tape.conv_norm(y, wide, kind), tape.size(width, strided(half, 2)))


def _patch_maps(tape: Tape, channels: Column, width: Column, size: Column, activation: Column) -> Map:
    """Write the maps of a convolution of patches, and a layer norm."""
    side = strided(size, 4)
    with tape.module(tape.x):
        y = tape.patches(tape.x, tape.size(width, side), tape.size(channels, size + 3))
        return tape.layer_norm(y, tape.size(ONE, side))


STEMS = {
    "imagenet": StemKind(
        stride=2, layers=functools.partial(_single, stride=2), maps=functools.partial(_single_maps, stride=2)
    ),
    "cifar": StemKind(
        stride=1, layers=functools.partial(_single, stride=1), maps=functools.partial(_single_maps, stride=1)
    ),
    "resnet": StemKind(stride=4, layers=functools.partial(_pooled, kernel=7), maps=_pooled_maps, has_pool=True),
    "deep": StemKind(stride=4, layers=_deep, maps=_deep_maps, has_pool=True),
    "conv_pool": StemKind(stride=4, layers=functools.partial(_pooled, kernel=3), maps=_pooled_maps, has_pool=True),
    "patch": StemKind(stride=4, layers=_patches, maps=_patch_maps),
}
"""The built-in kinds by name."""


def get(kind: str) -> StemKind:
    """Return the stem of a kind; a custom one, such as ``mine:Patchify``, is imported.

    Raises:
        InputError: the kind is unknown, or a custom one cannot be imported or is not a stem.
    """
    return resolve("stem", kind, STEMS, _custom)


@functools.cache
def _custom(name: str) -> StemKind:
    """Import a stem, and return its kind.

    Its class is a torch module (N, in_channels, H, W) -> (N, width, H', W') with H' = H / stride, rounded up, and has
    the class attribute ``stride``. Its constructor takes ``in_channels, width`` and parameters of its own.

    Raises:
        InputError: it cannot be imported, or is not such a class.
    """
    user = user_class("space.stem", name, REQUIRED)
    stride = getattr(user.object, "stride", None)
    if not isinstance(stride, int) or isinstance(stride, bool) or stride < 1:
        raise InputError(
            f"space.stem: {name} needs a class attribute stride, the factor by which it divides the side of an image, "
            f"such as stride = 4, not {shown(stride)}"
        )

    def layers(channels: Column, width: Column, size: Column, /, **parameters: Column) -> list[Layer]:
        arguments = {"in_channels": channels, "width": width, **parameters}
        return traced_layers(user, arguments, channels, size)

    def maps(
        tape: Tape, channels: Column, width: Column, size: Column, activation: Column, /, **parameters: Column
    ) -> Map:
        return traced_maps(tape, user, {"in_channels": channels, "width": width, **parameters}, channels, size)

    return StemKind(stride=stride, layers=layers, maps=maps, parameters=user.own_parameters(()))


def is_doubled(kind: str) -> bool:
    """Return whether the width of a kind must be even, because it is twice that of the first convolution."""
    return kind == "deep"
