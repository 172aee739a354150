"""Blocks of a transform and a shortcut ("Designing Network Design Spaces", section 3.2; ResNeSt, section 3)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from designspace.models.blocks.bottleneck import bottleneck_transform
from designspace.models.blocks.options import BlockOptions
from designspace.models.blocks.plain import plain_transform
from designspace.models.drop import DropPath
from designspace.models.layers import ConvNorm, DilatedAvgPool
from designspace.networks.blocks.plain import CONVS, RESIDUAL
from designspace.networks.network import Network, Stage


class Block(nn.Module):
    """A transform plus a shortcut, and a ReLU: (N, in_width, H, W) -> (N, stage.width, H', W').

    ``network.block`` chooses the transform: ``bottleneck`` (1x1, 3x3, 1x1: the X block, or the Y block with
    squeeze-and-excitation), ``bottleneck_linear`` (the same without the final ReLU, and with a shortcut only if the
    shape stays the same), ``basic`` (3x3, 3x3), ``vanilla`` (3x3, 3x3, no shortcut), ``single_residual`` (3x3) or
    ``single`` (3x3, no shortcut). The ``first`` block of a stage applies its stride, H' = H / stride, rounded up.
    """

    def __init__(
        self, network: Network, stage: Stage, in_width: int, *, first: bool, options: BlockOptions | None = None
    ) -> None:
        super().__init__()
        options = options or BlockOptions()
        stride = stage.stride if first else 1
        same_shape = in_width == stage.width and stride == 1
        projects = network.block in ("bottleneck", *RESIDUAL)
        if network.block in CONVS:
            convs = CONVS[network.block]
            self.transform = plain_transform(in_width, stage.width, stride, convs, options, final_relu=not projects)
        else:
            self.transform = bottleneck_transform(network, stage, in_width, stride, options)
        self.keeps_resolution = options.keep_resolution
        self.has_shortcut = projects or (network.block == "bottleneck_linear" and same_shape)
        self.shortcut: nn.Module = nn.Identity()
        if projects and not same_shape:
            self.shortcut = _projection(network.shortcut, in_width, stage.width, stride, options)
        self.drop_path = DropPath(options.drop_path if self.has_shortcut else 0.0)
        self.relu: nn.Module = nn.ReLU() if projects else nn.Identity()

    def zero_init_residual(self) -> None:
        """Set the scale of the transform's last batch-norm to 0 if the block has a shortcut."""
        if self.has_shortcut:
            last = [module for module in self.transform.modules() if isinstance(module, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to (N, width, H', W')."""
        y = self.transform(x)
        if self.has_shortcut:
            y = self.drop_path(y) + self.shortcut(x)
        out: Tensor = self.relu(y)
        return out


def _projection(kind: str, in_width: int, width: int, stride: int, options: BlockOptions) -> nn.Sequential:
    """Build the shortcut of a block that changes the shape: (N, in_width, H, W) -> (N, width, H', W')."""
    if kind == "conv":
        return ConvNorm(in_width, width, stride=1 if options.keep_resolution else stride, relu=False)
    pool: nn.Module = nn.Identity()
    if stride > 1 and options.keep_resolution:
        pool = DilatedAvgPool(stride, options.dilation, centred=False)
    elif stride > 1:
        # At the border of a map of odd size, windows average the pixels that exist, so that H' is rounded up here too.
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(OrderedDict(pool=pool, project=ConvNorm(in_width, width, relu=False)))
