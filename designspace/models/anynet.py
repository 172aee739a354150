"""One module that builds every `Network`: RegNetX/Y, ResNet, ResNeXt, ResNeSt and anything that a space draws."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from designspace.models.blocks import Block
from designspace.models.layers import conv_norm, global_average, initialise
from designspace.networks.network import Network, Stem


class AnyNet(nn.Module):
    """The torch module of a `Network`: images (N, in_channels, H, W) -> logits (N, num_classes).

    Stem, stages, head ("Designing Network Design Spaces", section 3.2). `designspace.networks.complexity` counts its
    multiply-adds, parameters and activations to the digit.

    Args:
        network: what to build; kept as `network`.
        seed: chooses the first weights, alone: the same seed gives the same weights on every device, and the global
            random state is neither read nor changed. See `designspace.models.layers.initialise` for the distribution.
        zero_init_residual: begin with blocks that add nothing to their shortcut (the scale of their last batch-norm is
            0; arXiv 1706.02677, section 5.1), which keeps deep networks from blowing up in their first steps.
    """

    def __init__(self, network: Network, seed: int = 0, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        self.network = network
        # torch's layers draw weights of their own as they are made; these are dropped, and the state is given back.
        with torch.random.fork_rng(devices=[]):
            self.stem = _stem(network.stem, network.in_channels)
            self.stages = _stages(network)
            self.head = Head(network.stages[-1].width, network.head_width, network.num_classes)
        initialise(self, torch.Generator().manual_seed(seed))
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Block):
                    module.begin_as_shortcut()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.head(self.stages(self.stem(x)))
        return logits


class Head(nn.Module):
    """An optional 1x1 convolution, global average pool, linear classifier: (N, in_width, H, W) -> (N, num_classes)."""

    def __init__(self, in_width: int, head_width: int, num_classes: int) -> None:
        super().__init__()
        self.conv = conv_norm(in_width, head_width) if head_width else nn.Identity()
        self.classifier = nn.Linear(head_width or in_width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.classifier(global_average(self.conv(x)).flatten(1))
        return logits


def _stem(stem: Stem, in_channels: int) -> nn.Sequential:
    """The layers before the first stage: (N, in_channels, H, W) -> (N, stem.width, H', W'), H' = H, H / 2 or H / 4."""
    width = stem.width
    if stem.kind in ("imagenet", "cifar"):
        return conv_norm(in_channels, width, 3, stride=2 if stem.kind == "imagenet" else 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stem.kind == "resnet":
        layers["conv1"] = conv_norm(in_channels, width, 7, stride=2)
    else:
        layers["conv1"] = conv_norm(in_channels, width // 2, 3, stride=2)
        layers["conv2"] = conv_norm(width // 2, width // 2, 3)
        layers["conv3"] = conv_norm(width // 2, width, 3)
    layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)


def _stages(network: Network) -> nn.Sequential:
    """All stages, each a sequence of blocks."""
    stages = []
    in_width = network.stem.width
    for stage in network.stages:
        blocks = []
        for number in range(stage.depth):
            blocks.append(Block(network, stage, in_width, first=number == 0))
            in_width = stage.width
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages)
