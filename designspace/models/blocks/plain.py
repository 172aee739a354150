"""Transforms of blocks without bottleneck: one or two 3x3 convolutions (see `designspace.networks.blocks.plain`)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from designspace.models.blocks.options import BlockOptions
from designspace.models.layers import ConvNorm


def plain_transform(
    in_width: int, width: int, stride: int, convs: int, options: BlockOptions, *, final_relu: bool
) -> nn.Sequential:
    """Build the transform of a block without bottleneck: (N, in_width, H, W) -> (N, width, H', W')."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    dilation = options.dilation
    for number in range(1, convs + 1):
        layers[f"conv{number}"] = ConvNorm(
            in_width,
            width,
            3,
            stride=1 if options.keep_resolution else stride,
            dilation=dilation,
            relu=final_relu or number < convs,
            drop_block=options.drop_block,
        )
        if options.keep_resolution:
            dilation *= stride
        in_width, stride = width, 1
    return nn.Sequential(layers)
