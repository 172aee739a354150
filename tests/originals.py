"""The published networks in their authors' own code, with random weights, under the names of this package."""

import re
import sys
from typing import Any

import torch
from torch import nn

try:
    import torchvision
except RuntimeError:  # its operators were compiled for another torch; none is needed, but importing it registers two
    _OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for _name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[_name]
    import torchvision

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
