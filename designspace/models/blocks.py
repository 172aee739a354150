"""The blocks that stages are made of ("Designing Network Design Spaces", section 3.2; ResNeSt, section 3)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from designspace.models.layers import SqueezeExcitation, conv_norm
from designspace.models.split_attention import SplitAttention
from designspace.networks import blocks
from designspace.networks.network import Network, Stage


class Block(nn.Module):
    """A transform, a shortcut added to it, and a ReLU: (N, in_width, H, W) -> (N, stage.width, H', W').

    ``network.block`` chooses the transform: ``bottleneck`` (1x1, 3x3, 1x1: the X block, and the Y block with
    squeeze-and-excitation), ``bottleneck_linear`` (the same with no final ReLU, and a shortcut only where the shape
    stays), ``basic`` (3x3, 3x3), ``vanilla`` (3x3, 3x3, no shortcut), ``single_residual`` (3x3) or ``single`` (3x3, no
    shortcut). The ``first`` block of a stage applies its stride, H' = H / stride, rounded up.
    """

    def __init__(self, network: Network, stage: Stage, in_width: int, *, first: bool) -> None:
        super().__init__()
        stride = stage.stride if first else 1
        same_shape = in_width == stage.width and stride == 1
        projects = network.block in blocks.PROJECTING
        if network.block in blocks.PLAIN_CONVS:
            convs = blocks.PLAIN_CONVS[network.block]
            self.transform = _plain(in_width, stage.width, stride, convs, final_relu=not projects)
        else:
            self.transform = _bottleneck(network, stage, in_width, stride)
        self.adds = projects or (network.block == "bottleneck_linear" and same_shape)
        self.shortcut: nn.Module = nn.Identity()
        if projects and not same_shape:
            self.shortcut = _projection(network.shortcut, in_width, stage.width, stride)
        self.relu: nn.Module = nn.ReLU(inplace=True) if projects else nn.Identity()

    def begin_as_shortcut(self) -> None:
        """Set the scale of the transform's last batch-norm to 0, if there is a shortcut that it is added to."""
        if self.adds:
            last = [module for module in self.transform.modules() if isinstance(module, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to (N, width, H', W')."""
        y: Tensor = self.transform(x)
        if self.adds:
            y = y.add_(self.shortcut(x))  # in place: no backward pass reads the batch-norm's output
        out: Tensor = self.relu(y)
        return out


def _plain(in_width: int, width: int, stride: int, convs: int, *, final_relu: bool) -> nn.Sequential:
    """The transform of blocks without bottleneck: (N, in_width, H, W) -> (N, width, H', W')."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, convs + 1):
        relu = final_relu or number < convs
        layers[f"conv{number}"] = conv_norm(in_width, width, 3, stride=stride, relu=relu)
        in_width, stride = width, 1
    return nn.Sequential(layers)


def _bottleneck(network: Network, stage: Stage, in_width: int, stride: int) -> nn.Sequential:
    """1x1, grouped 3x3 or split attention, squeeze-and-excitation, 1x1: (N, in_width, H, W) -> (N, width, H', W').

    With average-pool down-sampling (ResNeSt's *avd*, section 4.1) a 3x3 pool before or after the 3x3 convolution takes
    over the stride. Where the stride is 1 there is no pool: so have the published models their first stage, whatever
    the authors' parameter ``is_first`` suggests.
    """
    inner, cardinality = stage.inner_width, stage.cardinality
    pools = stride > 1 and network.downsampling != "conv"
    conv_stride = 1 if pools else stride
    conv2: nn.Module
    if network.radix:
        conv2 = SplitAttention(inner, radix=network.radix, cardinality=cardinality, stride=conv_stride)
    else:
        conv2 = conv_norm(inner, inner, 3, stride=conv_stride, groups=cardinality)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=conv_norm(in_width, inner))
    if pools and network.downsampling == "avg_pool_before":
        layers["pool"] = nn.AvgPool2d(3, stride, padding=1)
    layers["conv2"] = conv2
    if pools and network.downsampling == "avg_pool_after":
        layers["pool"] = nn.AvgPool2d(3, stride, padding=1)
    squeezed = int(blocks.se_width(in_width, network.se_ratio))
    if squeezed:
        layers["se"] = SqueezeExcitation(inner, squeezed)
    layers["conv3"] = conv_norm(inner, stage.width, relu=False)
    return nn.Sequential(layers)


def _projection(kind: str, in_width: int, width: int, stride: int) -> nn.Sequential:
    """The shortcut where the shape changes: (N, in_width, H, W) -> (N, width, H', W')."""
    if kind == "conv":
        return conv_norm(in_width, width, stride=stride, relu=False)
    # Windows at the border of an odd map hang over it and average what they hold, so that H' is rounded up here too.
    pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return nn.Sequential(OrderedDict(pool=pool, project=conv_norm(in_width, width, relu=False)))
