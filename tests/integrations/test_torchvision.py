"""torchvision's detectors on our networks: they train, take images of any size, and reload."""

import dataclasses

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN

import designspace
from designspace.integrations import torchvision as ours
from designspace.models import AnyNet
from designspace.models.norms import FrozenBatchNorm2d
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError

NETWORK = Network(Stem("imagenet", 8), tuple(Stage(1, 8 * i, 2, 1, 8) for i in (1, 2, 3, 4)))
SMALL = {"min_size": 97, "max_size": 131}
FEW = {
    **{"rpn_pre_nms_top_n_train": 100, "rpn_post_nms_top_n_train": 50, "box_batch_size_per_image": 16},
    **{"rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_test": 20, "box_detections_per_img": 10},
}
"""Options of two-stage detectors for few proposals, since torchvision's operators may be slow ones in Python."""
WIDTH = {"out_channels": 32}
CLASSES = 3


def made_images(count=2):
    """Return images of 97 x 131 pixels, with a rectangle of class 1 and one of class 2 each, and their targets."""
    generator = torch.Generator().manual_seed(0)
    images, targets = [], []
    for number in range(count):
        image = 0.1 * torch.rand(3, 97, 131, generator=generator)
        boxes = torch.tensor([[10.0 + 4 * number, 12, 50, 60], [70, 30 + 3 * number, 120, 90]])
        masks = torch.zeros(2, 97, 131, dtype=torch.uint8)
        for channel, (mask, (x0, y0, x1, y1)) in enumerate(zip(masks, boxes.int().tolist(), strict=True)):
            image[channel, y0:y1, x0:x1] += 0.8
            mask[y0:y1, x0:x1] = 1
        centres = torch.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, torch.ones(2)], 1)
        keypoints = centres[:, None].repeat(1, 2, 1)
        labels = torch.tensor([1, 2])
        images.append(image)
        targets.append({"boxes": boxes, "labels": labels, "masks": masks, "keypoints": keypoints})
    return images, targets


def train(model, steps=12, lr=0.02):
    """Train on two images; return the sums of the losses before and after, and the names of the losses."""
    images, targets = made_images()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    sums = []
    for _ in range(steps):
        torch.manual_seed(0)  # proposals are sampled at random
        losses = model.train()(images, targets)
        total = sum(losses.values())
        assert total.isfinite()
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        sums.append(total.item())
    return sums[0], min(sums[-2:]), set(losses)


TWO_STAGE = {"loss_objectness", "loss_rpn_box_reg"}
BOX = {"loss_classifier", "loss_box_reg"}
CASCADE = {f"{name}_{stage}" for name in BOX for stage in range(3)}


@pytest.mark.parametrize(
    ("build", "options", "losses"),
    [
        (ours.faster_rcnn, {}, TWO_STAGE | BOX),
        (ours.mask_rcnn, {}, TWO_STAGE | BOX | {"loss_mask"}),
        (ours.mask_rcnn, {"heads": "resnest", "norm": "sync"}, TWO_STAGE | BOX | {"loss_mask"}),
        (ours.keypoint_rcnn, {"num_keypoints": 2}, TWO_STAGE | BOX | {"loss_keypoint"}),
        (ours.cascade_rcnn, {}, TWO_STAGE | CASCADE),
        (ours.cascade_rcnn, {"masks": True, "heads": "resnest"}, TWO_STAGE | CASCADE | {"loss_mask"}),
        (ours.retinanet, {}, {"classification", "bbox_regression"}),
        (ours.fcos, {}, {"classification", "bbox_regression", "bbox_ctrness"}),
    ],
)
def test_a_detector_learns_and_reloads(build, options, losses, tmp_path):
    def make(seed):
        torch.manual_seed(seed)
        few = {} if build in (ours.retinanet, ours.fcos) else FEW
        return build(NETWORK, CLASSES, **WIDTH, **SMALL, **few, **options)

    model = make(2)
    is_wide = build is ours.keypoint_rcnn or "heads" in options  # convolutions of 256 and 512 channels for each box
    rate = 0.01 if build is ours.cascade_rcnn else 0.02  # with 0.02 its loss rises and falls, and rounding decides when
    first, last, names = train(model, steps=4 if is_wide else 12, lr=rate)
    assert names == losses
    assert last < 0.95 * first
    path = tmp_path / "detector.pt"
    torch.save(model.state_dict(), path)
    reloaded = make(1)
    reloaded.load_state_dict(torch.load(path, weights_only=True))
    images = [image[:, : 97 - 30 * number] for number, image in enumerate(made_images()[0])]  # of two sizes
    with torch.no_grad():
        for expected, actual in zip(model.eval()(images), reloaded.eval()(images), strict=True):
            assert expected.keys() == actual.keys()
            assert all(torch.equal(expected[name], actual[name]) for name in expected)
            if "masks" in expected:
                assert expected["masks"].shape[0] == len(expected["boxes"])


def test_the_best_network_of_a_run_becomes_a_mask_rcnn(trained):
    best = designspace.load(trained / "run")
    model = ours.mask_rcnn(f"run:{trained / 'run'}", num_classes=CLASSES, **WIDTH, **SMALL, **FEW)
    state = best.state_dict()
    body = model.backbone.body.state_dict()
    assert body
    assert all(torch.equal(value, state[name]) for name, value in body.items())
    assert model.transform.image_mean == list(best.weights.preset.mean)
    assert model.transform.image_std == list(best.weights.preset.std)
    first, last, _ = train(model)
    assert last < first
    frozen = [name for name in body if name.startswith(("stem.", "stages.0."))]
    after = model.backbone.body.state_dict()
    assert frozen
    assert all(torch.equal(after[name], body[name]) for name in frozen)


def test_trained_networks_have_constant_norms_by_default(trained):
    model = ours.faster_rcnn(trained / "best", CLASSES)
    assert any(isinstance(module, FrozenBatchNorm2d) for module in model.backbone.body.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.backbone.modules())
    untrained = ours.faster_rcnn(NETWORK, CLASSES)
    assert all(parameter.requires_grad for parameter in untrained.parameters())


@pytest.mark.parametrize("name", ["resnest50", "regnetx_400mf", "regnety_400mf", "resnet50"])
def test_published_networks_have_the_pyramid_of_torchvision(name):
    model = ours.mask_rcnn(name, weights=False)
    assert type(model) is MaskRCNN
    assert model.backbone.strides(1) == [4, 8, 16, 32, 64]
    assert model.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert ours.retinanet(name, weights=False).anchor_generator.sizes[0] == (32, 40, 51)
    assert type(ours.keypoint_rcnn(name, weights=False)) is KeypointRCNN
    assert type(ours.faster_rcnn(name, weights=False)) is FasterRCNN


def test_heads_of_the_resnest_configurations_have_norms():
    model = ours.mask_rcnn("resnest50", weights=False, heads="resnest", norm="sync")
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.SyncBatchNorm)]
    for part in ("backbone.body", "backbone.fpn", "roi_heads.box_head", "roi_heads.mask_head"):
        assert any(name.startswith(part) for name in norms)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_maps_of_odd_sizes_have_the_announced_strides():
    body = ours.pyramid(NETWORK, **WIDTH)
    maps = body.eval()(torch.zeros(1, 3, 97, 131))
    for feature_map, stride in zip(maps.values(), body.strides(0), strict=True):
        assert feature_map.shape == (1, 32, -(-97 // stride), -(-131 // stride))


def test_grey_images_and_other_strides():
    network = Network(Stem("cifar", 8), tuple(Stage(1, 8 * i, s, 1, 8) for i, s in ((1, 1), (2, 2), (3, 2))))
    network = dataclasses.replace(network, in_channels=1)
    model = ours.faster_rcnn(network, CLASSES, **WIDTH, min_size=32, max_size=64)
    assert model.backbone.strides(1) == [1, 2, 4, 8]
    assert len(model.transform.image_mean) == 1
    prediction = model.eval()([torch.rand(1, 31, 45)])
    assert prediction[0]["boxes"].shape[1] == 4


def test_options_reach_the_network_and_the_detector():
    model = ours.faster_rcnn(NETWORK, CLASSES, seed=5, frozen_stages=1, box_score_thresh=0.3)
    initial = AnyNet(NETWORK, seed=5).state_dict()
    assert all(torch.equal(v, initial[k]) for k, v in model.backbone.body.state_dict().items())
    assert model.roi_heads.score_thresh == 0.3
    assert not any(parameter.requires_grad for parameter in model.backbone.body.stem.parameters())


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ours.faster_rcnn, {"heads": "mine"}, "unknown heads 'mine'; choose from: torchvision, resnest"),
        (ours.faster_rcnn, {"norm": "group"}, "unknown norm 'group'"),
        (ours.faster_rcnn, {"maps": 5}, "maps must be a whole number from 1 to 4, not 5"),
        (
            ours.faster_rcnn,
            {"box_score_tresh": 0.1},
            "unknown option of FasterRCNN 'box_score_tresh'.*box_score_thresh",
        ),
        (ours.mask_rcnn, {"strides": [1]}, "unknown option of MaskRCNN 'strides'"),
        (ours.fcos, {"rpn_head": None}, "unknown option of FCOS 'rpn_head'"),
    ],
)
def test_invalid_options_are_rejected(build, options, message):
    with pytest.raises(InputError, match=message):
        build(NETWORK, CLASSES, **options)


def test_weights_of_another_network_are_rejected():
    detector, other = ours.faster_rcnn(NETWORK, CLASSES), ours.faster_rcnn(catalog.get("regnetx_200mf"), CLASSES)
    with pytest.raises(RuntimeError, match="size mismatch"):
        detector.load_state_dict(other.state_dict())
