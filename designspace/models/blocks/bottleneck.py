"""Transforms of bottleneck blocks: X, Y and split attention (see `designspace.networks.blocks.bottleneck`)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from designspace.models.blocks.options import BlockOptions
from designspace.models.layers import ConvNorm, DilatedAvgPool, SqueezeExcitation
from designspace.models.split_attention import SplitAttention
from designspace.networks.blocks.widths import se_width
from designspace.networks.network import Network, Stage


def bottleneck_transform(
    network: Network, stage: Stage, in_width: int, stride: int, options: BlockOptions
) -> nn.Sequential:
    """Build the transform of a bottleneck block: (N, in_width, H, W) -> (N, width, H', W').

    Its layers are 1x1, grouped 3x3 or split attention, optional squeeze-and-excitation, and 1x1.
    With average-pool downsampling (ResNeSt's *avd*, section 4.1) a 3x3 pool before or after the 3x3 convolution has the
    stride. If the stride is 1 there is no pool: this is how the published models build their first stage, although the
    authors' parameter ``is_first`` suggests otherwise.
    """
    inner, cardinality = stage.inner_width, stage.cardinality
    pools = stride > 1 and network.downsampling != "conv"
    pool: nn.Module = nn.AvgPool2d(3, stride, padding=1)
    if options.keep_resolution:
        pool = DilatedAvgPool(3, options.dilation, centred=True)
    conv_stride = 1 if pools or options.keep_resolution else stride
    dilation = options.dilation
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=ConvNorm(in_width, inner, drop_block=options.drop_block))
    if pools and network.downsampling == "avg_pool_before":
        layers["pool"] = pool
        dilation *= stride if options.keep_resolution else 1
    if network.radix:
        layers["conv2"] = SplitAttention(
            inner,
            radix=network.radix,
            cardinality=cardinality,
            stride=conv_stride,
            dilation=dilation,
            drop_block=options.drop_block,
        )
    else:
        layers["conv2"] = ConvNorm(
            inner,
            inner,
            3,
            stride=conv_stride,
            groups=cardinality,
            dilation=dilation,
            drop_block=options.drop_block,
        )
    if pools and network.downsampling == "avg_pool_after":
        layers["pool"] = pool
    squeezed = int(se_width(in_width, network.se_ratio))
    if squeezed:
        layers["se"] = SqueezeExcitation(inner, squeezed)
    layers["conv3"] = ConvNorm(inner, stage.width, relu=False, drop_block=options.drop_block)
    return nn.Sequential(layers)
