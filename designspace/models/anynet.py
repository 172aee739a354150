"""One module that builds every `Network`: RegNetX/Y, ResNet, ResNeXt, ResNeSt and anything that a space draws."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from designspace.models.blocks import Block, BlockOptions
from designspace.models.checkpointing import CheckpointedSequential
from designspace.models.drop import Dropout, checked_rate
from designspace.models.layers import ConvNorm, global_average, initialise
from designspace.networks.network import Network, Stem
from designspace.support.checks import whole
from designspace.support.errors import InputError

if TYPE_CHECKING:
    from designspace.models.info import ModelInfo

DROP_BLOCK_STAGES = 2
"""How many of the last stages have DropBlock, as in the authors' code of ResNeSt."""


class AnyNet(nn.Module):
    """The torch module of a `Network`: images (N, in_channels, H, W) -> logits (N, num_classes).

    Stem, stages, head ("Designing Network Design Spaces", section 3.2). With ``num_classes=0`` the output is the pooled
    features (N, width of the last stage). `designspace.networks.complexity` counts its
    multiply-adds, parameters and activations to the digit. Images may have any size.

    Args:
        network: what to build; kept as `network`.
        seed: chooses the first weights, alone: the same seed gives the same weights on every device, and the global
            random state is neither read nor changed. See `designspace.models.layers.initialise` for the distribution.
        zero_init_residual: begin with blocks that add nothing to their shortcut (the scale of their last batch-norm is
            0; arXiv 1706.02677, section 5.1), which keeps deep networks from blowing up in their first steps.
        drop_path: rate of stochastic depth in the last block; in those before it is smaller in proportion.
        drop_block: rate of DropBlock in the last two stages.
        dropout: rate of dropout before the classifier.
        output_stride: pixels of the image for one of the last map, at most: strides that would go beyond are left out,
            and the convolutions behind them dilated, so that weights of the network fit. None leaves all strides.
        checkpointing: keep only the blocks' inputs for the backward pass, and compute the rest once more there. The
            numbers are the same.

    Raises:
        InputError: a rate is not in 0..1, or no strides of this network give the output stride.
    """

    def __init__(
        self,
        network: Network,
        seed: int = 0,
        *,
        zero_init_residual: bool = False,
        drop_path: float = 0.0,
        drop_block: float = 0.0,
        dropout: float = 0.0,
        output_stride: int | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.weights: ModelInfo | None = None  # what is known of its values, if they are not its first ones
        options = _block_options(network, drop_path, drop_block, output_stride)
        # torch's layers draw weights of their own as they are made; these are dropped, and the state is given back.
        with torch.random.fork_rng(devices=[]):
            self.stem = _stem(network.stem, network.in_channels)
            self.stages = _stages(network, options, CheckpointedSequential if checkpointing else nn.Sequential)
            self.head = Head(network.stages[-1].width, network.head_width, network.num_classes, dropout)
        initialise(self, torch.Generator().manual_seed(whole("seed", seed)))
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Block):
                    module.begin_as_shortcut()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.head(self.stages(self.stem(x)))
        return logits


class Head(nn.Module):
    """An optional 1x1 convolution, global average pool, linear classifier: (N, in_width, H, W) -> (N, num_classes).

    Without classes there is no classifier: the output is the pooled features, (N, head_width or in_width).
    """

    def __init__(self, in_width: int, head_width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = ConvNorm(in_width, head_width) if head_width else nn.Identity()
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(head_width or in_width, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.dropout(global_average(self.conv(x)).flatten(1)))
        return logits


def stem_stride(stem: Stem) -> int:
    """Pixels of the image for one of the stem's output."""
    return {"cifar": 1, "imagenet": 2}.get(stem.kind, 4)


def _stem(stem: Stem, in_channels: int) -> nn.Sequential:
    """The layers before the first stage: (N, in_channels, H, W) -> (N, stem.width, H', W'), H' = H / stem stride."""
    width = stem.width
    if stem.kind in ("imagenet", "cifar"):
        return ConvNorm(in_channels, width, 3, stride=2 if stem.kind == "imagenet" else 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stem.kind == "resnet":
        layers["conv1"] = ConvNorm(in_channels, width, 7, stride=2)
    else:
        layers["conv1"] = ConvNorm(in_channels, width // 2, 3, stride=2)
        layers["conv2"] = ConvNorm(width // 2, width // 2, 3)
        layers["conv3"] = ConvNorm(width // 2, width, 3)
    layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)


def _stages(network: Network, options: list[BlockOptions], sequence: type[nn.Sequential]) -> nn.Sequential:
    """All stages, each a ``sequence`` of blocks; ``options`` has an entry for every block."""
    stages = []
    in_width = network.stem.width
    of_block = iter(options)
    for stage in network.stages:
        blocks = []
        for number in range(stage.depth):
            blocks.append(Block(network, stage, in_width, first=number == 0, options=next(of_block)))
            in_width = stage.width
        stages.append(sequence(*blocks))
    return nn.Sequential(*stages)


def _block_options(
    network: Network, drop_path: float, drop_block: float, output_stride: int | None
) -> list[BlockOptions]:
    """What each block does beyond the network, block after block."""
    checked_rate("drop_path", drop_path)
    checked_rate("drop_block", drop_block)
    reached = stem_stride(network.stem)
    reachable = {reached}
    dilation = 1
    found: list[BlockOptions] = []
    for number, stage in enumerate(network.stages, start=1):
        dense = output_stride is not None and stage.stride > 1 and reached * stage.stride > output_stride
        late = number > len(network.stages) - DROP_BLOCK_STAGES
        for block in range(stage.depth):
            found.append(
                BlockOptions(
                    drop_path * len(found) / max(1, network.depth - 1),
                    drop_block if late else 0.0,
                    dilation,
                    dense and block == 0,
                )
            )
            dilation *= stage.stride if dense and block == 0 else 1
        reached *= 1 if dense else stage.stride
        reachable.add(reachable_stride(network, number))
    if output_stride is not None and reached != output_stride:
        raise InputError(
            f"output_stride={output_stride} cannot be had; this network's may be: "
            f"{', '.join(str(stride) for stride in sorted(reachable))}"
        )
    return found


def reachable_stride(network: Network, stages: int) -> int:
    """Pixels of the image for one of the map behind so many stages, with all strides."""
    stride = stem_stride(network.stem)
    for stage in network.stages[:stages]:
        stride *= stage.stride
    return stride
