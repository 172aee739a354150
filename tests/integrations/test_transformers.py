"""Our networks in transformers: its backbones and classifiers, saved and loaded in its own way."""

import numpy as np
import originals  # noqa: F401  (makes torchvision importable, which it imports)
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, AutoModelForImageClassification

import designspace
from designspace.integrations.huggingface import push_to_hub
from designspace.integrations.transformers import (
    DesignspaceBackbone,
    DesignspaceConfig,
    DesignspaceForImageClassification,
)
from designspace.models import AnyNet, Backbone
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError, RunError

NETWORK = Network(Stem("cifar", 8), tuple(Stage(1, 8 * i, s, 1, 8) for i, s in ((1, 1), (2, 2), (4, 2))), num_classes=5)
IMAGES = torch.rand(2, 3, 97, 131, generator=torch.Generator().manual_seed(0))
SMALLEST = {"stem": {"width": 256}, "stages": [{"depth": 1, "width": 8}]}
# Of the hub's library itself.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("source", [NETWORK, "regnetx_200mf", "resnest14"], ids=str)
def test_a_backbone_has_the_maps_of_ours_and_describes_them(source):
    network = source if isinstance(source, Network) else catalog.get(source)
    ours = AnyNet(network).eval()
    model = DesignspaceBackbone.from_network(ours, out_features=["stem", "stage2", "stage3"])
    expected = Backbone(ours, (0, 2, 3))(IMAGES)
    output = model(IMAGES)
    assert all(torch.equal(a, b) for a, b in zip(output.feature_maps, expected, strict=True))
    assert output.hidden_states is None
    assert model.channels == [x.shape[1] for x in expected]
    assert (model.out_features, model.out_indices) == (["stem", "stage2", "stage3"], [0, 2, 3])
    assert model.stage_names[-1] == f"stage{len(network.stages)}"
    everything = model(IMAGES, output_hidden_states=True)
    assert len(everything.hidden_states) == 1 + len(network.stages)
    assert torch.equal(model(IMAGES, return_dict=False)[0][1], expected[1])
    assert DesignspaceBackbone.from_network(ours).out_features == [model.stage_names[-1]]


def test_configurations_are_those_of_transformers(tmp_path):
    config = DesignspaceConfig(network=SMALLEST)
    assert (config.num_labels, config.num_channels, config.stage_names) == (1000, 3, ["stem", "stage1"])
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, DesignspaceConfig)
    assert again.to_network() == config.to_network()
    assert again.to_json_string() == config.to_json_string()
    made = AutoConfig.for_model("designspace", out_indices=[1, -1])
    assert made.out_features == ["stage1", "stage4"]
    assert made.to_network() == catalog.get("resnest50")
    with pytest.raises(ValueError, match="out_features must be a subset of stage_names"):
        DesignspaceConfig(out_features=["layer1"])
    with pytest.raises(InputError, match="stages must be a list"):
        DesignspaceConfig(network={"stem": {}, "stages": 3})


def test_a_saved_backbone_is_loaded_again(tmp_path, monkeypatch):
    model = DesignspaceBackbone.from_network(AnyNet(NETWORK, seed=3), out_indices=[1, 3])
    model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"config.json", "model.safetensors"}
    again = DesignspaceBackbone.from_pretrained(tmp_path / "saved")
    assert same(again, model)
    assert not again.training
    assert torch.equal(again(IMAGES).feature_maps[1], model(IMAGES).feature_maps[1])
    built = AutoBackbone.from_config(AutoConfig.from_pretrained(tmp_path / "saved"))
    assert isinstance(built, DesignspaceBackbone)
    assert built.out_indices == [1, 3]


def test_model_folders_are_loaded_to_the_bit(trained, tmp_path):
    best = designspace.load(trained / "best")
    backbone = DesignspaceBackbone.from_pretrained(trained / "best", out_indices=[-1])
    classifier = AutoModelForImageClassification.from_pretrained(trained / "best")
    assert isinstance(classifier, DesignspaceForImageClassification)
    assert same(classifier, best)
    images = IMAGES[:, :, :33, :30]
    assert torch.equal(backbone(images).feature_maps[0], Backbone(best)(images)[-1])
    assert torch.equal(classifier(images).logits, best(images))
    assert tuple(classifier.config.id2label.values()) == best.weights.classes
    for name, source in (("folder", trained / "best"), ("run", trained / "run")):
        again = DesignspaceBackbone.from_network(source, out_features=["stage1"])
        assert all(torch.equal(value, best.state_dict()[key]) for key, value in again.state_dict().items()), name
    classifier.save_pretrained(tmp_path / "saved")
    assert same(AutoModelForImageClassification.from_pretrained(tmp_path / "saved"), best)


def test_a_repository_of_the_hub_is_loaded(trained, at_hub, monkeypatch):
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
    push_to_hub(trained / "best", "you/transformers", token="hf_write")
    best = designspace.load(trained / "best")
    backbone = AutoBackbone.from_pretrained("you/transformers", out_features=["stage1", "stage2"])
    images = IMAGES[:, :, :33, :30]
    for features, expected in zip(backbone(images).feature_maps, Backbone(best, (1, 2))(images), strict=True):
        assert torch.equal(features, expected)
    assert same(AutoModelForImageClassification.from_pretrained("you/transformers"), best)
    photo = Image.fromarray((IMAGES[0].permute(1, 2, 0) * 255).byte().numpy())
    prepared = AutoImageProcessor.from_pretrained("you/transformers")(photo, return_tensors="pt")["pixel_values"]
    crop = best.weights.preset.crop
    assert prepared.shape == (1, 3, crop, crop)
    small = torch.from_numpy(np.asarray(photo.resize((131 * crop // 97, crop), Image.Resampling.BILINEAR)) / 255)
    left = round((small.shape[1] - crop) / 2)
    mean, std = (torch.tensor(values) for values in (best.weights.preset.mean, best.weights.preset.std))
    expected = ((small[:, left : left + crop] - mean) / std).permute(2, 0, 1).float()
    torch.testing.assert_close(prepared[0], expected, rtol=0, atol=1.01 / 255 / float(std.min()))  # one grey level
    classify = transformers.pipeline("image-classification", model="you/transformers")
    with torch.inference_mode():
        scores = best(prepared)[0].softmax(0)
    assert classify(photo)[0]["score"] == pytest.approx(float(scores.max()))
    assert classify(photo)[0]["label"] == best.weights.classes[int(scores.argmax())]


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_other_weights_are_errors(tmp_path, change):
    DesignspaceBackbone.from_network(AnyNet(NETWORK)).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    if change == "missing":
        del state["stem.conv.weight"]
    elif change == "surplus":
        state["stages.7.weight"] = torch.ones(1)
    else:
        state["stem.conv.weight"] = torch.ones(8, 1, 3, 3)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    problems = {
        "missing": "conv.weight is missing",
        "surplus": "7.weight is surplus",
        "shape": "has shape .8, 1, 3, 3.",
    }
    for ignored in (False, True):
        with pytest.raises(RunError, match=f"does not have the weights of this network: st.*{problems[change]}"):
            DesignspaceBackbone.from_pretrained(tmp_path, ignore_mismatched_sizes=ignored)


def test_a_classifier_with_other_labels(trained):
    options = {"num_labels": 3, "ignore_mismatched_sizes": True}
    model = AutoModelForImageClassification.from_pretrained(trained / "best", **options)
    best = designspace.load(trained / "best")
    assert model(IMAGES[:, :, :33, :30]).logits.shape == (2, 3)
    assert same(model.stages, best.stages)
    assert float(model.head.classifier.weight.detach().std()) == pytest.approx(0.01, rel=0.5)


def test_initial_weights_have_our_distribution():
    torch.manual_seed(0)
    model = AutoBackbone.from_config(DesignspaceConfig(network=SMALLEST))
    weight = model.stem.conv.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.1)
    assert float(model.stem.norm.weight.detach().min()) == 1
    dilated = DesignspaceBackbone(DesignspaceConfig(network=SMALLEST, output_stride=2))
    assert dilated(IMAGES).feature_maps[0].shape[2:] == (49, 66)
    with pytest.raises(InputError, match="output_stride=3 is not possible"):
        DesignspaceBackbone(DesignspaceConfig(output_stride=3))
    with pytest.raises(InputError, match="num_labels is that of the network"):
        DesignspaceBackbone.from_network("resnest14", weights=False, num_labels=3)


def test_a_detector_uses_the_backbone():
    config = transformers.UperNetConfig(
        backbone_config=DesignspaceConfig(network=None, out_indices=[1, 2, 3, 4]), hidden_size=16, num_labels=3,
        use_auxiliary_head=False,
    )  # fmt: skip
    model = transformers.UperNetForSemanticSegmentation(config).eval()
    assert isinstance(model.backbone, DesignspaceBackbone)
    assert model(IMAGES[:, :, :64, :96]).logits.shape == (2, 3, 64, 96)


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model = DesignspaceForImageClassification.from_network(NETWORK).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    losses = []
    for _ in range(5):
        loss = model(IMAGES, labels=torch.tensor([1, 4])).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
