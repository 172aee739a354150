"""Small networks of every kind, for tests of features that must work with all of them."""

import dataclasses

import torch
from torch import nn

from designspace.models import AnyNet
from designspace.networks import catalog
from designspace.networks.blocks import BLOCKS as BLOCK_KINDS
from designspace.networks.network import BLOCKS, Network, Stage, Stem

# Batch size, height, width: odd sizes, at which pools reach beyond the border, and one whose last map is one pixel.
SIZES = [(1, 75, 61), (3, 33, 97), (2, 64, 64), (1, 5, 7)]


def traits(network):
    """Return the settings of a network that decide which layers an exporter sees: all but numbers."""
    names = ("block", "radix", "shortcut", "downsampling", "head", "activation")
    settings = {(name, getattr(network, name)) for name in names}
    return settings | {
        ("stem", network.stem.kind),
        ("se", network.se_ratio > 0),
        ("head convolution", network.head_width > 0),
    }


def shrunken(network):
    """Return a small network of the same kind: one stage of two blocks, if possible with two groups."""
    ratio = 2 if network.stages[0].bottleneck_ratio > 1 else 1
    has_groups = "group_width" in BLOCK_KINDS[network.block].uses
    stage = Stage(2, 8 * ratio, 2, ratio, 4 if has_groups else 8, network.stages[-1].parameters)
    return dataclasses.replace(
        network,
        stem=Stem(network.stem.kind, 8),
        stages=(stage,),
        head_width=min(12, network.head_width),
        num_classes=5,
    )


def plain(block):
    """Return a small network of blocks without a bottleneck, for greyscale images."""
    return Network(Stem("cifar", 8), (Stage(2, 16, 2, 1, 16),), block=block, num_classes=5, in_channels=1)


NAMES = (
    "regnetx_200mf",
    "regnety_200mf",
    "resnet50",
    "resnest50",
    "resnest50_fast_4s2x40d",
    "efficientnet_b0",
    "convnext_tiny",
    "shufflenet_v2_x1_0",
)
OTHERS = {
    "linear, radix 1, average pool of stride 3, head": Network(
        Stem("deep", 8),
        (Stage(2, 16, 3, 0.5, 8),),
        block="bottleneck_linear",
        radix=1,
        se_ratio=0.25,
        downsampling="avg_pool_after",
        head_width=12,
        num_classes=5,
        in_channels=1,
    ),
    "average-pool shortcut of stride 3": Network(
        Stem("cifar", 8), (Stage(1, 16, 3, 1, 8), Stage(1, 24, 2, 1, 8)), shortcut="avg_pool", num_classes=5
    ),
    "basic": plain("basic"),
    "dense head": dataclasses.replace(
        plain("mbconv"), parameters=(("activation", "hardswish"),), head="dense", head_width=12
    ),
}
SIMPLER = {block: plain(block) for block in BLOCKS if block.startswith(("vanilla", "single"))}
EXPORTED = {**{name: shrunken(catalog.get(name)) for name in NAMES}, **OTHERS}
EVERYTHING = {**EXPORTED, **SIMPLER}


def model_with_varied_state(network):
    """Return a module in training mode whose outputs change if an exporter loses a statistic or a bias."""
    generator = torch.Generator().manual_seed(0)
    model = AnyNet(network, seed=1)
    for key, value in model.state_dict().items():
        if value.dim() == 1:
            low = 0.8 if key.endswith(("norm.weight", "running_var")) else -0.2
            value.copy_(low + 0.4 * torch.rand(value.shape, generator=generator))
    nn.init.normal_(model.head.classifier.weight, std=0.3, generator=generator)
    return model


def images(network, size):
    """Return random images of a batch size, a height and a width."""
    batch, height, width = size
    return torch.randn(batch, network.in_channels, height, width, generator=torch.Generator().manual_seed(height))
