"""A module that builds every `Network`: RegNetX/Y, ResNet, ResNeXt, ResNeSt, and any network drawn from a space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from designspace.models.blocks import BlockOptions, build_block
from designspace.models.checkpointing import CheckpointedSequential
from designspace.models.drop import check_rate
from designspace.models.heads import build_head
from designspace.models.layers import initialise
from designspace.models.stems import build_stem
from designspace.networks import stems
from designspace.networks.network import Network, Stem
from designspace.support.checks import whole
from designspace.support.errors import InputError

if TYPE_CHECKING:
    from designspace.models.info import ModelInfo

DROP_BLOCK_STAGES = 2
"""Number of last stages that have DropBlock, as in the code of ResNeSt's authors."""


class AnyNet(nn.Module):
    """The torch module of a `Network`: images (N, in_channels, H, W) -> logits (N, num_classes).

    It consists of stem, stages and head ("Designing Network Design Spaces", section 3.2). With ``num_classes=0`` the
    output is the pooled features (N, width of the last stage). `designspace.networks.complexity` gives its exact
    numbers of multiply-adds, parameters and activations. Images may have any size.

    Args:
        network: the network to build; available as the attribute `network`.
        seed: determines the initial weights. The same seed gives the same weights on every device, and the global
            random state is neither read nor changed. See `designspace.models.layers.initialise` for the distribution.
        zero_init_residual: start with blocks that add nothing to their shortcut (the scale of their last batch-norm is
            0; arXiv 1706.02677, section 5.1), which keeps deep networks from diverging in their first steps. Custom
            blocks do so if they have a method ``zero_init_residual``.
        drop_path: rate of stochastic depth in the last block; it grows linearly from 0 in the first block.
        drop_block: rate of DropBlock in the last two stages.
        dropout: rate of dropout before the classifier.
        output_stride: ratio of the image's size to that of the last feature map. Strides beyond it are replaced by
            dilation in the convolutions that follow, so that weights of the network still fit. None keeps all strides.
        checkpointing: save memory by keeping only the blocks' inputs for the backward pass and recomputing the rest.
            The results are the same.

    Raises:
        InputError: a rate is not in 0..1, or the network cannot have this output stride.
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
        self.weights: ModelInfo | None = None  # describes loaded weights; None while the weights are the initial ones
        options = _block_options(network, drop_path, drop_block, output_stride)
        # torch's layers draw initial weights when they are built; `initialise` overwrites them, and the fork restores
        # the random state.
        with torch.random.fork_rng(devices=[]):
            # A custom module may draw weights that `initialise` leaves as they are.
            torch.default_generator.manual_seed(whole("seed", seed))
            self.stem: nn.Module = build_stem(network)
            self.stages = _build_stages(network, options, CheckpointedSequential if checkpointing else nn.Sequential)
            self.head: nn.Module = build_head(network, dropout)
        initialise(self, torch.Generator().manual_seed(whole("seed", seed)))
        if zero_init_residual:
            self._zero_init_residual()

    def _zero_init_residual(self) -> None:
        """Let every block that has a method for it add nothing to its shortcut."""
        for block in (block for stage in self.stages for block in stage.children()):
            if hasattr(block, "zero_init_residual"):
                block.zero_init_residual()  # type: ignore[operator]

    def parts(self) -> list[nn.Module]:
        """Return the stem, each stage, and the head, in order."""
        return [self.stem, *self.stages, self.head]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.head(self.stages(self.stem(x)))
        return logits


def stem_stride(stem: Stem) -> int:
    """Return the ratio of the image's size to that of the stem's output."""
    return stems.get(stem.kind).stride


def _build_stages(network: Network, options: list[BlockOptions], sequence: type[nn.Sequential]) -> nn.Sequential:
    """Build all stages, each a ``sequence`` of blocks; ``options`` has an entry per block."""
    stages = []
    in_width = network.stem.width
    remaining_options = iter(options)
    for stage in network.stages:
        blocks = []
        for number in range(stage.depth):
            blocks.append(build_block(network, stage, in_width, first=number == 0, options=next(remaining_options)))
            in_width = stage.width
        stages.append(sequence(*blocks))
    return nn.Sequential(*stages)


def _block_options(
    network: Network, drop_path: float, drop_block: float, output_stride: int | None
) -> list[BlockOptions]:
    """Return the options of every block, in order."""
    check_rate("drop_path", drop_path)
    check_rate("drop_block", drop_block)
    current_stride = stem_stride(network.stem)
    possible_strides = {current_stride}
    dilation = 1
    options: list[BlockOptions] = []
    for number, stage in enumerate(network.stages, start=1):
        dilates = output_stride is not None and stage.stride > 1 and current_stride * stage.stride > output_stride
        has_drop_block = number > len(network.stages) - DROP_BLOCK_STAGES
        for block in range(stage.depth):
            options.append(
                BlockOptions(
                    drop_path * len(options) / max(1, network.depth - 1),
                    drop_block if has_drop_block else 0.0,
                    dilation,
                    dilates and block == 0,
                )
            )
            dilation *= stage.stride if dilates and block == 0 else 1
        current_stride *= 1 if dilates else stage.stride
        possible_strides.add(total_stride(network, number))
    if output_stride is not None and current_stride != output_stride:
        raise InputError(
            f"output_stride={output_stride} is not possible for this network; choose from: "
            f"{', '.join(str(stride) for stride in sorted(possible_strides))}"
        )
    return options


def total_stride(network: Network, stages: int) -> int:
    """Return the product of the strides of the stem and the first ``stages`` stages."""
    stride = stem_stride(network.stem)
    for stage in network.stages[:stages]:
        stride *= stage.stride
    return stride
