"""The codes that ours is compared with, as far as they can be imported here."""

import importlib
from types import ModuleType

import torch

_kept = []


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators are for another build of torch: these are never called."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:  # it describes operators that are not there
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        return importlib.import_module("torchvision")
