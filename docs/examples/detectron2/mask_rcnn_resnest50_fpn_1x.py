"""Mask R-CNN with a ResNeSt-50, as a LazyConfig."""

from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config

from designspace.integrations.detectron2 import DesignSpaceBackbone

dataloader = get_config("common/data/coco.py").dataloader
lr_multiplier = get_config("common/coco_schedule.py").lr_multiplier_1x
optimizer = get_config("common/optim.py").SGD
train = get_config("common/train.py").train
model = get_config("common/models/mask_rcnn_fpn.py").model

model.backbone.bottom_up = L(DesignSpaceBackbone)(
    network="resnest50",
    out_features=["res2", "res3", "res4", "res5"],
    norm="SyncBN",
    freeze_at=2,
    bgr=True,  # as model.input_format
)
model.pixel_std = [57.375, 57.120, 58.395]
train.init_checkpoint = ""
