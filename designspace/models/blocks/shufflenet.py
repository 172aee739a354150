"""The unit of ShuffleNetV2 (arXiv 1807.11164, figure 3 c and d)."""

from __future__ import annotations

import functools
from collections import OrderedDict

import torch
from torch import Tensor, nn

from designspace.models.blocks.options import BlockOptions
from designspace.models.drop import DropPath
from designspace.models.layers import ConvNorm
from designspace.networks.network import Network, Stage


class ShuffleUnit(nn.Module):
    """Two branches of half of the channels each, which are shuffled: (N, in_width, H, W) -> (N, stage.width, H', W').

    H' = H / stride, rounded up. Where the shape stays the same, the first branch is the first half of the channels as
    it is, and the second one transforms the other half; elsewhere both branches transform all channels.
    """

    def __init__(self, network: Network, stage: Stage, in_width: int, stride: int, options: BlockOptions) -> None:
        super().__init__()
        kernel, half = network.stage_parameter(stage, "kernel_size"), stage.width // 2
        self.splits = stride == 1 and in_width == stage.width
        conv = functools.partial(ConvNorm, drop_block=options.drop_block)
        spatial_stride = 1 if options.keep_resolution else stride
        spatial = functools.partial(conv, kernel=kernel, stride=spatial_stride, dilation=options.dilation, relu=False)
        self.first: nn.Module = nn.Identity()
        if not self.splits:
            self.first = nn.Sequential(
                OrderedDict(conv1=spatial(in_width, in_width, groups=in_width), conv2=conv(in_width, half))
            )
        self.second = nn.Sequential(
            OrderedDict(
                conv1=conv(half if self.splits else in_width, half),
                conv2=spatial(half, half, groups=half),
                conv3=conv(half, half),
            )
        )
        self.keeps_resolution = options.keep_resolution
        self.drop_path = DropPath(options.drop_path if self.splits else 0.0)

    def zero_init_residual(self) -> None:
        """Set the scale of the last batch-norm to 0 if one branch passes its channels unchanged."""
        if self.splits:
            nn.init.zeros_(self.second.get_parameter("conv3.norm.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to (N, width, H', W')."""
        if self.splits:
            first, second = x.chunk(2, dim=1)
        else:
            first, second = self.first(x), x
        return shuffled(torch.cat([first, self.drop_path(self.second(second))], dim=1))


def shuffled(x: Tensor) -> Tensor:
    """Interleave the channels of both halves: (N, C, H, W) -> the same shape."""
    count, width, height, breadth = x.shape
    return x.reshape(count, 2, width // 2, height, breadth).transpose(1, 2).flatten(1, 2)
