"""The block of ConvNeXt (arXiv 2201.03545, figure 4), and the downsampling before one that changes the shape."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from designspace.models.blocks.options import BlockOptions
from designspace.models.drop import DropPath
from designspace.models.layers import ACTIVATIONS, LayerNorm2d, LayerScale, PatchConv
from designspace.networks.blocks.mbconv import expanded_width
from designspace.networks.network import Network, Stage
from designspace.support.errors import InputError


class ConvNeXtBlock(nn.Module):
    """Depthwise k x k, layer norm, an inverted MLP of 1x1 convolutions, layer scale, and an identity shortcut.

    (N, in_width, H, W) -> (N, stage.width, H', W') with H' = H / stride, rounded up. Where the shape changes, a layer
    norm and a convolution of stride x stride pixels come first.
    """

    def __init__(self, network: Network, stage: Stage, in_width: int, stride: int, options: BlockOptions) -> None:
        super().__init__()
        if options.keep_resolution or options.dilation > 1:
            raise InputError("output_stride is not possible for convnext blocks, whose strides are those of patches")
        expansion, kernel = (network.stage_parameter(stage, name) for name in ("expansion", "kernel_size"))
        width = stage.width
        hidden = int(expanded_width(width, expansion))
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_width != width:
            self.downsample = nn.Sequential(
                OrderedDict(norm=LayerNorm2d(in_width), conv=PatchConv(in_width, width, stride))
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            spatial=nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width),
            norm=LayerNorm2d(width),
            expand=nn.Conv2d(width, hidden, 1),
            activation=ACTIVATIONS[network.activation](),
            reduce=nn.Conv2d(hidden, width, 1),
            scale=LayerScale(width),
        )
        self.transform = nn.Sequential(layers)
        self.keeps_resolution = False
        self.drop_path = DropPath(options.drop_path)

    def zero_init_residual(self) -> None:
        """Set the layer scale to 0."""
        nn.init.zeros_(self.transform.get_parameter("scale.factor"))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to (N, width, H', W')."""
        x = self.downsample(x)
        out: Tensor = x + self.drop_path(self.transform(x))
        return out
