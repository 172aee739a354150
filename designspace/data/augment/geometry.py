"""Geometric operations: flips, crops and resampling. Random parameters are drawn by the caller.

Every function works on whole batches, on the device that holds them, without synchronising with a GPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

GREY = 128
"""Fill value of `affine`, as in the code of AutoAugment's authors."""


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Flip the chosen images from left to right: (N, C, H, W) of any type, bool (N,) -> the same shape and type."""
    # Choosing whole images from two copies moves them as blocks; choosing pixels takes four times as long on a CPU.
    both = torch.cat((images, images.flip(3)))
    indices = torch.arange(len(images), device=images.device)
    return both.index_select(0, indices + chosen * len(images))


def pad_crop(
    images: Tensor, padding: int, corners: Tensor, size: tuple[int, int], fill: Tensor | None = None
) -> Tensor:
    """Pad every side with 0 and crop windows: (N, C, H, W) of any type -> (N, C, *size).

    ``corners`` are the upper left corners of the windows in the padded images, int64 (N, 2): rows, columns. Images are
    padded with ``fill``, (C, 1, 1), instead of 0 if it is given; they are float32 then.
    """
    if padding and fill is not None:
        return pad_crop(images - fill, padding, corners, size).add_(fill)
    padded = functional.pad(images, (padding,) * 4) if padding else images
    windows = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)  # a view: (N, C, rows, columns, *size)
    rows, columns = corners.unbind(1)
    if images.device.type == "cpu":  # numpy copies whole rows where torch copies pixels
        chosen = windows.numpy()[np.arange(len(images)), :, rows.numpy(), columns.numpy()]
        return torch.from_numpy(chosen)
    return windows[torch.arange(len(images), device=images.device), :, rows, columns]


class Boxes(NamedTuple):
    """A rectangle in each image, in whole pixels. Each field is float32 (N,)."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def first_fit(areas: Tensor, ratios: Tensor, positions: Tensor, height: int, width: int) -> tuple[Boxes, Tensor]:
    """Choose for each image the first of several rectangles that fits into height x width pixels.

    Args:
        areas: areas of the rectangles, as fractions of the image's area. (N, candidates).
        ratios: widths divided by heights. (N, candidates).
        positions: vertical and horizontal position in the remaining space, 0 to below 1. (N, 2).
        height: height of the images, in pixels.
        width: width of the images, in pixels.

    Returns:
        The rectangles, and whether one fits, (N,) bool. If none fits, the rectangle is the whole image.
    """
    pixels = areas * (height * width)
    heights, widths = (pixels / ratios).sqrt().round(), (pixels * ratios).sqrt().round()
    fits = (heights >= 1) & (widths >= 1) & (heights <= height) & (widths <= width)
    candidates = areas.shape[1]
    first = (fits * torch.arange(candidates, 0, -1, device=areas.device)).argmax(1, keepdim=True)
    any_fits = fits.any(1)
    chosen_height = torch.where(any_fits, heights.gather(1, first)[:, 0], height)
    chosen_width = torch.where(any_fits, widths.gather(1, first)[:, 0], width)
    # The product may round up to one pixel too many, hence the minimum.
    top = (positions[:, 0] * (height - chosen_height + 1)).floor().minimum(height - chosen_height)
    left = (positions[:, 1] * (width - chosen_width + 1)).floor().minimum(width - chosen_width)
    return Boxes(top, left, chosen_height, chosen_width), any_fits


def resample(images: Tensor, boxes: Boxes, size: int) -> Tensor:
    """Resize a rectangle of each image to size x size pixels: (N, C, H, W) -> (N, C, size, size), uint8 or float32.

    Bilinear with antialiasing, equal to torchvision's ``resize(antialias=True)`` and Pillow up to rounding. Bytes are
    rounded to bytes. Each image
    is multiplied by a matrix of weights for its rows and one for its columns.
    """
    count, channels, height, width = images.shape
    rows = _weights(boxes.top, boxes.height, height, size)
    columns = _weights(boxes.left, boxes.width, width, size)
    pixels = images.to(torch.float32).reshape(count, channels * height, width)
    pixels = torch.bmm(pixels, columns.transpose(1, 2)).view(count, channels, height, size)
    resized = rows.unsqueeze(1) @ pixels
    return resized.round_().to(torch.uint8) if images.dtype == torch.uint8 else resized


def _weights(start: Tensor, length: Tensor, pixels: int, size: int) -> Tensor:
    """Return the weights of ``pixels`` in ``size`` new ones that cover a segment: (N,), (N,) -> (N, size, pixels).

    They form a triangle around the centre of a new pixel, as wide as two old or two new pixels, whichever is more. Rows
    sum to 1. Pixels outside the segment have weight 0, as if it had been cropped first.
    """
    scale = (length / size)[:, None, None]
    centres = (torch.arange(size, device=start.device) + 0.5)[:, None] * scale  # (N, size, 1), from the start
    old = torch.arange(pixels, device=start.device) - start[:, None, None] + 0.5  # (N, 1, pixels)
    weights = (1 - (old - centres).abs_() / scale.clamp(min=1)).clamp_(min=0)
    weights *= (old > 0) & (old < length[:, None, None])
    return weights.div_(weights.sum(2, keepdim=True))


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Transform images by matrices: uint8 (N, C, H, W), float32 (N, 2, 3) -> uint8 (N, C, H, W).

    A matrix times (x, y, 1), the centre of a pixel, is the position of its source, whose pixel is copied. Pixels with
    sources outside the image become `GREY`.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) + 0.5
    y = (torch.arange(height, device=images.device) + 0.5)[:, None]

    def source(row: Tensor) -> Tensor:
        """Return a coordinate of each pixel's source: (N, 3) -> (N, H, W)."""
        a, b, c = row[:, :, None, None].unbind(1)
        return (a * x + b * y + c).floor().long()

    from_x, from_y = source(matrices[:, 0]), source(matrices[:, 1])
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    indices = from_y.clamp(0, height - 1) * width + from_x.clamp(0, width - 1)
    indices = indices.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, indices).view_as(images)
    return torch.where(inside[:, None], moved, GREY)


def erase(images: Tensor, boxes: Boxes, chosen: Tensor) -> Tensor:
    """Set a rectangle of each chosen image to 0: (N, C, H, W), bool (N,) -> the same shape, in place."""

    def within(start: Tensor, length: Tensor, pixels: int) -> Tensor:
        """Return which pixels of a row or column are in the rectangle: (N,), (N,) -> (N, pixels)."""
        offset = torch.arange(pixels, device=images.device) - start[:, None]
        return (offset >= 0) & (offset < length[:, None])

    rows = within(boxes.top, boxes.height, images.shape[2]) & chosen[:, None]
    columns = within(boxes.left, boxes.width, images.shape[3])
    return images.masked_fill_(rows[:, None, :, None] & columns[:, None, None, :], 0.0)


def centre(images: Tensor, size: int) -> Tensor:
    """Return the central size x size pixels of images: (N, C, H, W) of any type -> (N, C, size, size), a view."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]
