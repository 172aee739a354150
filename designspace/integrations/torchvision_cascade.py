"""Cascade R-CNN from the parts of torchvision's Faster R-CNN."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference, maskrcnn_loss
from torchvision.ops import box_iou, clip_boxes_to_image

Shapes = Sequence[tuple[int, int]]
Target = Mapping[str, Tensor]

IOU_THRESHOLDS = (0.5, 0.6, 0.7)
"""Overlap with an object from which a box counts as this object, for each stage (Cascade R-CNN, section 4.2)."""
BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
"""Scales of the box offsets, for each stage: refined boxes have smaller offsets."""


class CascadeRoIHeads(RoIHeads):  # type: ignore[misc]
    """Three box heads, each of which refines the boxes of the one before (arXiv 1712.00726).

    Each stage classifies its boxes and moves them, in the same way for all classes. In training its boxes are matched
    with objects at a higher overlap than before. The scores are the means over the stages. Masks, if there are any, are
    computed once, in training for the proposals and otherwise for the final boxes, as in Detectron2.

    Args:
        heads: the heads of a Faster or Mask R-CNN, whose parts and settings are used.
        num_classes: number of classes, with the background as class 0.
    """

    def __init__(self, heads: RoIHeads, num_classes: int) -> None:
        width = heads.box_predictor.cls_score.in_features
        sampler = heads.fg_bg_sampler
        super().__init__(
            heads.box_roi_pool,
            heads.box_head,
            FastRCNNPredictor(width, num_classes),
            IOU_THRESHOLDS[0],
            IOU_THRESHOLDS[0],
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            BOX_WEIGHTS[0],
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
            heads.mask_roi_pool,
            heads.mask_head,
            heads.mask_predictor,
        )
        # Stage 0 has torchvision's names of the parts; its regression is that of one class too.
        self.box_predictor.bbox_pred = nn.Linear(width, 4)
        self.later_heads = nn.ModuleList(_fresh_copy(heads.box_head) for _ in IOU_THRESHOLDS[1:])
        self.later_predictors = nn.ModuleList(_fresh_copy(self.box_predictor) for _ in IOU_THRESHOLDS[1:])
        self.coders = [BoxCoder(weights) for weights in BOX_WEIGHTS]
        self.matchers = [Matcher(threshold, threshold, False) for threshold in IOU_THRESHOLDS]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: Shapes,
        targets: Sequence[Target] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return predictions in evaluation mode, and losses in training mode.

        Args:
            features: maps (N, C, H, W) by name.
            proposals: boxes (n, 4) of each image.
            image_shapes: height and width of each image.
            targets: objects of each image, in training mode.

        Returns:
            For each image ``boxes``, ``labels``, ``scores`` and with masks ``masks``; and the losses by name.
        """
        if not self.training:
            return self._predict(features, proposals, image_shapes), {}
        proposals, matched, labels, offsets = self.select_training_samples(proposals, targets)
        losses: dict[str, Tensor] = {}
        boxes, stage_labels, stage_offsets = proposals, labels, offsets
        for stage in range(len(self.coders)):
            if stage:
                boxes, stage_labels, stage_offsets = self._match(stage, boxes, targets or ())
            logits, regression = self._stage(stage, features, boxes, image_shapes, scale=1 / len(self.coders))
            classification, box = _losses(logits, regression, torch.cat(stage_labels), torch.cat(stage_offsets))
            losses |= {f"loss_classifier_{stage}": classification, f"loss_box_reg_{stage}": box}
            boxes = self._refine(stage, regression, boxes, image_shapes)
        if self.has_mask():
            losses["loss_mask"] = self._mask_loss(features, proposals, matched, labels, image_shapes, targets or ())
        return [], losses

    def _stage(
        self, stage: int, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: Shapes, scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and offsets (n, 4) of a stage; ``scale`` is that of the maps' gradients."""
        head = self.later_heads[stage - 1] if stage else self.box_head
        predictor = self.later_predictors[stage - 1] if stage else self.box_predictor
        pooled = self.box_roi_pool(features, boxes, image_shapes)
        if scale != 1:
            pooled = pooled * scale + pooled.detach() * (1 - scale)
        logits, regression = predictor(head(pooled))
        return logits, regression

    def _refine(self, stage: int, regression: Tensor, boxes: list[Tensor], image_shapes: Shapes) -> list[Tensor]:
        """Return the boxes moved by the offsets of a stage, as the constants of the next one."""
        moved = self.coders[stage].decode(regression.detach(), boxes)[:, 0]  # (n, 4)
        parts = moved.split([len(box) for box in boxes])
        return [clip_boxes_to_image(part, shape) for part, shape in zip(parts, image_shapes, strict=True)]

    def _match(
        self, stage: int, boxes: list[Tensor], targets: Sequence[Target]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return the boxes of a stage that are not empty, their labels, and their offsets from the objects."""
        kept, labels, objects = [], [], []
        for box, target in zip(boxes, targets, strict=True):
            box = box[((box[:, 2:] - box[:, :2]) > 0).all(1)]
            truth = target["boxes"].to(box.dtype)
            if len(truth):
                index = self.matchers[stage](box_iou(truth, box))
                label = torch.where(index >= 0, target["labels"][index.clamp(min=0)], 0)
                truth = truth[index.clamp(min=0)]
            else:
                label, truth = torch.zeros(len(box), dtype=torch.int64, device=box.device), torch.zeros_like(box)
            kept.append(box)
            labels.append(label)
            objects.append(torch.where((label > 0)[:, None], truth, box))  # background has no offsets
        return kept, labels, list(self.coders[stage].encode(objects, kept))

    def _predict(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: Shapes
    ) -> list[dict[str, Tensor]]:
        """Return the predictions for each image."""
        boxes, scores = proposals, []
        for stage in range(len(self.coders)):
            logits, regression = self._stage(stage, features, boxes, image_shapes)
            scores.append(functional.softmax(logits, -1))
            boxes = self._refine(stage, regression, boxes, image_shapes)
        mean = torch.stack(scores).mean(0)
        # The last stage's boxes are those of every class. Boxes are decoded already, so their offsets are 0.
        offsets = torch.zeros(len(mean), 4 * mean.shape[1], device=mean.device, dtype=mean.dtype)
        found = self.postprocess_detections(mean.clamp(min=1e-12).log(), offsets, boxes, image_shapes)
        result = [{"boxes": box, "labels": label, "scores": score} for box, score, label in zip(*found, strict=True)]
        if self.has_mask():
            maps = self.mask_roi_pool(features, [one["boxes"] for one in result], image_shapes)
            logits = self.mask_predictor(self.mask_head(maps))
            for one, masks in zip(result, maskrcnn_inference(logits, [one["labels"] for one in result]), strict=True):
                one["masks"] = masks
        return result

    def _mask_loss(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        matched: list[Tensor],
        labels: list[Tensor],
        image_shapes: Shapes,
        targets: Sequence[Target],
    ) -> Tensor:
        """Return the loss of the masks of the proposals that are objects."""
        positive = [label > 0 for label in labels]
        boxes = [box[is_object] for box, is_object in zip(proposals, positive, strict=True)]
        indices = [index[is_object] for index, is_object in zip(matched, positive, strict=True)]
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
        masks, classes = [target["masks"] for target in targets], [target["labels"] for target in targets]
        loss: Tensor = maskrcnn_loss(logits, boxes, masks, classes, indices)
        return loss


def _fresh_copy(module: Any) -> Any:
    """Return a copy of a module with new initial weights."""
    copied = copy.deepcopy(module)
    for child in copied.modules():
        if hasattr(child, "reset_parameters"):
            child.reset_parameters()
    return copied


def _losses(logits: Tensor, regression: Tensor, labels: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of classification and of the boxes that are objects, as in torchvision's Faster R-CNN."""
    positive = labels > 0
    box = functional.smooth_l1_loss(regression[positive], offsets[positive], beta=1 / 9, reduction="sum")
    return functional.cross_entropy(logits, labels), box / max(1, labels.numel())
