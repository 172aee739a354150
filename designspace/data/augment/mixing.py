"""Mixup of pairs of images and labels (arXiv 1710.09412)."""

from __future__ import annotations

import torch
from torch import Tensor


def mixup(
    images: Tensor, labels: Tensor, num_classes: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every image with another one of the batch, and the labels accordingly.

    The batch has one weight, drawn from Beta(alpha, alpha), and one random order of partners, as in the code of the
    paper's authors (section 2, equation 1).

    Args:
        images: float32 (N, C, H, W); they are not changed.
        labels: int64 (N,).
        num_classes: the number of classes of the data set.
        alpha: above 0; the larger it is, the more evenly images are mixed.
        generator: a generator on any device.

    Returns:
        Images of the same shape and layout, and targets: the probability of each class, float32 (N, num_classes), as
        taken by `torch.nn.functional.cross_entropy`. It may also smooth them, because smoothing and mixing commute.
    """
    weight = draw_weight(alpha, generator).to(images.device, torch.float32, non_blocking=True)
    partners = torch.randperm(len(images), generator=generator, device=generator.device)
    partners = partners.to(images.device, non_blocking=True)
    mixed = images * weight + images[partners] * (1 - weight)
    targets = (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(torch.float32)
    return mixed, targets * weight + targets[partners] * (1 - weight)


def draw_weight(alpha: float, generator: torch.Generator) -> Tensor:
    """Draw from Beta(alpha, alpha): float64, shape (), on the generator's device.

    It is computed from the ratio of two gamma variates, in logarithms because both may underflow if alpha is small: a
    variate of shape a is one of shape a + 1 times a uniform one to the power of 1 / a.
    """
    shapes = torch.full((2,), alpha + 1, dtype=torch.float64, device=generator.device)
    gammas = torch._standard_gamma(shapes, generator=generator)
    uniform = 1 - torch.rand(2, dtype=torch.float64, generator=generator, device=generator.device)  # above 0
    logarithms = gammas.log() + uniform.log() / alpha
    return torch.sigmoid(logarithms[0] - logarithms[1])
