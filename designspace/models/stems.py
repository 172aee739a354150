"""The stems of networks as modules; `designspace.networks.stems` lists their layers."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from designspace.models.blocks.custom import build
from designspace.models.layers import ConvNorm, LayerNorm2d, PatchConv
from designspace.networks.network import Network
from designspace.networks.stems import REQUIRED
from designspace.networks.user_class import user_class
from designspace.support.imported import is_import_name


def build_stem(network: Network) -> nn.Module:
    """Build the stem: (N, in_channels, H, W) -> (N, stem.width, H', W'), H' = H / stem stride, rounded up.

    Raises:
        InputError: a custom stem cannot be imported or built.
    """
    kind, width, channels, activation = network.stem.kind, network.stem.width, network.in_channels, network.activation
    if is_import_name(kind):
        user = user_class("space.stem", kind, REQUIRED)
        return build(user, {"in_channels": channels, "width": width, **network.parameters_of("stem")})
    if kind in ("imagenet", "cifar"):
        return ConvNorm(channels, width, 3, stride=2 if kind == "imagenet" else 1, activation=activation)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if kind == "patch":
        return nn.Sequential(OrderedDict(conv=PatchConv(channels, width, 4), norm=LayerNorm2d(width)))
    if kind == "deep":
        layers["conv1"] = ConvNorm(channels, width // 2, 3, stride=2, activation=activation)
        layers["conv2"] = ConvNorm(width // 2, width // 2, 3, activation=activation)
        layers["conv3"] = ConvNorm(width // 2, width, 3, activation=activation)
    else:
        kernel = 7 if kind == "resnet" else 3
        layers["conv1"] = ConvNorm(channels, width, kernel, stride=2, activation=activation)
    layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)
