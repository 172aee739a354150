"""The kinds of stems: layers before the first stage. Their modules are in `designspace.models.stems`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from designspace.networks.layers import Column, Layer, conv, conv_norm, max_pool, scale, strided
from designspace.networks.parameters import Parameter
from designspace.networks.user_class import traced_layers, user_class
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


STEMS = {
    "imagenet": StemKind(stride=2, layers=functools.partial(_single, stride=2)),
    "cifar": StemKind(stride=1, layers=functools.partial(_single, stride=1)),
    "resnet": StemKind(stride=4, layers=functools.partial(_pooled, kernel=7), has_pool=True),
    "deep": StemKind(stride=4, layers=_deep, has_pool=True),
    "conv_pool": StemKind(stride=4, layers=functools.partial(_pooled, kernel=3), has_pool=True),
    "patch": StemKind(stride=4, layers=_patches),
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

    return StemKind(stride=stride, layers=layers, parameters=user.own_parameters(()))


def is_doubled(kind: str) -> bool:
    """Return whether the width of a kind must be even, because it is twice that of the first convolution."""
    return kind == "deep"
