"""The blocks of which stages consist, as modules: one file each, named like those in `designspace.networks.blocks`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from designspace.models.blocks.block import Block
from designspace.models.blocks.convnext import ConvNeXtBlock
from designspace.models.blocks.custom import build_custom_block
from designspace.models.blocks.mbconv import MBConv
from designspace.models.blocks.options import BlockOptions
from designspace.models.blocks.shufflenet import ShuffleUnit
from designspace.networks.network import Network, Stage
from designspace.support.imported import is_import_name

__all__ = ["Block", "BlockOptions", "build_block"]

_MODULES: dict[str, Callable[[Network, Stage, int, int, BlockOptions], nn.Module]] = {
    "mbconv": MBConv,
    "convnext": ConvNeXtBlock,
    "shufflenet": ShuffleUnit,
}
"""Kinds of blocks other than `Block` and custom ones."""


def build_block(
    network: Network, stage: Stage, in_width: int, *, first: bool, options: BlockOptions | None = None
) -> nn.Module:
    """Build a block of a stage: (N, in_width, H, W) -> (N, stage.width, H', W').

    The ``first`` block of a stage applies its stride, H' = H / stride, rounded up.

    Raises:
        InputError: a custom block cannot be imported or built, or an option is not possible for the block.
    """
    options = options or BlockOptions()
    stride = stage.stride if first else 1
    if network.block in _MODULES:
        return _MODULES[network.block](network, stage, in_width, stride, options)
    if is_import_name(network.block):
        return build_custom_block(network, stage, in_width, stride, options)
    return Block(network, stage, in_width, first=first, options=options)
