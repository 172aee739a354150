"""AutoAugment and RandAugment: the choice of operations for each image, and their strength.

The choice is drawn on the host, so that the images of each operation are known there: every operation is applied to its
own images only, without synchronising with a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from designspace.data.augment import colour
from designspace.data.augment.geometry import affine

Operation = Callable[[Tensor, Tensor], Tensor]
"""Takes uint8 images (n, C, H, W) and one argument per image, float32 (n,), and returns uint8 images."""

_TRANSLATION = 150 / 331
"""Largest translation, as a fraction of the side: 150 pixels of 331 in AutoAugment's paper (table 6)."""


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Take each row from further right, by ``slope`` pixels per row."""
    return affine(images, _matrices(slope, b=slope))


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Take each column from further below, by ``slope`` pixels per column."""
    return affine(images, _matrices(slope, d=slope))


def translate_x(images: Tensor, fraction: Tensor) -> Tensor:
    """Move to the right by a fraction of the width, in whole pixels."""
    return affine(images, _matrices(fraction, c=-(fraction * images.shape[3]).trunc()))


def translate_y(images: Tensor, fraction: Tensor) -> Tensor:
    """Move down by a fraction of the height, in whole pixels."""
    return affine(images, _matrices(fraction, f=-(fraction * images.shape[2]).trunc()))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate anticlockwise around the centre."""
    x, y = images.shape[3] / 2, images.shape[2] / 2
    cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    return affine(images, _matrices(cos, cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y))


def _matrices(
    like: Tensor,
    a: Tensor | float = 1.0,
    b: Tensor | float = 0.0,
    c: Tensor | float = 0.0,
    d: Tensor | float = 0.0,
    e: Tensor | float = 1.0,
    f: Tensor | float = 0.0,
) -> Tensor:
    """Return matrices for `affine` from coefficients in Pillow's order: (n, 2, 3)."""
    columns = [value if isinstance(value, Tensor) else torch.full_like(like, value) for value in (a, b, c, d, e, f)]
    return torch.stack(columns, 1).view(-1, 2, 3)


def identity(images: Tensor, _: Tensor) -> Tensor:
    """Return the images unchanged."""
    return images


OPERATIONS: tuple[Operation, ...] = (
    identity,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
    rotate,
    colour.autocontrast,
    colour.equalize,
    colour.solarize,
    colour.posterize,
    colour.contrast,
    colour.saturation,
    colour.brightness,
    colour.sharpness,
    colour.invert,
)
"""All operations; elsewhere they are denoted by their index in this tuple."""
_RANDAUGMENT = len(OPERATIONS) - 1
"""Number of operations of RandAugment, which are all but the last (arXiv 1909.13719, section 3.1)."""
_INDEX = {operation.__name__: index for index, operation in enumerate(OPERATIONS)}
_ENHANCING = ("contrast", "saturation", "brightness", "sharpness")

# Pairs of operations: name, probability, magnitude of 10 (None if it has none). Table 9 of arXiv 1805.09501.
_IMAGENET_POLICY: tuple[tuple[tuple[str, float, int | None], tuple[str, float, int | None]], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("equalize", 0.4, None), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, None)),
    (("posterize", 0.8, 5), ("equalize", 1.0, None)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, None), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("saturation", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, None)),
    (("equalize", 0.0, None), ("equalize", 0.8, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("saturation", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("saturation", 1.0, 2)),
    (("saturation", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, None)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, None)),
    (("saturation", 0.4, 0), ("equalize", 0.6, None)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("saturation", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
)


class _Argument(NamedTuple):
    """The argument of an operation: ``middle``, plus or minus ``range`` with equal probability."""

    middle: float
    range: float = 0.0


def _argument(name: str, fraction: float) -> _Argument:
    """Return the argument of an operation that both methods treat alike, at a fraction of its full strength."""
    ranges = {"shear_x": 0.3, "shear_y": 0.3, "translate_x": _TRANSLATION, "translate_y": _TRANSLATION, "rotate": 30}
    return _Argument(0.0, ranges.get(name, 0.0) * fraction)


def _autoaugment_argument(name: str, magnitude: int) -> _Argument:
    """Return AutoAugment's argument: the ranges are from the paper (table 6), their division from the authors' code.

    The code of ResNeSt's authors agrees. The factor of colour, contrast, brightness and sharpness grows from 0.1 with
    the magnitude, so 5 changes nothing; posterize keeps 4 bits at most.
    """
    if name in _ENHANCING:
        return _Argument(0.1 + 1.8 * magnitude / 10)
    if name == "solarize":
        return _Argument(256 - math.floor(256 * magnitude / 10))
    if name == "posterize":
        return _Argument(4 - math.floor(4 * magnitude / 10))
    return _argument(name, magnitude / 10)


def _randaugment_argument(name: str, magnitude: float) -> _Argument:
    """Return RandAugment's argument: 0 changes nothing, 30 is the end of AutoAugment's ranges, as in torchvision.

    In the code of RandAugment's authors the ranges end at 10, and factors grow from 0.1, so that 5 changes nothing.
    """
    fraction = magnitude / 30
    if name in _ENHANCING:
        return _Argument(1.0, 0.9 * fraction)
    if name == "solarize":
        return _Argument(255 * (1 - fraction))
    if name == "posterize":
        return _Argument(8 - round(4 * fraction))
    return _argument(name, fraction)


def draw_autoaugment(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw AutoAugment's operations for ``count`` images: one of its 25 pairs each, applied with their probabilities.

    Returns:
        Indices into `OPERATIONS`, int64 (count, 2), and arguments, float32 (count, 2), both on the host.
    """
    host = host_generator(generator)
    kinds = torch.tensor([[_INDEX[name] for name, _, _ in pair] for pair in _IMAGENET_POLICY])
    probabilities = torch.tensor([[probability for _, probability, _ in pair] for pair in _IMAGENET_POLICY])
    arguments = torch.tensor(
        [[_autoaugment_argument(name, magnitude or 0) for name, _, magnitude in pair] for pair in _IMAGENET_POLICY]
    )  # (25, 2, 2)
    pairs = torch.randint(len(kinds), (count,), generator=host)
    is_applied = torch.rand(count, 2, generator=host) < probabilities[pairs]
    return torch.where(is_applied, kinds[pairs], 0), _signed(arguments[pairs], host)


def draw_randaugment(
    count: int, operations: int, magnitude: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw RandAugment's operations for ``count`` images: ``operations`` of 14 each, uniformly, of one magnitude.

    Returns:
        Indices into `OPERATIONS`, int64, and arguments, float32, both (count, operations) and on the host.
    """
    host = host_generator(generator)
    arguments = torch.tensor(
        [_randaugment_argument(operation.__name__, magnitude) for operation in OPERATIONS[:_RANDAUGMENT]]
    )  # (14, 2)
    kinds = torch.randint(_RANDAUGMENT, (count, operations), generator=host)
    return kinds, _signed(arguments[kinds], host)


def _signed(arguments: Tensor, generator: torch.Generator) -> Tensor:
    """Draw signs and return arguments: pairs of middle and range (..., 2) -> (...)."""
    middle, range_ = arguments.unbind(-1)
    negative = torch.rand(middle.shape, generator=generator) < 0.5
    return torch.where(negative, middle - range_, middle + range_)


def perform(images: Tensor, kinds: Tensor, arguments: Tensor) -> Tensor:
    """Apply to each image its operations, one after the other.

    Args:
        images: uint8 (n, C, H, W), one channel or three, on any device; they are not changed.
        kinds: indices into `OPERATIONS`, int64 (n, k), on the host.
        arguments: arguments of the operations, float32 (n, k), on the host.
    """
    images = images.clone(memory_format=torch.contiguous_format)
    for kind_of, argument_of in zip(kinds.unbind(1), arguments.unbind(1), strict=True):
        for kind, operation in enumerate(OPERATIONS):
            chosen = (kind_of == kind).nonzero()[:, 0]
            if operation is identity or not len(chosen):
                continue
            argument = argument_of[chosen].to(images.device, non_blocking=True)
            index = chosen.to(images.device, non_blocking=True)
            images.index_copy_(0, index, operation(images.index_select(0, index), argument))
    return images


def host_generator(generator: torch.Generator) -> torch.Generator:
    """Return a generator of the host: the argument itself or, if it is a GPU's, one seeded from its state.

    The state of a GPU's generator is kept on the host, so this does not synchronise with the GPU. The state advances.
    """
    if generator.device.type == "cpu":
        return generator
    words = torch.frombuffer(bytearray(generator.get_state().numpy().tobytes()[:16]), dtype=torch.int64).tolist()
    torch.rand((), generator=generator, device=generator.device)
    # The words are the seed and the number of values drawn so far; the factor spreads neighbouring numbers.
    seed = (words[0] ^ (words[-1] * 0x9E3779B97F4A7C15)) % 2**63
    return torch.Generator().manual_seed(seed)
