"""The blocks of which stages consist ("Designing Network Design Spaces", section 3.2; ResNeSt, section 3)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from designspace.models.drop import DropPath
from designspace.models.layers import ConvNorm, DilatedAvgPool, SqueezeExcitation
from designspace.models.split_attention import SplitAttention
from designspace.networks import blocks
from designspace.networks.network import Network, Stage


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """Options of a block that its `Network` does not define. None of them changes a weight's name or shape."""

    drop_path: float = 0.0
    """Rate of `DropPath` on the transform."""
    drop_block: float = 0.0
    """Rate of `DropBlock` after every batch-norm of the transform except those of attention."""
    dilation: int = 1
    """Product of the earlier strides that were replaced by dilation."""
    keep_resolution: bool = False
    """Whether the block's stride is replaced by dilation."""


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
        projects = network.block in blocks.PROJECTING
        if network.block in blocks.PLAIN_CONVS:
            convs = blocks.PLAIN_CONVS[network.block]
            self.transform = _plain(in_width, stage.width, stride, convs, options, final_relu=not projects)
        else:
            self.transform = _bottleneck(network, stage, in_width, stride, options)
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


def _plain(
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


def _bottleneck(network: Network, stage: Stage, in_width: int, stride: int, options: BlockOptions) -> nn.Sequential:
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
    squeezed = int(blocks.se_width(in_width, network.se_ratio))
    if squeezed:
        layers["se"] = SqueezeExcitation(inner, squeezed)
    layers["conv3"] = ConvNorm(inner, stage.width, relu=False, drop_block=options.drop_block)
    return nn.Sequential(layers)


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
