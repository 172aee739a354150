"""Segmentation on our networks: it learns, takes images of any size, and reloads."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from designspace.integrations import torchvision as ours
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError

NETWORK = Network(Stem("imagenet", 8), tuple(Stage(1, 8 * i, 2, 1, 8) for i in (1, 2, 3, 4)))
BUILDERS = [ours.fcn, ours.deeplabv3, ours.deeplabv3plus]


def made_images():
    """Return two images of 97 x 131 pixels with a bright square each, and the classes of their pixels."""
    images, labels = 0.1 * torch.rand(2, 3, 97, 131), torch.zeros(2, 97, 131, dtype=torch.int64)
    for number in range(2):
        images[number, number, 20:70, 30 + 20 * number : 90] += 0.8
        labels[number, 20:70, 30 + 20 * number : 90] = 1 + number
    return images, labels


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("build", BUILDERS)
def test_a_segmenter_learns_and_reloads(build, stride, tmp_path):
    model = build(NETWORK, 3, output_stride=stride, aux=True)
    assert model.backbone.feature_info.reduction()[-1] == stride
    images, labels = made_images()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        out = model.train()(images)
        assert out["out"].shape == out["aux"].shape == (2, 3, 97, 131)
        loss = functional.cross_entropy(out["out"], labels) + 0.4 * functional.cross_entropy(out["aux"], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    torch.save(model.state_dict(), tmp_path / "model.pt")
    reloaded = build(NETWORK, 3, output_stride=stride, aux=True, seed=1)
    reloaded.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(model.eval()(images)["out"], reloaded.eval()(images)["out"])


@pytest.mark.parametrize("build", BUILDERS)
def test_published_networks_are_dilated(build):
    model = build("resnest50", weights=False, output_stride=8, aux=True, norm="sync", frozen_stages=1)
    assert model.backbone.feature_info.reduction()[-2:] == [8, 8]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.backbone.stem.parameters())


def test_without_an_auxiliary_head():
    assert ours.deeplabv3(NETWORK, 3).eval()(torch.zeros(1, 3, 33, 47)).keys() == {"out"}


def test_dilations_are_those_of_the_paper():
    def dilations(model):
        return [conv.dilation[0] for conv in model.classifier.modules() if isinstance(conv, nn.Conv2d)][1:4]

    assert dilations(ours.deeplabv3(NETWORK, output_stride=8)) == [12, 24, 36]
    assert dilations(ours.deeplabv3(NETWORK, output_stride=16)) == [6, 12, 18]


def test_networks_that_do_not_fit_are_rejected():
    one_stage = Network(Stem("imagenet", 8), (Stage(1, 8, 2, 1, 8),))
    with pytest.raises(InputError, match="output_stride=6 is not possible for this network"):
        ours.fcn(NETWORK, output_stride=6)
    with pytest.raises(InputError, match="this network has one stage"):
        ours.fcn(one_stage, output_stride=4, aux=True)
    with pytest.raises(InputError, match="joins the maps of two stages"):
        ours.deeplabv3plus(one_stage, output_stride=4)
