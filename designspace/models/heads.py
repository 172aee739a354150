"""The heads of networks as modules; `designspace.networks.heads` lists their layers."""

from __future__ import annotations

from torch import Tensor, nn

from designspace.models.blocks.custom import build
from designspace.models.drop import Dropout
from designspace.models.layers import ConvNorm, LayerNorm2d, PixelClassifier, global_average
from designspace.networks.heads import REQUIRED
from designspace.networks.network import Network
from designspace.networks.user_class import user_class
from designspace.support.errors import InputError
from designspace.support.imported import is_import_name


class Head(nn.Module):
    """An optional 1x1 convolution, global average pooling, and a classifier: (N, in_width, H, W) -> (N, num_classes).

    With ``num_classes=0`` there is no classifier: the output is the pooled features, (N, head_width or in_width).
    """

    def __init__(
        self, in_width: int, head_width: int, num_classes: int, dropout: float = 0.0, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.conv = ConvNorm(in_width, head_width, activation=activation) if head_width else nn.Identity()
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(head_width or in_width, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.dropout(global_average(self.conv(x)).flatten(1)))
        return logits


class LayerNormHead(nn.Module):
    """Global average pooling, a layer norm and a classifier: (N, in_width, H, W) -> (N, num_classes).

    With ``num_classes=0`` the output is the normalised features, (N, in_width).
    """

    def __init__(self, in_width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = LayerNorm2d(in_width)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(in_width, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.dropout(self.norm(global_average(x)).flatten(1)))
        return logits


class DenseHead(nn.Module):
    """An optional 1x1 convolution and a classifier of each pixel: (N, in_width, H, W) -> (N, num_classes, H, W).

    With ``num_classes=0`` the output is the map, (N, head_width or in_width, H, W).
    """

    def __init__(
        self, in_width: int, head_width: int, num_classes: int, dropout: float = 0.0, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.conv = ConvNorm(in_width, head_width, activation=activation) if head_width else nn.Identity()
        self.dropout = Dropout(dropout)
        self.classifier = PixelClassifier(head_width or in_width, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_width, H, W) to logits (N, num_classes, H, W)."""
        logits: Tensor = self.classifier(self.dropout(self.conv(x)))
        return logits


def build_head(network: Network, dropout: float) -> nn.Module:
    """Build the head: (N, width of the last stage, H, W) -> (N, num_classes).

    Raises:
        InputError: a custom head cannot be imported or built, or does not take the dropout that is set.
    """
    in_width, classes, head_width = network.stages[-1].width, network.num_classes, network.head_width
    if not is_import_name(network.head):
        if network.head == "layer_norm":
            return LayerNormHead(in_width, classes, dropout)
        kind = DenseHead if network.head == "dense" else Head
        return kind(in_width, head_width, classes, dropout, network.activation)
    user = user_class("space.head", network.head, REQUIRED)
    optional = {"head_width": head_width, "dropout": dropout}
    for name, value in optional.items():
        if value and name not in user.defaults:
            raise InputError(
                f"{name}={value:g} needs a head that takes it, but the constructor of {user.name} does not"
            )
    accepted = {name: value for name, value in optional.items() if value and name in user.defaults}
    return build(user, {"in_width": in_width, "num_classes": classes, **accepted, **network.parameters_of("head")})
