"""Published networks by name: as functions, with weights, with other classes or channels, as backbones."""

import copy
import logging

import originals
import pytest
import torch
from test_fused import randomise_norms

import designspace.models
from designspace.models import AnyNet, Backbone, create_model, list_models
from designspace.models.norms import FrozenBatchNorm2d
from designspace.models.weights.keys import key_map
from designspace.networks import catalog
from designspace.networks.complexity import complexity
from designspace.support.errors import InputError, RunError


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def weights(tmp_path):
    """A file of RegNetY-200MF's weights in the format of pycls."""
    state = randomise_norms(create_model("regnety_200mf", seed=3)).state_dict()
    named = {theirs: state[ours] for ours, theirs in key_map("regnety_200mf", "pycls").items()}
    named["stem.conv.weight"] = named["stem.conv.weight"].flip(1)
    torch.save({"model_state": named, "epoch": 100}, tmp_path / "RegNetY-200MF.pyth")
    return tmp_path / "RegNetY-200MF.pyth"


def test_every_network_is_a_documented_function():
    assert len(list_models()) == 56
    for name in list_models():
        function = getattr(designspace.models, name)
        assert name in designspace.models.__all__
        assert function.__name__ == name
        first, _, rest = function.__doc__.partition("\n")
        assert first.startswith(f"{name}: ")
        assert f"{catalog.published(name).top1:.2f}% top-1" in first
        assert "Source: " in rest
    from designspace.models import regnetx_1_6gf, resnest50_fast_1s1x64d

    assert "9.19 M parameters, 1.60 G multiply-adds at 224 x 224 pixels" in regnetx_1_6gf.__doc__
    assert isinstance(resnest50_fast_1s1x64d(num_classes=3), AnyNet)


def test_names_match_patterns_and_the_spelling_of_the_papers():
    assert list_models("regnety_*gf") == [n for n in list_models() if n.startswith("regnety") and n.endswith("gf")]
    assert create_model("RegNetX-4.0GF", num_classes=2).network.stages == catalog.get("regnetx_4_0gf").stages
    with pytest.raises(InputError, match="unknown network 'resnest51'; did you mean resnest50"):
        create_model("resnest51")


def test_networks_without_published_weights_say_so(tmp_path):
    with pytest.raises(InputError, match=r"no published weights of convnext_tiny .*train model=convnext_tiny"):
        create_model("ConvNeXt-T", pretrained=True)
    model = create_model("shufflenet_v2_x1_0", seed=1)
    torch.save(model.state_dict(), tmp_path / "own.pt")
    again = create_model("shufflenet_v2_x1_0", tmp_path / "own.pt")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert (again.weights.preset.crop, again.weights.preset.resize) == (224, 256)
    with pytest.raises(RunError, match="there is no file .*; published weights for shufflenet_v2_x1_0: none"):
        create_model("shufflenet_v2_x1_0", tmp_path / "missing.pt")


def test_weights_from_a_file(weights):
    model = create_model("regnety_200mf", weights).eval()
    expected = randomise_norms(create_model("regnety_200mf", seed=3)).eval()
    with torch.no_grad():
        assert torch.equal(model(images(2, 3, 40, 40)), expected(images(2, 3, 40, 40)))
    assert model.weights.origin == str(weights)
    assert model.weights.licence == "unknown"
    assert create_model("regnety_200mf").weights is None


def test_other_classes_get_a_new_classifier_and_a_warning(weights, caplog):
    with caplog.at_level(logging.INFO):
        model = create_model("regnety_200mf", str(weights), num_classes=7, seed=9)
    assert "the classifier is new and must be trained: the weights are for 1000 classes, the model has 7" in caplog.text
    fresh, published = create_model("regnety_200mf", num_classes=7, seed=9), create_model("regnety_200mf", weights)
    assert torch.equal(model.head.classifier.weight, fresh.head.classifier.weight)
    assert torch.equal(
        model.stages[2][0].transform.conv1.conv.weight, published.stages[2][0].transform.conv1.conv.weight
    )


def test_one_channel_gives_the_output_of_three_equal_ones(weights, caplog):
    grey = create_model("regnety_200mf", weights, in_channels=1).eval()
    assert "the weights of red, green and blue are summed for one channel" in caplog.text
    colour = create_model("regnety_200mf", weights).eval()
    x = images(1, 1, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
    assert len(grey.weights.preset.mean) == 1
    assert create_model("regnety_200mf", weights, in_channels=5).weights.preset.mean == (
        0.485,
        0.456,
        0.406,
        0.485,
        0.456,
    )


def test_a_fine_tuned_model_can_be_loaded(tmp_path):
    tuned = create_model("resnest14", num_classes=5, in_channels=1, seed=4)
    torch.save(tuned.state_dict(), tmp_path / "tuned.pth")
    again = create_model("resnest14", tmp_path / "tuned.pth", num_classes=5, in_channels=1)
    assert all(torch.equal(a, b) for a, b in zip(tuned.parameters(), again.parameters(), strict=True))
    with pytest.raises(InputError, match=r"head.classifier.weight has shape \(5, 2048\), not \(1000, 2048\)"):
        create_model("resnest14", tmp_path / "tuned.pth")


@pytest.mark.parametrize("name", ["regnety_200mf", "resnest14"])
def test_without_classes_a_model_returns_its_pooled_features(name, tmp_path):
    full_model = create_model(name, seed=1)
    torch.save(full_model.state_dict(), tmp_path / "full.pth")
    model = create_model(name, tmp_path / "full.pth", num_classes=0, in_channels=1)
    x = images(2, 1, 64, 64)
    features = model.eval()(x)
    assert features.shape == (2, model.network.stages[-1].width)
    assert torch.allclose(full_model.eval().head.classifier(features), full_model(x.expand(-1, 3, -1, -1)), atol=1e-5)
    assert complexity(model.network).params == sum(p.numel() for p in model.parameters())
    assert not any("classifier" in key for key in model.state_dict())


def test_a_backbone_has_the_weights_and_their_description(weights):
    options = {"features": True, "out_indices": (2, 4), "frozen_norm": True, "output_stride": 16, "drop_path": 0.1}
    backbone = create_model("regnety_200mf", weights, **options)
    assert isinstance(backbone, Backbone)
    assert backbone.feature_info.reduction() == [8, 16]
    assert backbone.weights.origin == str(weights)
    assert any(isinstance(module, FrozenBatchNorm2d) for module in backbone.modules())
    full_model = create_model("regnety_200mf", weights)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, full_model.state_dict()[name]), name
    assert [m.shape[2] for m in backbone(images(1, 3, 64, 64))] == [8, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"droppath": 0.1}, "unknown option 'droppath' of a model; did you mean drop_path?"),
        ({"in_chans": 1}, "unknown option 'in_chans' of a model; did you mean in_channels?"),
        ({"features_only": True}, "unknown option 'features_only' of a model; did you mean features?"),
        ({"drop_path_rate": 0.1}, "unknown option 'drop_path_rate' of a model; did you mean drop_path?"),
        ({"weights": "DEFAULT"}, "unknown option 'weights' of a model; did you mean pretrained?"),
        ({"xyz": 1}, "unknown option 'xyz' of a model; choose from: pretrained, sha256, num_classes, in_channels"),
        ({"out_indices": (1,)}, "out_indices chooses feature maps of a backbone: add features=True"),
        ({"sha256": "0" * 64}, "sha256 is for a file"),
        ({"num_classes": -1}, "num_classes must be a whole number >= 0, not -1"),
        ({"pretrained": "timmm"}, "timmm"),
        (
            {"pretrained": "timm:nothing"},
            "there are no weights 'timm:nothing' for regnety_200mf; choose from: pycls:dds",
        ),
        ({"pretrained": 3}, "weights must be True, a source, a URL or a path, not 3"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises((InputError, RunError), match=message.replace("?", r"\?")):
        create_model("regnety_200mf", **options)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("resnest26", originals.timm_model),
        ("resnest50", originals.official_resnest),
        ("resnest50_fast_2s2x40d", originals.official_resnest),
        ("resnest50_fast_1s4x24d", originals.timm_model),
        ("regnetx_400mf_tv", originals.torchvision_model),
        ("regnety_600mf", originals.timm_model),
        ("resnext50_32x4d", originals.torchvision_model),
    ],
)
def test_files_of_the_original_modules_give_the_same_logits(name, make, tmp_path):
    torch.manual_seed(0)
    theirs = randomise_norms(make(name)).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = create_model(name, tmp_path / "theirs.pth").eval()
    x = images(2, 3, 75, 61).double()
    with torch.no_grad():
        expected, logits = theirs.double()(x), ours.double()(x)
    assert ((logits - expected).norm() / expected.norm()).item() < 1e-10


def test_a_training_step_equals_that_of_the_official_module(tmp_path):
    """Gradients and running statistics are equal in float64, and in float32 about as accurate as the official ones."""
    torch.manual_seed(0)
    theirs = originals.official_resnest("resnest50_fast_4s2x40d")
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    names = key_map("resnest50_fast_4s2x40d", "resnest")

    def step(model, dtype):
        model = copy.deepcopy(model).to(dtype).train()
        model(images(8, 3, 65, 65).to(dtype)).square().mean().backward()
        tensors = {key: parameter.grad for key, parameter in model.named_parameters()} | dict(model.named_buffers())
        return {key: value.double() for key, value in tensors.items()}

    def distance(tensors, expected):
        squares = [[(tensors[key] - value).square().sum(), value.square().sum()] for key, value in expected.items()]
        return torch.tensor(squares).sum(0).sqrt().unbind()[0].item() / torch.tensor(squares).sum(0)[1].sqrt().item()

    ours = create_model("resnest50_fast_4s2x40d", tmp_path / "theirs.pth")
    official_float64, official_float32 = step(theirs, torch.float64), step(theirs, torch.float32)
    in_our_names = {
        key: official_float64[theirs_key] for key, theirs_key in names.items() if theirs_key in official_float64
    }
    assert distance(step(ours, torch.float64), in_our_names) < 1e-10
    assert distance(step(ours, torch.float32), in_our_names) < 2 * distance(official_float32, official_float64)
