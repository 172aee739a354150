"""Mask R-CNN with a RegNetX whose parameters are given, as a LazyConfig: RegNetX-4.0GF without weights."""

from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config

from designspace.integrations.detectron2 import DesignSpaceBackbone

dataloader = get_config("common/data/coco.py").dataloader
lr_multiplier = get_config("common/coco_schedule.py").lr_multiplier_1x
optimizer = get_config("common/optim.py").SGD
train = get_config("common/train.py").train
model = get_config("common/models/mask_rcnn_fpn.py").model

model.backbone.bottom_up = L(DesignSpaceBackbone)(
    network={"w0": 96, "wa": 38.65, "wm": 2.43, "depth": 23, "group_w": 40, "bot_mul": 1.0},
    out_features=["s1", "s2", "s3", "s4"],
    norm="BN",
    freeze_at=0,
    bgr=True,  # as model.input_format
)
model.pixel_std = [57.375, 57.120, 58.395]
train.init_checkpoint = ""
