"""MBConv, the block of MobileNetV2 and EfficientNet (arXiv 1801.04381, 1905.11946)."""

from __future__ import annotations

import functools
from collections import OrderedDict

from torch import Tensor, nn

from designspace.models.blocks.options import BlockOptions
from designspace.models.drop import DropPath
from designspace.models.layers import ConvNorm, SqueezeExcitation
from designspace.networks.blocks.mbconv import expanded_width, squeezed_width
from designspace.networks.network import Network, Stage


class MBConv(nn.Module):
    """1x1 expansion, depthwise k x k, squeeze-and-excitation, 1x1 without activation, and an identity shortcut.

    (N, in_width, H, W) -> (N, stage.width, H', W') with H' = H / stride, rounded up. The squeeze width is a fraction of
    the block's input width, as in EfficientNet. There is a shortcut only where the shape stays the same.
    """

    def __init__(self, network: Network, stage: Stage, in_width: int, stride: int, options: BlockOptions) -> None:
        super().__init__()
        expansion, kernel = (network.stage_parameter(stage, name) for name in ("expansion", "kernel_size"))
        expanded, activation = int(expanded_width(in_width, expansion)), network.activation
        conv = functools.partial(ConvNorm, drop_block=options.drop_block)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expanded != in_width:
            layers["conv1"] = conv(in_width, expanded, activation=activation)
        layers["conv2"] = conv(
            expanded,
            expanded,
            kernel,
            stride=1 if options.keep_resolution else stride,
            groups=expanded,
            dilation=options.dilation,
            activation=activation,
        )
        if squeezed := int(squeezed_width(in_width, network.se_ratio)):
            layers["se"] = SqueezeExcitation(expanded, squeezed, activation)
        layers["conv3"] = conv(expanded, stage.width, relu=False)
        self.transform = nn.Sequential(layers)
        self.keeps_resolution = options.keep_resolution
        self.has_shortcut = stride == 1 and in_width == stage.width
        self.drop_path = DropPath(options.drop_path if self.has_shortcut else 0.0)

    def zero_init_residual(self) -> None:
        """Set the scale of the last batch-norm to 0 if the block has a shortcut."""
        if self.has_shortcut:
            nn.init.zeros_(self.transform.get_parameter("conv3.norm.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to (N, width, H', W')."""
        y: Tensor = self.transform(x)
        return x + self.drop_path(y) if self.has_shortcut else y
