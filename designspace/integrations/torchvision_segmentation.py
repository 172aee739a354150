"""Segmentation with the heads of torchvision: FCN, DeepLabV3 and DeepLabV3+ on dilated networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from designspace.library.backbones import NetworkSource, find_model
from designspace.models import Backbone
from designspace.models.norms import convert_norms
from designspace.models.zoo import Pretrained
from designspace.support.checks import whole
from designspace.support.errors import InputError

ATROUS_RATES = (12, 24, 36)
"""Dilations of DeepLab's pyramid at output stride 8; half of them at 16 (arXiv 1706.05587, section 4.1)."""


class SegmentationModel(nn.Module):
    """A dilated network with a segmentation head, like torchvision's segmentation models.

    Images (N, C, H, W) -> ``{"out": logits (N, num_classes, H, W)}``, and ``"aux"`` of the same shape with an auxiliary
    head. Images must be normalised as ``model.backbone.weights.preset`` requires.
    """

    def __init__(self, backbone: Backbone, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to logits (N, num_classes, H, W) by name."""
        maps = self.backbone(x)
        out = self.classifier(*maps) if isinstance(self.classifier, DeepLabPlusHead) else self.classifier(maps[-1])
        logits = {"out": out}
        if self.aux_classifier is not None:
            logits["aux"] = self.aux_classifier(maps[-2])
        return {
            name: functional.interpolate(value, x.shape[-2:], mode="bilinear", align_corners=False)
            for name, value in logits.items()
        }


class DeepLabPlusHead(nn.Module):
    """The decoder of DeepLabV3+ (arXiv 1802.02611, section 3.1): joins the last map with a larger one.

    Maps (N, low, h, w), ..., (N, high, H, W) -> (N, num_classes, h, w).
    """

    def __init__(self, low: int, high: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.aspp = ASPP(high, rates)
        self.project = nn.Sequential(nn.Conv2d(low, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        layers: list[nn.Module] = []
        for width in (256 + 48, 256):
            layers += [nn.Conv2d(width, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
        self.classifier = nn.Sequential(*layers, nn.Conv2d(256, num_classes, 1))

    def forward(self, low: Tensor, *maps: Tensor) -> Tensor:
        """Map the first and the last map to logits of the first one's size."""
        high = functional.interpolate(self.aspp(maps[-1]), low.shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(torch.cat([self.project(low), high], 1))
        return logits


def deeplabv3(
    backbone: NetworkSource, num_classes: int = 21, *, output_stride: int = 8, **options: Any
) -> SegmentationModel:
    """Return DeepLabV3 (arXiv 1706.05587) on a network whose last strides are replaced by dilation.

    Args:
        backbone: the network, such as ``"resnest50"``, a model folder, ``"run:runs/x"``, a `Network` or a module.
        num_classes: number of classes, the background included.
        output_stride: ratio of the image's size to that of the last map, such as 8 or 16.
        options: ``aux=True`` for an auxiliary head on the map of the stage before the last one, for its loss in
            training; ``norm``, the kind of all batch-norms, ``batch`` (the default) or ``sync``, or ``frozen`` for the
            network's alone; ``weights`` and ``frozen_stages`` as in `designspace.library.backbone`; options of
            `AnyNet`, such as ``drop_path``; for a published network also ``in_channels``.

    Raises:
        InputError: the network or an option does not exist, or the network cannot have this output stride.
        RunError: weights cannot be fetched, or a file is damaged.
    """

    def head(widths: Sequence[int]) -> Any:
        return DeepLabHead(widths[-1], num_classes, _rates(output_stride))

    return _segmenter(head, backbone, num_classes, output_stride=output_stride, **options)


def deeplabv3plus(
    backbone: NetworkSource, num_classes: int = 21, *, output_stride: int = 16, **options: Any
) -> SegmentationModel:
    """Return DeepLabV3+ (arXiv 1802.02611), whose decoder uses the map of the first stage too.

    Arguments and errors are those of `deeplabv3`.
    """

    def head(widths: Sequence[int]) -> Any:
        if len(widths) < 2:
            raise InputError("DeepLabV3+ joins the maps of two stages, but this network has one")
        return DeepLabPlusHead(widths[0], widths[-1], num_classes, _rates(output_stride))

    return _segmenter(head, backbone, num_classes, first=True, output_stride=output_stride, **options)


def fcn(backbone: NetworkSource, num_classes: int = 21, *, output_stride: int = 8, **options: Any) -> SegmentationModel:
    """Return a fully convolutional network (arXiv 1411.4038) on a dilated network. Arguments: see `deeplabv3`."""

    def head(widths: Sequence[int]) -> Any:
        return FCNHead(widths[-1], num_classes)

    return _segmenter(head, backbone, num_classes, output_stride=output_stride, **options)


def _segmenter(
    head: Callable[[Sequence[int]], Any],
    backbone: NetworkSource,
    num_classes: int,
    *,
    first: bool = False,
    aux: bool = False,
    weights: Pretrained = True,
    norm: str = "batch",
    frozen_stages: int = 0,
    **options: Any,
) -> SegmentationModel:
    """Build a network with a head, which is made from the widths of the stages.

    With ``first`` the head gets the map of the first stage too. The other arguments are those of `deeplabv3`.
    """
    model = find_model(backbone, weights=weights, **options)
    widths = [stage.width for stage in model.network.stages]
    if aux and len(widths) < 2:
        raise InputError("the auxiliary head is on the stage before the last one, but this network has one stage")
    last = len(widths)
    network = Backbone(model, sorted({last, *([last - 1] if aux else []), *([1] if first else [])}))
    segmenter = SegmentationModel(network, head(widths), FCNHead(widths[-2], num_classes) if aux else None)
    convert_norms(network if norm == "frozen" else segmenter, norm)
    network.freeze(frozen_stages)
    return segmenter


def _rates(output_stride: int) -> tuple[int, ...]:
    """Return the dilations of DeepLab's pyramid for an output stride."""
    stride = whole("output_stride", output_stride, 1)
    return tuple(max(1, round(rate * 8 / stride)) for rate in ATROUS_RATES)
