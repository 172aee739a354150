"""A stand-in for the parts of Detectron2 that `designspace.integrations.detectron2` calls.

Detectron2 is not on PyPI and needs a compiler. Its registry and `CfgNode` are fvcore's, which are the real ones here.
The rest follows its documentation (detectron2.readthedocs.io, "Lazy Configs", "Write Models", and the API of `modeling`
and `config`), without layers that our backbones do not touch: a pyramid has plain convolutions, a `CfgNode` no
versions, and there are no detectors.
"""

import importlib
import itertools
import math
import sys
import types
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from fvcore.common.config import CfgNode as FvcoreCfgNode
from fvcore.common.registry import Registry
from omegaconf import DictConfig, ListConfig
from torch import nn

DEFAULTS = {  # values of detectron2/config/defaults.py
    "MODEL": {
        "WEIGHTS": "",
        "MASK_ON": False,
        "PIXEL_MEAN": [103.53, 116.28, 123.675],
        "PIXEL_STD": [1.0, 1.0, 1.0],
        "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 2},
        "FPN": {"IN_FEATURES": [], "OUT_CHANNELS": 256, "NORM": "", "FUSE_TYPE": "sum"},
        "RPN": {"POST_NMS_TOPK_TRAIN": 2000},
        "ROI_HEADS": {"NAME": "Res5ROIHeads"},
        "ROI_BOX_HEAD": {"NAME": "", "NUM_CONV": 0, "NUM_FC": 0, "NORM": "", "CLS_AGNOSTIC_BBOX_REG": False},
        "ROI_MASK_HEAD": {"NORM": ""},
        "RESNETS": {
            "DEPTH": 50,
            "OUT_FEATURES": ["res4"],
            "NUM_GROUPS": 1,
            "NORM": "FrozenBN",
            "WIDTH_PER_GROUP": 64,
            "STRIDE_IN_1X1": True,
            "RES5_DILATION": 1,
            "RES2_OUT_CHANNELS": 256,
            "STEM_OUT_CHANNELS": 64,
            "DEFORM_ON_PER_STAGE": [False, False, False, False],
        },
    },
    "INPUT": {"FORMAT": "BGR"},
    "SOLVER": {"IMS_PER_BATCH": 16, "BASE_LR": 0.001},
    "TEST": {"PRECISE_BN": {"ENABLED": False}},
}
MASK_RCNN = """MODEL:  # the backbone's part of COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml and its base
  WEIGHTS: "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
  MASK_ON: True
  BACKBONE: {NAME: "build_resnet_fpn_backbone"}
  RESNETS: {DEPTH: 50, OUT_FEATURES: ["res2", "res3", "res4", "res5"]}
  FPN: {IN_FEATURES: ["res2", "res3", "res4", "res5"]}
  ROI_HEADS: {NAME: "StandardROIHeads"}
SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.02}
"""
BACKBONE_REGISTRY = Registry("BACKBONE")


@dataclass
class ShapeSpec:
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class CfgNode(FvcoreCfgNode):
    """fvcore's, as Detectron2 extends it."""


def get_cfg():
    return CfgNode(DEFAULTS).clone()


class LazyCall:
    """A callable whose call is described instead of executed."""

    def __init__(self, target):
        self.target = target

    def __call__(self, **arguments):
        return DictConfig({**arguments, "_target_": self.target}, flags={"allow_objects": True})


def instantiate(cfg):
    if isinstance(cfg, ListConfig):
        return ListConfig([instantiate(item) for item in cfg], flags={"allow_objects": True})
    if isinstance(cfg, DictConfig) and "_target_" in cfg:
        arguments = {key: instantiate(value) for key, value in cfg.items()}
        return arguments.pop("_target_")(**arguments)
    return cfg


class LazyConfig:
    @staticmethod
    def load(filename):
        namespace = {}
        exec(compile(Path(filename).read_text(), filename, "exec"), namespace)
        configs = {name: value for name, value in namespace.items() if isinstance(value, DictConfig)}
        return DictConfig(configs, flags={"allow_objects": True})


class Backbone(nn.Module, metaclass=ABCMeta):
    def __init__(self):
        super().__init__()

    @abstractmethod
    def forward(self):
        """Return a dict of feature maps."""

    @property
    def size_divisibility(self):
        return 0

    def output_shape(self):
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


class LastLevelMaxPool(nn.Module):
    num_levels, in_feature = 1, "p5"

    def forward(self, x):
        return [F.max_pool2d(x, kernel_size=1, stride=2, padding=0)]


class FPN(Backbone):
    """A feature pyramid; maps must halve exactly, as in Detectron2, so images are padded to its divisibility."""

    def __init__(self, bottom_up, in_features, out_channels, norm="", top_block=None, fuse_type="sum"):
        super().__init__()
        assert isinstance(bottom_up, Backbone)
        assert fuse_type == "sum"
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride for name in in_features]
        assert all(b == 2 * a for a, b in itertools.pairwise(strides)), strides
        self.bottom_up, self.in_features, self.top_block = bottom_up, tuple(in_features), top_block
        names = [f"p{int(math.log2(stride))}" for stride in strides]
        for name, level in zip(in_features, names, strict=True):
            self.add_module(f"fpn_lateral{level[1:]}", nn.Conv2d(shapes[name].channels, out_channels, 1))
            self.add_module(f"fpn_output{level[1:]}", nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self._out_feature_strides = dict(zip(names, strides, strict=True))
        if top_block is not None:
            self._out_feature_strides[f"p{int(names[-1][1:]) + 1}"] = 2 * strides[-1]
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def size_divisibility(self):
        return self._out_feature_strides[self._out_features[len(self.in_features) - 1]]

    def forward(self, x):
        maps = self.bottom_up(x)
        results, previous = [], None
        for name, level in reversed(list(zip(self.in_features, self._out_features, strict=False))):
            lateral = getattr(self, f"fpn_lateral{level[1:]}")(maps[name])
            previous = lateral if previous is None else lateral + F.interpolate(previous, scale_factor=2)
            results.insert(0, getattr(self, f"fpn_output{level[1:]}")(previous))
        if self.top_block is not None:
            results += self.top_block(results[-1])
        return dict(zip(self._out_features, results, strict=True))


def build_backbone(cfg, input_shape=None):
    input_shape = input_shape or ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    backbone = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape)
    assert isinstance(backbone, Backbone)
    return backbone


class OtherBackbone(Backbone):
    """The backbone of a configuration of the model zoo, which ours replaces."""

    def __init__(self, out_features):
        super().__init__()

    def forward(self, x):
        raise NotImplementedError


def lazy_model():
    """Return the backbone's part of the model zoo's ``common/models/mask_rcnn_fpn.py``."""
    return LazyCall(types.SimpleNamespace)(
        backbone=LazyCall(FPN)(
            bottom_up=LazyCall(OtherBackbone)(out_features=["res2", "res3", "res4", "res5"]),
            in_features="${.bottom_up.out_features}",
            out_channels=256,
            top_block=LazyCall(LastLevelMaxPool)(),
        ),
        pixel_mean=[103.530, 116.280, 123.675],
        pixel_std=[1.0, 1.0, 1.0],
        input_format="BGR",
    )


def get_config(path):
    allowed = {"allow_objects": True}
    if path == "common/models/mask_rcnn_fpn.py":
        return DictConfig({"model": lazy_model()}, flags=allowed)
    if path == "common/train.py":
        return DictConfig({"train": {"init_checkpoint": "", "cudnn_benchmark": False}}, flags=allowed)
    if path in ("common/optim.py", "common/coco_schedule.py", "common/data/coco.py"):
        names = {"common/optim.py": "SGD", "common/coco_schedule.py": "lr_multiplier_1x"}
        return DictConfig({names.get(path, "dataloader"): {}}, flags=allowed)
    raise RuntimeError(f"{path} not available in Model Zoo!")


def install(monkeypatch, folder):
    """Put the stand-in into ``sys.modules`` while a test runs, and import our integration anew.

    Args:
        monkeypatch: pytest's fixture, which removes everything afterwards.
        folder: a folder for the files of the model zoo.
    """

    def get_config_file(path):
        if path != "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml":
            raise RuntimeError(f"{path} not available in Model Zoo!")
        (folder / "mask_rcnn.yaml").write_text(MASK_RCNN)
        return str(folder / "mask_rcnn.yaml")

    monkeypatch.setattr(sys.modules[__name__], "BACKBONE_REGISTRY", Registry("BACKBONE"))
    modeling = {
        "BACKBONE_REGISTRY": BACKBONE_REGISTRY,
        "Backbone": Backbone,
        "FPN": FPN,
        "build_backbone": build_backbone,
    }
    contents = {
        "detectron2": {},
        "detectron2.config": {
            "CfgNode": CfgNode,
            "get_cfg": get_cfg,
            "LazyCall": LazyCall,
            "LazyConfig": LazyConfig,
            "instantiate": instantiate,
        },
        "detectron2.layers": {"ShapeSpec": ShapeSpec},
        "detectron2.model_zoo": {"get_config": get_config, "get_config_file": get_config_file},
        "detectron2.modeling": modeling,
        "detectron2.modeling.backbone": modeling,
        "detectron2.modeling.backbone.fpn": {"FPN": FPN, "LastLevelMaxPool": LastLevelMaxPool},
    }
    for name, content in contents.items():
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    ours = "designspace.integrations.detectron2"
    monkeypatch.delitem(sys.modules, ours, raising=False)
    module = importlib.import_module(ours)
    monkeypatch.setitem(sys.modules, ours, module)
    return module
