"""torchvision's detectors and segmenters on our networks, published, sampled or trained.

>>> from designspace.integrations.torchvision import mask_rcnn  # doctest: +SKIP
>>> model = mask_rcnn("run:runs/x", num_classes=3)  # doctest: +SKIP

The models are torchvision's own classes: images, targets, losses and predictions are as its documentation describes.
Images are normalised as the network's weights require.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from designspace.data.presets import IMAGENET_MEAN, IMAGENET_STD
from designspace.integrations.torchvision_cascade import CascadeRoIHeads
from designspace.integrations.torchvision_segmentation import SegmentationModel, deeplabv3, deeplabv3plus, fcn
from designspace.library.backbones import NetworkSource, find_model
from designspace.models import AnyNet, Backbone
from designspace.models.features import pyramid_indices
from designspace.models.norms import convert_norms
from designspace.models.zoo import Pretrained
from designspace.support.checks import whole
from designspace.support.errors import unknown

__all__ = [
    "PyramidBackbone",
    "SegmentationModel",
    "cascade_rcnn",
    "deeplabv3",
    "deeplabv3plus",
    "faster_rcnn",
    "fcn",
    "fcos",
    "keypoint_rcnn",
    "mask_rcnn",
    "pyramid",
    "retinanet",
]

HEADS = ("torchvision", "resnest")
"""Kinds of heads and pyramids: torchvision's first ones; those of the ResNeSt authors' configurations, whose box head
has four convolutions and one fully-connected layer, with a batch-norm after every convolution."""


class PyramidBackbone(nn.Module):
    """A backbone with a feature pyramid, as torchvision's detectors need it.

    Images (N, C, H, W) -> maps (N, out_channels, H / reduction, W / reduction), rounded up, by name: ``"0"`` for the
    largest, and those that ``extra_blocks`` adds.
    """

    def __init__(
        self,
        body: Backbone,
        out_channels: int = 256,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(body.feature_info.channels(), out_channels, extra_blocks, norm_layer)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to the maps of the pyramid."""
        maps: dict[str, Tensor] = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(self.body(x))))
        return maps

    def strides(self, extra: int) -> list[int]:
        """Return the ratio of the image's size to each map's, with ``extra`` maps of half the size each at the end."""
        reductions = self.body.feature_info.reduction()
        return reductions + [reductions[-1] * 2**number for number in range(1, extra + 1)]


def pyramid(
    backbone: NetworkSource,
    *,
    weights: Pretrained = True,
    norm: str | None = None,
    frozen_stages: int | None = None,
    maps: int | None = None,
    out_channels: int = 256,
    extra_blocks: ExtraFPNBlock | None = None,
    heads: str = "torchvision",
    **options: Any,
) -> PyramidBackbone:
    """Return a network with a feature pyramid on the last stage of each size.

    Args:
        backbone: the network, such as ``"resnest50"``, a model folder, ``"run:runs/x"``, a `Network` or a module.
        weights: True for the weights that the network has; False for random ones; or a source of published ones.
        norm: kind of the network's batch-norms: ``batch``, ``sync`` or ``frozen``. None for ``frozen`` if the network
            has trained weights, else ``batch``.
        frozen_stages: number of parts that are not trained: 0 for none, 1 for the stem, 2 also for the first stage.
            None for 2 if the network has trained weights, else 0.
        maps: number of maps, the smallest ones; None for all.
        out_channels: channels of the maps.
        extra_blocks: torchvision's block that adds smaller maps.
        heads: one of `HEADS`; ``resnest`` gives the pyramid batch-norms, synchronised ones if ``norm`` is ``sync``.
        options: options of `AnyNet`, such as ``drop_path``; for a published network also ``in_channels``.

    Raises:
        InputError: the network or an option does not exist.
        RunError: weights cannot be fetched, or a file is damaged.
    """
    model = find_model(backbone, weights=weights, **options)
    is_trained = model.weights is not None
    indices = pyramid_indices(model)
    body = Backbone(model, indices if maps is None else indices[-whole("maps", maps, 1, len(indices)) :])
    norm = norm or ("frozen" if is_trained else "batch")
    convert_norms(body, norm)
    body.freeze((2 if is_trained else 0) if frozen_stages is None else frozen_stages)
    return PyramidBackbone(body, out_channels, extra_blocks, _norm_layer(heads, norm))


def faster_rcnn(backbone: NetworkSource, num_classes: int = 91, **options: Any) -> FasterRCNN:
    """Return Faster R-CNN (arXiv 1506.01497) on a feature pyramid (arXiv 1612.03144).

    Args:
        backbone: the network; see `pyramid`.
        num_classes: number of classes, with the background as class 0.
        options: options of `pyramid`, and of torchvision's ``FasterRCNN``, such as ``min_size``.

    Raises:
        InputError, RunError: as `pyramid`.
    """
    return _rcnn(FasterRCNN, backbone, num_classes, options)


def mask_rcnn(backbone: NetworkSource, num_classes: int = 91, **options: Any) -> MaskRCNN:
    """Return Mask R-CNN (arXiv 1703.06870) on a feature pyramid. Arguments and errors are those of `faster_rcnn`."""
    return _rcnn(MaskRCNN, backbone, num_classes, options)


def keypoint_rcnn(
    backbone: NetworkSource, num_classes: int = 2, num_keypoints: int = 17, **options: Any
) -> KeypointRCNN:
    """Return Keypoint R-CNN (arXiv 1703.06870) on a feature pyramid. Arguments and errors: see `faster_rcnn`."""
    return _rcnn(KeypointRCNN, backbone, num_classes, {"num_keypoints": num_keypoints, **options})


def cascade_rcnn(backbone: NetworkSource, num_classes: int = 91, *, masks: bool = False, **options: Any) -> FasterRCNN:
    """Return Cascade R-CNN (arXiv 1712.00726), with ``masks`` Cascade Mask R-CNN, on a feature pyramid.

    It is a model of `faster_rcnn` or `mask_rcnn` whose boxes are refined three times (see `CascadeRoIHeads`). Arguments
    and errors are those of `faster_rcnn`.
    """
    kind = MaskRCNN if masks else FasterRCNN
    model = _rcnn(kind, backbone, num_classes, options)
    model.roi_heads = CascadeRoIHeads(model.roi_heads, num_classes)
    return model


def retinanet(backbone: NetworkSource, num_classes: int = 91, **options: Any) -> RetinaNet:
    """Return RetinaNet (arXiv 1708.02002) on the three smallest maps and two more. Arguments: see `faster_rcnn`."""
    body, options = _single_shot_pyramid(RetinaNet, backbone, options)
    sizes = [tuple(round(4 * stride * 2 ** (third / 3)) for third in range(3)) for stride in body.strides(2)]
    return RetinaNet(body, num_classes, anchor_generator=_anchors(sizes), **options)


def fcos(backbone: NetworkSource, num_classes: int = 91, **options: Any) -> FCOS:
    """Return FCOS (arXiv 1904.01355) on the three smallest maps and two more. Arguments: see `faster_rcnn`."""
    body, options = _single_shot_pyramid(FCOS, backbone, options)
    sizes = [(stride,) for stride in body.strides(2)]
    return FCOS(body, num_classes, anchor_generator=_anchors(sizes, ratios=(1.0,)), **options)


def _rcnn(kind: Any, backbone: NetworkSource, num_classes: int, options: dict[str, Any]) -> Any:
    """Build one of torchvision's two-stage detectors."""
    ours, theirs = _split(kind, options)
    body = pyramid(backbone, extra_blocks=LastLevelMaxPool(), **ours)
    names = [str(number) for number in range(len(body.body.feature_info))]
    # Anchors of 8 pixels of their map, as in torchvision: 32 pixels at stride 4.
    anchors = _anchors([(8 * stride,) for stride in body.strides(1)])
    theirs = {**_normalisation(body.body), "rpn_anchor_generator": anchors, **theirs}
    pools = {"box": 7, "mask": 14, "keypoint": 14}
    wanted = ["box", *(["mask"] if kind is MaskRCNN else []), *(["keypoint"] if kind is KeypointRCNN else [])]
    for name in wanted:
        theirs.setdefault(f"{name}_roi_pool", MultiScaleRoIAlign(names, pools[name], sampling_ratio=2))
    if layer := _norm_layer(ours.get("heads", HEADS[0]), ours.get("norm")):
        channels = body.out_channels
        theirs.setdefault("box_head", FastRCNNConvFCHead((channels, 7, 7), [256] * 4, [1024], layer))
        if kind is MaskRCNN:
            theirs.setdefault("mask_head", MaskRCNNHeads(channels, [256] * 4, 1, layer))
    return kind(body, num_classes, **theirs)


def _single_shot_pyramid(
    kind: Any, backbone: NetworkSource, options: dict[str, Any]
) -> tuple[PyramidBackbone, dict[str, Any]]:
    """Return the pyramid of RetinaNet or FCOS, and the remaining options."""
    ours, theirs = _split(kind, options)
    width = ours.get("out_channels", 256)
    body = pyramid(backbone, extra_blocks=LastLevelP6P7(width, width), **{"maps": 3, **ours})
    return body, {**_normalisation(body.body), **theirs}


def _split(kind: Any, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of `pyramid`, and those of torchvision's class.

    Raises:
        InputError: an option is neither; torchvision would ignore it.
    """
    names = {*(pyramid.__kwdefaults__ or ()), *(AnyNet.__init__.__kwdefaults__ or ()), "seed", "in_channels"}
    ours = {name: value for name, value in options.items() if name in names}
    theirs = {name: value for name, value in options.items() if name not in names}
    # Mask and Keypoint R-CNN pass what they do not know to Faster R-CNN, and all detectors to the transform.
    classes = [kind, *([FasterRCNN] if issubclass(kind, FasterRCNN) else []), GeneralizedRCNNTransform]
    allowed = {name for one in classes for name in inspect.signature(one).parameters}
    allowed -= {"backbone", "num_classes", "kwargs"}
    for name in theirs:
        if name not in allowed:
            raise unknown(f"option of {kind.__name__}", name, sorted(allowed | names))
    return ours, theirs


def _anchors(sizes: Sequence[tuple[int, ...]], ratios: tuple[float, ...] = (0.5, 1.0, 2.0)) -> AnchorGenerator:
    """Return anchors of some sizes in pixels for each map."""
    return AnchorGenerator(tuple(sizes), (ratios,) * len(sizes))


def _norm_layer(heads: str, norm: str | None) -> Callable[..., nn.Module] | None:
    """Return the batch-norm of heads and pyramid; None for none."""
    if heads not in HEADS:
        raise unknown("heads", heads, HEADS)
    if heads == HEADS[0]:
        return None
    return nn.SyncBatchNorm if norm == "sync" else nn.BatchNorm2d


def _normalisation(body: Backbone) -> dict[str, list[float]]:
    """Return mean and standard deviation of the images that the weights require, as torchvision's options."""
    channels = body.network.in_channels
    mean: Sequence[float] = IMAGENET_MEAN if channels == 3 else (0.0,) * channels
    std: Sequence[float] = IMAGENET_STD if channels == 3 else (1.0,) * channels
    if body.weights is not None:
        mean, std = body.weights.preset.mean, body.weights.preset.std
    return {"image_mean": list(mean), "image_std": list(std)}
