"""Layers that several parts of a network share, and how their weights begin."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn


def conv_norm(
    in_width: int, out_width: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Make a padded convolution without bias, its batch-norm and, if wanted, a ReLU.

    (N, in_width, H, W) -> (N, out_width, H', W') with H' = H / stride, rounded up.
    """
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(in_width, out_width, kernel, stride=stride, padding=padding, groups=groups, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_width))
    if relu:
        layers["relu"] = nn.ReLU(inplace=True)  # batch-norm's backward pass reads its input, so its output may go
    return nn.Sequential(layers)


def global_average(x: Tensor) -> Tensor:
    """Average over height and width: (N, C, H, W) -> (N, C, 1, 1)."""
    return x.mean((2, 3), keepdim=True)


class SqueezeExcitation(nn.Module):
    """Weigh each channel by what the whole map holds (arXiv 1709.01507), with biases and a sigmoid, as RegNetY has it.

    (N, width, H, W) -> (N, width, H, W).
    """

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, squeezed, 1)
        self.relu = nn.ReLU(inplace=True)
        self.excite = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (N, width, H, W) by one factor in 0..1 for each image and channel."""
        hidden = self.relu(self.squeeze(global_average(x)))  # (N, squeezed, 1, 1)
        scale: Tensor = self.excite(hidden).sigmoid()
        return x * scale


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Give all weights their first values, as pycls does, whatever they held before.

    Convolutions: normal with mean 0 and variance 2 / fan-out, where fan-out is kernel height * kernel width * output
    channels, *not* divided by the groups (timm divides). Linear layers: normal with standard deviation 0.01. Biases:
    0. Batch-norm: scale 1, shift 0, running mean 0 and variance 1.

    Values are drawn on the CPU from ``generator`` (a CPU generator) in the order of ``model.modules()``, so they are
    the same on every device; no global random state is read or changed.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            _draw_normal(module.weight, math.sqrt(2 / fan_out), generator)
        elif isinstance(module, nn.Linear):
            _draw_normal(module.weight, 0.01, generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            module.bias.zero_()


def _draw_normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fill ``weight`` with normal values of mean 0; on the meta device there is nothing to fill."""
    if weight.is_meta:
        return
    weight.copy_(torch.randn(weight.shape, generator=generator, device="cpu").mul_(std))
