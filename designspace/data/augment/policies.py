"""AutoAugment and RandAugment: which operations an image undergoes, and how strong they are.

What is chosen is drawn on the host, so that the images of each operation are known there: no image is put through an
operation that is not its own, and no GPU is waited for.
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
"""From uint8 images (n, C, H, W) and an argument for each, float32 (n,), to uint8 images."""

_TRANSLATION = 150 / 331
"""The farthest translation, as a part of the side: 150 pixels of 331 in AutoAugment's paper (table 6)."""


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Take each row from further right, by ``slope`` pixels a row."""
    return affine(images, _matrices(slope, b=slope))


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Take each column from further below, by ``slope`` pixels a column."""
    return affine(images, _matrices(slope, d=slope))


def translate_x(images: Tensor, part: Tensor) -> Tensor:
    """Move to the right by a part of the width, in whole pixels."""
    return affine(images, _matrices(part, c=-(part * images.shape[3]).trunc()))


def translate_y(images: Tensor, part: Tensor) -> Tensor:
    """Move down by a part of the height, in whole pixels."""
    return affine(images, _matrices(part, f=-(part * images.shape[2]).trunc()))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn anticlockwise around the centre."""
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
    """Matrices for `affine`, in Pillow's order of letters: (n, 2, 3)."""
    columns = [value if isinstance(value, Tensor) else torch.full_like(like, value) for value in (a, b, c, d, e, f)]
    return torch.stack(columns, 1).view(-1, 2, 3)


def identity(images: Tensor, _: Tensor) -> Tensor:
    """Leave the images."""
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
"""An operation is known by its place here."""
_RANDAUGMENT = len(OPERATIONS) - 1
"""RandAugment has all but the last (arXiv 1909.13719, section 3.1)."""
_PLACE = {operation.__name__: place for place, operation in enumerate(OPERATIONS)}
_ENHANCING = ("contrast", "saturation", "brightness", "sharpness")

# Two operations each: name, probability, magnitude of 10 (None where it has none). Table 9 of arXiv 1805.09501.
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
    """The argument of an operation is ``middle``, plus or minus ``range`` with equal chances."""

    middle: float
    range: float = 0.0


def _argument(name: str, part: float) -> _Argument:
    """The argument of an operation of which no method has its own idea, at a part of its greatest strength."""
    ranges = {"shear_x": 0.3, "shear_y": 0.3, "translate_x": _TRANSLATION, "translate_y": _TRANSLATION, "rotate": 30}
    return _Argument(0.0, ranges.get(name, 0.0) * part)


def _autoaugment_argument(name: str, magnitude: int) -> _Argument:
    """The argument in AutoAugment: the paper gives ranges (table 6), and the authors' code says how they are divided.

    So has the code of ResNeSt's authors it. The factor of colour, contrast, brightness and sharpness grows from 0.1
    with the magnitude, so 5 changes nothing; posterize keeps 4 bits at most.
    """
    if name in _ENHANCING:
        return _Argument(0.1 + 1.8 * magnitude / 10)
    if name == "solarize":
        return _Argument(256 - math.floor(256 * magnitude / 10))
    if name == "posterize":
        return _Argument(4 - math.floor(4 * magnitude / 10))
    return _argument(name, magnitude / 10)


def _randaugment_argument(name: str, magnitude: float) -> _Argument:
    """The argument in RandAugment: 0 changes nothing, 30 is the end of AutoAugment's ranges, as torchvision has it.

    In the code of RandAugment's authors those end at 10, and factors grow from 0.1, so that 5 changes nothing.
    """
    part = magnitude / 30
    if name in _ENHANCING:
        return _Argument(1.0, 0.9 * part)
    if name == "solarize":
        return _Argument(255 * (1 - part))
    if name == "posterize":
        return _Argument(8 - round(4 * part))
    return _argument(name, part)


def draw_autoaugment(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose what AutoAugment does to so many images: one of its 25 pairs each, every operation with its probability.

    Returns:
        Places in `OPERATIONS`, int64 (count, 2), and arguments, float32 (count, 2), both on the host.
    """
    host = host_generator(generator)
    kinds = torch.tensor([[_PLACE[name] for name, _, _ in pair] for pair in _IMAGENET_POLICY])
    chances = torch.tensor([[chance for _, chance, _ in pair] for pair in _IMAGENET_POLICY])
    arguments = torch.tensor(
        [[_autoaugment_argument(name, magnitude or 0) for name, _, magnitude in pair] for pair in _IMAGENET_POLICY]
    )  # (25, 2, 2)
    pairs = torch.randint(len(kinds), (count,), generator=host)
    done = torch.rand(count, 2, generator=host) < chances[pairs]
    return torch.where(done, kinds[pairs], 0), _signed(arguments[pairs], host)


def draw_randaugment(
    count: int, operations: int, magnitude: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose what RandAugment does to so many images: ``operations`` of 14 each, with equal chances, of one magnitude.

    Returns:
        Places in `OPERATIONS`, int64, and arguments, float32, both (count, operations) and on the host.
    """
    host = host_generator(generator)
    arguments = torch.tensor(
        [_randaugment_argument(operation.__name__, magnitude) for operation in OPERATIONS[:_RANDAUGMENT]]
    )  # (14, 2)
    kinds = torch.randint(_RANDAUGMENT, (count, operations), generator=host)
    return kinds, _signed(arguments[kinds], host)


def _signed(arguments: Tensor, generator: torch.Generator) -> Tensor:
    """Draw signs: pairs of middle and range (..., 2) -> arguments (...)."""
    middle, reach = arguments.unbind(-1)
    negative = torch.rand(middle.shape, generator=generator) < 0.5
    return torch.where(negative, middle - reach, middle + reach)


def perform(images: Tensor, kinds: Tensor, arguments: Tensor) -> Tensor:
    """Put each image through its operations, one after the other.

    Args:
        images: uint8 (n, C, H, W), one channel or three, on any device; they are not changed.
        kinds: places in `OPERATIONS`, int64 (n, k), on the host.
        arguments: of the operations, float32 (n, k), on the host.
    """
    images = images.clone(memory_format=torch.contiguous_format)
    for kind_of, argument_of in zip(kinds.unbind(1), arguments.unbind(1), strict=True):
        for kind, operation in enumerate(OPERATIONS):
            chosen = (kind_of == kind).nonzero()[:, 0]
            if operation is identity or not len(chosen):
                continue
            argument = argument_of[chosen].to(images.device, non_blocking=True)
            place = chosen.to(images.device, non_blocking=True)
            images.index_copy_(0, place, operation(images.index_select(0, place), argument))
    return images


def host_generator(generator: torch.Generator) -> torch.Generator:
    """Give a generator of the host: the given one, or, where that is a GPU's, one that follows from its state.

    The state of a GPU's generator is kept on the host, so nothing waits for the GPU. It moves on.
    """
    if generator.device.type == "cpu":
        return generator
    words = torch.frombuffer(bytearray(generator.get_state().numpy().tobytes()[:16]), dtype=torch.int64).tolist()
    torch.rand((), generator=generator, device=generator.device)
    # Seed and number of values drawn so far; the factor spreads neighbouring numbers.
    seed = (words[0] ^ (words[-1] * 0x9E3779B97F4A7C15)) % 2**63
    return torch.Generator().manual_seed(seed)
