"""The blocks that stages are made of ("Designing Network Design Spaces", section 3.2; ResNeSt, section 3)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from designspace.models import fused_block
from designspace.models.drop import DropPath
from designspace.models.fused import is_watched
from designspace.models.fused_block import Unit, has_kernel
from designspace.models.layers import ConvNorm, DenseAverage, SqueezeExcitation
from designspace.models.split_attention import SplitAttention
from designspace.networks import blocks
from designspace.networks.network import Network, Stage


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """What a block does beyond what its network says. None of it changes a weight's name or shape."""

    drop_path: float = 0.0
    """Rate of `DropPath` on the transform."""
    drop_block: float = 0.0
    """Rate of `DropBlock` behind every batch-norm of the transform but those of attention."""
    dilation: int = 1
    """How far apart the pixels of the block's input stand that were neighbours before strides were left out."""
    dense: bool = False
    """Whether the block's stride is left out."""


class Block(nn.Module):
    """A transform, a shortcut added to it, and a ReLU: (N, in_width, H, W) -> (N, stage.width, H', W').

    ``network.block`` chooses the transform: ``bottleneck`` (1x1, 3x3, 1x1: the X block, and the Y block with
    squeeze-and-excitation), ``bottleneck_linear`` (the same with no final ReLU, and a shortcut only where the shape
    stays), ``basic`` (3x3, 3x3), ``vanilla`` (3x3, 3x3, no shortcut), ``single_residual`` (3x3) or ``single`` (3x3, no
    shortcut). The ``first`` block of a stage applies its stride, H' = H / stride, rounded up.
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
        self.is_dense = options.dense
        self.adds = projects or (network.block == "bottleneck_linear" and same_shape)
        self.shortcut: nn.Module = nn.Identity()
        if projects and not same_shape:
            self.shortcut = _projection(network.shortcut, in_width, stage.width, stride, options)
        self.drop_path = DropPath(options.drop_path if self.adds else 0.0)
        self.relu: nn.Module = nn.ReLU(inplace=True) if projects else nn.Identity()
        self.ends_with_relu = projects
        self._chain = tuple(layer for layer in (*self.transform, self.shortcut) if isinstance(layer, ConvNorm))
        self.is_chain = self._is_chain()
        self._kept_units: tuple[Unit, ...] = ()

    def _is_chain(self) -> bool:
        """Whether the block is of the kind that `fused_block.bottleneck` runs."""
        layers = self._chain
        shapes = [layer.conv.kernel_size[0] for layer in layers]
        kinds = len(self.transform) == 3 and shapes in ([1, 3, 1], [1, 3, 1, 1])
        plain = isinstance(self.shortcut, ConvNorm | nn.Identity) and self.ends_with_relu
        if not kinds or not plain or not _is_worth_it(layers[1].conv):
            return False
        return all(not layer.drops and has_kernel(layer.conv) for layer in layers)

    def _is_whole_chain(self) -> bool:
        """Whether the block is a chain, and nobody has put other layers into it since it was made."""
        there = (*self.transform._modules.values(), self._modules["shortcut"])
        return self.is_chain and all(layer is made for layer, made in zip(there, self._chain, strict=False))

    def _units(self) -> tuple[Unit, ...]:
        """A chain's convolutions and batch-norms as they are now: a batch-norm may have been frozen meanwhile."""
        layers, kept = self._chain, self._kept_units
        if (
            not all(
                unit.conv is layer._modules["conv"] and unit.norm is layer._modules["norm"]
                for unit, layer in zip(kept, layers, strict=False)
            )
            or not kept
        ):
            self._kept_units = kept = tuple(Unit(layer.conv, layer.norm) for layer in layers)
        return kept

    def begin_as_shortcut(self) -> None:
        """Set the scale of the transform's last batch-norm to 0, if there is a shortcut that it is added to."""
        if self.adds:
            last = [module for module in self.transform.modules() if isinstance(module, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to (N, width, H', W')."""
        if self._is_whole_chain() and not (self.training and self.drop_path.rate):
            units = self._units()
            if fused_block.applies(x, units) and not any(is_watched(layer) for layer in self._chain):
                return fused_block.bottleneck(x, units)
        *before, last = self.transform
        y: Tensor = x
        for layer in before:
            y = layer(y)
        if not self.adds:
            y = last(y)
        elif self.training and self.drop_path.rate:
            y = self.relu(self.drop_path(last(y)) + self.shortcut(x))
        else:
            y = last(y, self.shortcut(x), relu=self.ends_with_relu)
        return y


def _is_worth_it(conv: nn.Conv2d) -> bool:
    """Whether `fused_block` is faster with a block of this 3x3 convolution than its layers are.

    Measured by `experiments/benchmark_training/blocks.py` for blocks of every kind: narrow groups gain up to half, and
    in wide maps the products of matrices that torch's library is made for count for most. It is a rule, not measured
    anew in each process or run, so that a network gives the same numbers wherever it is trained.
    """
    inner, group = conv.in_channels, conv.in_channels // conv.groups
    return inner <= 256 and (group <= 8 or (group <= 32 and inner <= 64))


def _plain(
    in_width: int, width: int, stride: int, convs: int, options: BlockOptions, *, final_relu: bool
) -> nn.Sequential:
    """The transform of blocks without bottleneck: (N, in_width, H, W) -> (N, width, H', W')."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    dilation = options.dilation
    for number in range(1, convs + 1):
        layers[f"conv{number}"] = ConvNorm(
            in_width,
            width,
            3,
            stride=1 if options.dense else stride,
            dilation=dilation,
            relu=final_relu or number < convs,
            drop_block=options.drop_block,
        )
        if options.dense:
            dilation *= stride
        in_width, stride = width, 1
    return nn.Sequential(layers)


def _bottleneck(network: Network, stage: Stage, in_width: int, stride: int, options: BlockOptions) -> nn.Sequential:
    """1x1, grouped 3x3 or split attention, squeeze-and-excitation, 1x1: (N, in_width, H, W) -> (N, width, H', W').

    With average-pool down-sampling (ResNeSt's *avd*, section 4.1) a 3x3 pool before or after the 3x3 convolution takes
    over the stride. Where the stride is 1 there is no pool: so have the published models their first stage, whatever
    the authors' parameter ``is_first`` suggests.
    """
    inner, cardinality = stage.inner_width, stage.cardinality
    pools = stride > 1 and network.downsampling != "conv"
    pool: nn.Module = nn.AvgPool2d(3, stride, padding=1)
    if options.dense:
        pool = DenseAverage(3, options.dilation, centred=True)
    conv_stride = 1 if pools or options.dense else stride
    dilation = options.dilation
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=ConvNorm(in_width, inner, drop_block=options.drop_block))
    if pools and network.downsampling == "avg_pool_before":
        layers["pool"] = pool
        dilation *= stride if options.dense else 1
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
    """The shortcut where the shape changes: (N, in_width, H, W) -> (N, width, H', W')."""
    if kind == "conv":
        return ConvNorm(in_width, width, stride=1 if options.dense else stride, relu=False)
    pool: nn.Module = nn.Identity()
    if stride > 1 and options.dense:
        pool = DenseAverage(stride, options.dilation, centred=False)
    elif stride > 1:
        # Windows at the border of an odd map hang over it and average what they hold, so that H' is rounded up too.
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(OrderedDict(pool=pool, project=ConvNorm(in_width, width, relu=False)))
