"""Layers that several parts of a network share, and the initialisation of their weights."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.models.drop import DropBlock

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
}
"""Activations by the names that networks have for them."""


class ConvNorm(nn.Sequential):
    """A padded convolution without bias, its batch-norm and, by default, a ReLU or another activation.

    (N, in_width, H, W) -> (N, out_width, H', W') with H' = H / stride, rounded up. ``drop_block`` is the rate of a
    `DropBlock` after the batch-norm.
    """

    if TYPE_CHECKING:  # TorchScript reads annotations and does not support these
        conv: nn.Conv2d
        norm: nn.BatchNorm2d

    def __init__(
        self,
        in_width: int,
        out_width: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        relu: bool = True,
        drop_block: float = 0.0,
        activation: str = "relu",
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        conv = nn.Conv2d(
            in_width, out_width, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=False
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_width))
        if drop_block:
            layers["drop"] = DropBlock(drop_block)
        if relu:
            # Not in place, because a hook may keep the batch-norm's output.
            layers["relu"] = ACTIVATIONS[activation]()
        super().__init__(layers)


class DilatedAvgPool(nn.Module):
    """An average pool of stride 1 whose windows are dilated, in place of a pool with a stride.

    (N, C, H, W) -> the same shape. At every pixel that a pool with the stride would compute, the output is the same.
    With ``centred``, windows are centred on their pixel, and pixels beyond the border count as 0, as in a padded
    average pool; without it, windows start at their pixel, and pixels beyond the border do not count.
    """

    def __init__(self, kernel: int, dilation: int, *, centred: bool) -> None:
        super().__init__()
        self.kernel, self.dilation, self.centred = kernel, dilation, centred

    def forward(self, x: Tensor) -> Tensor:
        """Average windows: (N, C, H, W) -> (N, C, H, W)."""
        if self.centred:
            return self._sum(x) / self.kernel**2
        return self._sum(x) / self._sum(torch.ones_like(x[:1, :1]))

    def _sum(self, x: Tensor) -> Tensor:
        """Sum each window."""
        height, width = x.shape[2], x.shape[3]
        reach = (self.kernel - 1) * self.dilation
        before = reach // 2 if self.centred else 0
        x = functional.pad(x, (before, reach - before, before, reach - before))
        starts = range(0, reach + 1, self.dilation)
        rows = torch.stack([x[:, :, start : start + height] for start in starts]).sum(0)
        return torch.stack([rows[:, :, :, start : start + width] for start in starts]).sum(0)

    def extra_repr(self) -> str:
        """Return the arguments as text."""
        return f"kernel={self.kernel}, dilation={self.dilation}, centred={self.centred}"


def global_average(x: Tensor) -> Tensor:
    """Average over height and width: (N, C, H, W) -> (N, C, 1, 1)."""
    return x.mean((2, 3), keepdim=True)


class LayerNorm2d(nn.LayerNorm):
    """A layer norm over the channels of each pixel: (N, C, H, W) -> the same shape (ConvNeXt, arXiv 2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the channels of each pixel: (N, C, H, W) -> the same shape."""
        last = x.permute(0, 2, 3, 1)
        return functional.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """A learned factor per channel: (N, C, H, W) -> the same shape (arXiv 2103.17239)."""

    def __init__(self, width: int, initial: float = 1e-6) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel: (N, C, H, W) -> the same shape."""
        return x * self.factor.view(1, -1, 1, 1)


class PatchConv(nn.Conv2d):
    """A convolution of patches that do not overlap, with bias: (N, in_width, H, W) -> (N, width, H', W').

    H' = H / side, rounded up: maps whose sides are not multiples of ``side`` are padded with zeros.
    """

    def __init__(self, in_width: int, width: int, side: int) -> None:
        super().__init__(in_width, width, side, stride=side)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to (N, width, H', W')."""
        side = self.stride[0]
        padded = functional.pad(x, (0, -x.shape[3] % side, 0, -x.shape[2] % side))
        return functional.conv2d(padded, self.weight, self.bias, self.stride)


class PixelClassifier(nn.Conv2d):
    """A linear classifier of each pixel: (N, C, H, W) -> logits (N, num_classes, H, W)."""

    def __init__(self, in_width: int, num_classes: int) -> None:
        super().__init__(in_width, num_classes, 1)


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation (arXiv 1709.01507), with biases and a sigmoid as in RegNetY.

    (N, width, H, W) -> (N, width, H, W): each channel is scaled by a factor that depends on the whole map.
    """

    def __init__(self, width: int, squeezed: int, activation: str = "relu") -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, squeezed, 1)
        self.relu = ACTIVATIONS[activation]()
        self.excite = nn.Conv2d(squeezed, width, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (N, width, H, W) by a factor in 0..1 per image and channel."""
        hidden = self.relu(self.squeeze(global_average(x)))  # (N, squeezed, 1, 1)
        scaled: Tensor = x * self.sigmoid(self.excite(hidden))
        return scaled


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Set all weights to their initial values, as pycls does.

    Convolutions: normal with mean 0 and variance 2 / fan-out, where fan-out is kernel height * kernel width * output
    channels, *not* divided by the number of groups (timm divides). Linear layers and classifiers of pixels: normal with
    standard deviation 0.01.
    Biases: 0. Batch-norm: scale 1, shift 0, running mean 0 and variance 1.

    Values are drawn on the CPU from ``generator`` (a CPU generator) in the order of ``model.modules()``, so they are
    the same on every device; the global random state is neither read nor changed.
    """
    for module in model.modules():
        if isinstance(module, PixelClassifier):
            _draw_normal(module.weight, 0.01, generator)
        elif isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            _draw_normal(module.weight, math.sqrt(2 / fan_out), generator)
        elif isinstance(module, nn.Linear):
            _draw_normal(module.weight, 0.01, generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            module.bias.zero_()


def _draw_normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fill ``weight`` with normal values of mean 0, unless it is on the meta device."""
    if weight.is_meta:
        return
    weight.copy_(torch.randn(weight.shape, generator=generator, device="cpu").mul_(std))
