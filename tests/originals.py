"""The published networks in their authors' own code, with random weights, under the names of this package."""

import re
import sys
from typing import Any

import torch
from torch import nn
from torch.nn import functional

try:
    import torchvision
except (
    RuntimeError
):  # its operators were compiled for another torch; importing it registers two, and detectors need one
    _OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for _name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[_name]
    import torchvision
else:
    _OPERATORS = None

import resnest.torch
import resnest.torch.resnet
import timm
from torchvision.models.regnet import BlockParams

_TIMM = {
    "resnest14": "resnest14d",
    "resnest26": "resnest26d",
    "resnest50": "resnest50d",
    "resnest101": "resnest101e",
    "resnest200": "resnest200e",
    "resnest269": "resnest269e",
    "resnest50_fast_4s2x40d": "resnest50d_4s2x40d",
    "resnest50_fast_1s4x24d": "resnest50d_1s4x24d",
    **{name: name for name in ("resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x4d")},
}
_block_params = BlockParams.from_init_params


def _block_params_on_cpu(*args: Any, **options: Any) -> BlockParams:
    """Compute widths on the CPU, because torchvision needs the values of tensors even on the meta device."""
    with torch.device("cpu"):
        return _block_params(*args, **options)


BlockParams.from_init_params = _block_params_on_cpu
_TORCHVISION_WIDTHS = ("x_400mf", "y_800mf", "y_8gf")


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Keep the boxes (n, 4) that overlap with no better one by more than a threshold; return their indices."""
    overlaps, kept = torchvision.ops.box_iou(boxes, boxes) > threshold, []
    is_dropped = torch.zeros(len(boxes), dtype=torch.bool)
    for index in scores.argsort(descending=True).tolist():
        if not is_dropped[index]:
            kept.append(index)
            is_dropped |= overlaps[index]
    return torch.tensor(kept, dtype=torch.int64)


def _roi_align(
    maps: torch.Tensor, rois: torch.Tensor, scale: float, height: int, width: int, ratio: int, aligned: bool
) -> torch.Tensor:
    """Pool the boxes (n, 5: image, x0, y0, x1, y1) of maps: (N, C, H, W) -> (n, C, height, width).

    It samples by `grid_sample`: a hundred times as fast as torchvision's own form in Python, which differs from it only
    for boxes that leave the map.
    """
    ratio = ratio if ratio > 0 else 2
    pooled = maps.new_empty(len(rois), maps.shape[1], height, width)
    size = torch.tensor([maps.shape[3] - 1, maps.shape[2] - 1], dtype=maps.dtype).clamp(min=1)
    for image in rois[:, 0].unique().long().tolist():
        chosen = rois[:, 0] == image
        corner, opposite = (rois[chosen, 1:] * scale - 0.5 * aligned).split(2, 1)
        extent = opposite - corner if aligned else (opposite - corner).clamp(min=1)
        steps = [(torch.arange(count * ratio, dtype=maps.dtype) + 0.5) / (count * ratio) for count in (width, height)]
        x, y = (corner[:, i : i + 1] + extent[:, i : i + 1] * steps[i] for i in (0, 1))
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)  # (n, height', width', 2)
        flat = (2 * grid / size - 1).reshape(1, -1, grid.shape[2], 2)
        values = functional.grid_sample(maps[image : image + 1], flat, align_corners=True, padding_mode="border")
        values = values[0].unflatten(1, (len(grid), -1)).transpose(0, 1)
        pooled = pooled.index_put((chosen.nonzero()[:, 0],), functional.avg_pool2d(values, ratio))
    return pooled


if _OPERATORS is not None:
    _OPERATORS.impl("nms", _nms, "CPU")
    torchvision.extension._has_ops = lambda: True
    sys.modules["torchvision.ops.roi_align"]._roi_align = _roi_align


def timm_model(name: str) -> nn.Module:
    """Return timm's module of one of our networks.

    Raises:
        KeyError: timm has no such network.
    """
    if regnet := re.fullmatch(r"regnet([xy])_(.+?)(mf|gf)(_tv)?", name):
        letter, size, unit, variant = regnet.groups()
        hundreds = float(size.replace("_", ".")) * (10 if unit == "gf" else 0.01)
        return timm.create_model(f"regnet{letter}_{round(hundreds):03d}{variant or ''}")
    return timm.create_model(_TIMM[name])


def official_resnest(name: str) -> nn.Module:
    """Return the ResNeSt authors' module; 14 and 26, which they published only for Gluon, are built like their 50."""
    if name in ("resnest14", "resnest26"):
        options: dict[str, Any] = {"radix": 2, "groups": 1, "bottleneck_width": 64, "avd": True, "avd_first": False}
        blocks = [1 if name == "resnest14" else 2] * 4
        code = resnest.torch.resnet
        return code.ResNet(code.Bottleneck, blocks, deep_stem=True, stem_width=32, avg_down=True, **options)
    return getattr(resnest.torch, name)()


def torchvision_model(name: str) -> nn.Module:
    """Return torchvision's module of one of our networks.

    Raises:
        KeyError: torchvision has no such network, or one with other widths.
    """
    if regnet := re.fullmatch(r"regnet([xy]_.+?)(_tv)?", name):
        size = regnet[1].replace("_8_0gf", "_8gf")
        if (size in _TORCHVISION_WIDTHS) != bool(regnet[2]):
            raise KeyError(name)
        name = f"regnet_{size}"
    if name not in torchvision.models.list_models(torchvision.models):
        raise KeyError(name)
    return torchvision.models.get_model(name)
