"""Operations on pixel values: those of the policies on bytes, colour jitter, lighting and normalisation.

The operations on bytes equal Pillow's (ImageOps, ImageEnhance) bit for bit. Each takes uint8 (N, C, H, W), one channel
or three, and one argument per image, float32 (N,), and returns uint8 of the same shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EIGENVALUES = (0.2175, 0.0188, 0.0045)
_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Eigenvectors (columns) of the covariance of ImageNet's red, green and blue (rows), for values of 0 to 1, as in pycls
and in the code of ResNeSt's authors."""


def invert(images: Tensor, _: Tensor) -> Tensor:
    """Invert all values: light becomes dark."""
    return 255 - images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper ``bits`` of the 8 bits, at least 1; the argument is rounded down."""
    shift = (8 - bits.floor())[:, None, None, None].to(torch.uint8)
    return (images >> shift) << shift


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values at or above a threshold, 0 to 256."""
    return torch.where(images >= threshold[:, None, None, None], 255 - images, images)


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel from its minimum and maximum to 0 and 255; a channel of a single value is unchanged."""
    low, high = images.flatten(2).aminmax(dim=2)
    low, high = low.double()[:, :, None], high.double()[:, :, None]  # as in Pillow: one ulp can change a byte
    scale = torch.full_like(low, 255) / (high - low)  # 255 / tensor would multiply by a reciprocal
    values = torch.arange(256, dtype=torch.float64, device=images.device)
    table = (values * scale - low * scale).clamp_(0, 255)
    return _look_up(torch.where(high > low, table, values), images)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Equalise the histogram of each channel."""
    flat = images.flatten(2).long()
    ones = flat.new_ones(()).expand_as(flat)
    counts = flat.new_zeros(*flat.shape[:2], 256).scatter_add_(2, flat, ones)
    values = torch.arange(256, device=images.device)
    greatest = flat.amax(2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, greatest)) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    return _look_up(torch.where(step > 0, table, values), images)


def _look_up(tables: Tensor, images: Tensor) -> Tensor:
    """Look values up in tables: (N, C, 256) of any type, uint8 (N, C, H, W) -> uint8 (N, C, H, W)."""
    return tables.to(torch.uint8).gather(2, images.flatten(2).long()).view_as(images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black: 0 gives black, 1 the image, larger factors a brighter one."""
    return _blend(torch.zeros_like(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey value of the image."""
    greys = grey(images).long().flatten(1)
    mean = (2 * greys.sum(1) + greys.shape[1]) // (2 * greys.shape[1])  # rounded
    return _blend(mean[:, None, None, None], images, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image (the operation called Color); an image of one channel is unchanged."""
    return images if images.shape[1] == 1 else _blend(grey(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed by a 3x3 filter; border pixels are unchanged."""
    if min(images.shape[2:]) < 3:
        return images
    wide = images.short()
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = ((2 * sums + 13) // 26).to(torch.uint8)  # a 13th, rounded
    return _blend(smooth, images, factor)


def grey(images: Tensor) -> Tensor:
    """Return the luma of red, green and blue (ITU-R 601-2, as in Pillow): uint8 (N, 3, H, W) -> (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.int().unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8).unsqueeze(1)


def _blend(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Interpolate from the other image to the image, or extrapolate beyond it; values are clipped to bytes."""
    start = other.to(torch.float32)
    moved = start + factor[:, None, None, None] * (images.to(torch.float32) - start)
    return moved.clamp_(0, 255).to(torch.uint8)


def jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, in a separate order for each image.

    Args:
        images: uint8 (N, C, H, W), one channel or three.
        factors: factors of brightness, contrast and saturation. float32 (N, 3).
        order: indices of the operations that come first, second and third. int64 (N, 3).

    Returns:
        float32 (N, C, H, W), 0 to 255. Intermediate values are not rounded.
    """
    pixels = images.to(torch.float32)
    for position in range(3):
        kind = order[:, position, None]
        factor = factors.gather(1, kind)[:, :, None, None]
        kind = kind[:, :, None, None]
        greys = _float_grey(pixels)
        # All three blend with another image: black, the mean grey, the grey image.
        other = torch.where(kind == 1, greys.mean((2, 3), keepdim=True), torch.where(kind == 2, greys, 0.0))
        pixels = (other + factor * (pixels - other)).clamp_(0, 255)
    return pixels


def _float_grey(pixels: Tensor) -> Tensor:
    """Return the luma: float32 (N, C, H, W) -> (N, 1, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


def light(images: Tensor, amounts: Tensor) -> Tensor:
    """Add multiples of the principal components of ImageNet's colours (AlexNet's paper, section 4.1).

    Args:
        images: (N, 3, H, W) of any type, 0 to 255: red, green, blue.
        amounts: factors of each eigenvector times its eigenvalue. float32 (N, 3).

    Returns:
        float32 (N, 3, H, W), which may exceed the range of 0 to 255.
    """
    shift = images.new_zeros(len(images), 3, dtype=torch.float32)
    for component, value in enumerate(_EIGENVALUES):
        for channel, vector in enumerate(_EIGENVECTORS):
            shift[:, channel] += amounts[:, component] * (255 * value * vector[component])
    return images + shift[:, :, None, None]


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise values to mean 0 and standard deviation 1: (N, C, H, W) of any type -> float32, channels last.

    ``mean`` and ``std`` are (C, 1, 1) in the images' units, 0 to 255 for bytes.
    """
    if images.shape[1] == 1:  # both layouts are the same in memory, but the strides must say channels last
        pixels = images.to(torch.float32, copy=True, memory_format=torch.channels_last)
        return pixels.sub_(mean).div_(std)
    # On a CPU, arithmetic before the change of layout takes less than half the time of the reverse order.
    return images.to(torch.float32, copy=True).sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
