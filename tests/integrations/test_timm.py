"""Our networks in timm, by its own conventions: names, arguments, weights, feature maps, preprocessing."""

import copy
import json
import shutil

import originals  # noqa: F401  (makes torchvision importable, which timm imports)
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import load_checkpoint, save_for_hf
from timm.optim import create_optimizer_v2
from torch import nn

import designspace
from designspace.integrations.huggingface import push_to_hub
from designspace.integrations.timm import TimmNetwork
from designspace.models import AnyNet, Backbone, list_models
from designspace.models.info import published_info
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError, RunError

# Of the hub's library itself.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
NETWORK = Network(
    Stem("cifar", 8), tuple(Stage(1, 8 * i, s, 1, 8) for i, s in ((1, 1), (2, 2), (4, 2))), head_width=24, num_classes=5
)
IMAGES = torch.rand(2, 3, 97, 131, generator=torch.Generator().manual_seed(0))
SMALL = IMAGES[:, :, :33, :30]


@pytest.fixture
def weights_file(tmp_path):
    """A local file with weights of regnetx_200mf under our names."""
    torch.save(AnyNet(catalog.get("regnetx_200mf"), seed=7).state_dict(), tmp_path / "own.pt")
    return tmp_path / "own.pt"


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_every_published_network_has_a_name_of_its_own():
    names = timm.list_models("designspace_*")
    assert {f"designspace_{name}" for name in list_models() if not name.startswith("convnext_")} < set(names)
    assert not timm.is_model("designspace_convnext_tiny")  # its head has a layer norm, unlike timm's interface
    assert not timm.is_model_pretrained("designspace_efficientnet_b0")
    assert set(timm.list_models(module="timm")) == set(names)
    assert all(timm.is_model(name) for name in names)
    with_weights = timm.list_pretrained("designspace_*")
    assert {"designspace_resnest50.timm_in1k", "designspace_regnetx_200mf.pycls_dds_baselines"} < set(with_weights)
    assert timm.is_model_pretrained("designspace_resnest50")
    assert timm.get_pretrained_cfg("designspace_resnest50").tag == "resnest_official"
    assert timm.create_model("resnet18", num_classes=2).num_classes == 2  # timm's own


def test_a_model_computes_what_ours_does_and_has_timms_attributes():
    model = timm.create_model("designspace_regnetx_200mf", num_classes=7, drop_rate=0.2, drop_path_rate=0.1, seed=3)
    assert isinstance(model, AnyNet)
    ours = AnyNet(model.network, seed=3, dropout=0.2, drop_path=0.1)
    assert same(model, ours)
    assert torch.equal(model.eval()(IMAGES), ours.eval()(IMAGES))
    assert (model.num_classes, model.num_features, model.head_hidden_size) == (7, 368, 368)
    features = model.forward_features(IMAGES)
    assert features.shape == (2, 368, 4, 5)
    assert torch.equal(model.forward_head(features), model(IMAGES))
    assert model.forward_head(features, pre_logits=True).shape == (2, 368)
    assert model.get_classifier() is model.head.classifier
    assert timm.create_model("designspace_regnetx_200mf", num_classes=0)(SMALL).shape == (2, 368)
    unpooled = timm.create_model("designspace_regnetx_200mf", num_classes=0, global_pool="")
    assert unpooled(SMALL).shape == (2, 368, 2, 1)


@pytest.mark.parametrize("name", ["efficientnet_b0", "shufflenet_v2_x1_0"])
def test_networks_of_other_blocks(name):
    model = timm.create_model(f"designspace_{name}", num_classes=7).eval()
    assert torch.equal(model.forward_head(model.forward_features(SMALL)), model(SMALL))
    maps = timm.create_model(f"designspace_{name}", features_only=True, output_stride=16).eval()(IMAGES)
    assert maps[-1].shape[2:] == (7, 9)
    with pytest.raises(Exception, match=f"there are no published weights of {name}|No pretrained weights exist"):
        timm.create_model(f"designspace_{name}", pretrained=True)


def test_the_classifier_can_be_exchanged():
    model = timm.create_model("designspace_network", network=NETWORK)
    model.reset_classifier(9)
    assert model(SMALL).shape == (2, 9)
    assert (model.num_classes, model.network.num_classes) == (9, 9)
    model.reset_classifier(0)
    assert model(SMALL).shape == (2, 24)
    model.reset_classifier(0, "")
    assert model(SMALL).shape == (2, 24, 9, 8)


@pytest.mark.parametrize("kind", ["list", "dict", "hook", "getter", "fx"])
def test_feature_maps_of_every_kind(kind):
    model = timm.create_model("designspace_network", network=NETWORK, features_only=True, feature_cls=kind).eval()
    expected = Backbone(AnyNet(NETWORK).eval())(IMAGES)
    maps = model(IMAGES)
    maps = list(maps.values()) if kind == "dict" else maps
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    assert model.feature_info.channels() == [8, 8, 16, 32]
    assert model.feature_info.reduction() == [1, 1, 2, 4]
    assert model.feature_info.module_name() == ["stem.relu", "stages.0", "stages.1", "stages.2"]


@pytest.mark.parametrize("name", ["designspace_resnest14", "designspace_regnetx_200mf"])
def test_feature_maps_of_published_networks(name):
    options = {"features_only": True, "out_indices": (0, 2, 4), "output_stride": 16}
    model = timm.create_model(name, in_chans=1, **options).eval()
    assert model.feature_info.reduction() == [2, 8, 16]
    for features, channels in zip(model(IMAGES[:, :1]), model.feature_info.channels(), strict=True):
        assert features.shape[1] == channels
    assert features.shape[2:] == (7, 9)
    assert [len(model.feature_info.channels()), model.pretrained_cfg["mean"][0]] == [3, 0.485]


def test_intermediate_maps():
    model = timm.create_model("designspace_network", network=NETWORK).eval()
    last, maps = model.forward_intermediates(IMAGES, indices=[0, -2])
    assert torch.equal(last, model.forward_features(IMAGES))
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 97, 131), (16, 49, 66)]
    only = model.forward_intermediates(IMAGES, indices=2, intermediates_only=True, stop_early=True)
    assert [x.shape[1] for x in only] == [16, 32]
    with pytest.raises(InputError, match="unknown output_fmt 'NLC'"):
        model.forward_intermediates(IMAGES, output_fmt="NLC")


def test_checkpointing_gives_the_same_gradients_and_groups_name_blocks():
    plain, checkpointed = (timm.create_model("designspace_network", network=NETWORK) for _ in range(2))
    checkpointed.set_grad_checkpointing()
    for model in (plain, checkpointed):
        model(SMALL).square().sum().backward()
    assert same(plain, checkpointed)
    for a, b in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    groups = timm.models.group_parameters(plain, plain.group_matcher())
    assert len(groups) == 5  # stem, three blocks, head


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")
@pytest.mark.parametrize("name", ["designspace_regnetx_200mf", "designspace_resnest14"])
def test_models_can_be_scripted_copied_and_named_layers_exist(name):
    model = timm.create_model(name).eval()
    expected = model(SMALL)
    assert torch.equal(torch.jit.script(model)(SMALL), expected)
    assert torch.equal(copy.deepcopy(model)(SMALL), expected)
    assert torch.equal(timm.utils.ModelEmaV3(model).module(SMALL), expected)
    for key in ("first_conv", "classifier"):
        assert f"{model.default_cfg[key]}.weight" in model.state_dict()


def test_a_folder_or_run_is_a_name(trained, monkeypatch):
    monkeypatch.chdir(trained)
    best = designspace.load("best")
    for name in ("designspace/best", "designspace/run", f"designspace/{trained / 'best'}", "local-dir:best"):
        model = timm.create_model(name, pretrained=True)
        assert isinstance(model, TimmNetwork)
        assert same(model, best)
        preset = best.weights.preset
        config = timm.data.resolve_model_data_config(model)
        assert (config["input_size"], config["interpolation"]) == ((3, preset.crop, preset.crop), preset.interpolation)
        assert tuple(config["mean"]) == preset.mean
        assert tuple(config["std"]) == preset.std
        assert tuple(model.pretrained_cfg["label_names"]) == best.weights.classes
    assert model.pretrained_cfg["architecture"] == "designspace_network"
    features = timm.create_model("designspace/best", pretrained=True, features_only=True).eval()
    for a, b in zip(features(SMALL), Backbone(best)(SMALL), strict=True):
        assert torch.equal(a, b)
    fresh = timm.create_model("designspace/best")  # without pretrained=True timm loads no weights
    assert same(fresh, AnyNet(best.network))


def test_weights_of_a_folder_are_adapted_or_refused(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(trained)
    best = designspace.load("best")
    for name in ("designspace/best", "local-dir:best"):
        grey = timm.create_model(name, pretrained=True, in_chans=1, num_classes=3).eval()
        assert grey(SMALL[:, :1]).shape == (2, 3)
        stem = best.stem.conv.weight.sum(1, keepdim=True)
        torch.testing.assert_close(grey.stem.conv.weight, stem)
        assert same(grey.stages, best.stages)
    shutil.copytree(trained / "best", tmp_path / "other")
    state = {name: value for name, value in best.state_dict().items() if "stages.1" not in name}
    save_file(state, tmp_path / "other" / "weights.safetensors")
    with pytest.raises(InputError, match="not the weights of network .*: stages.1.* is missing"):
        timm.create_model(f"local-dir:{tmp_path / 'other'}", pretrained=True, num_classes=3)
    with pytest.raises(RunError, match="is not the file that network.json describes"):
        timm.create_model(f"designspace/{tmp_path / 'other'}", pretrained=True)


def test_a_model_saved_by_timm_is_loaded_again(trained, tmp_path):
    model = timm.create_model(f"designspace/{trained / 'best'}", pretrained=True, num_classes=4)
    save_for_hf(model, tmp_path / "saved", safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True)
    assert same(again, model)
    configs = [json.dumps(timm.data.resolve_model_data_config(m)) for m in (again, model)]  # tuples become lists
    assert configs[0] == configs[1]


def test_a_repository_of_the_hub_is_a_name(trained, at_hub):
    push_to_hub(trained / "best", "you/timm", token="hf_write")
    model = timm.create_model("hf-hub:you/timm", pretrained=True)
    assert same(model, designspace.load(trained / "best"))


def test_checkpoints_are_loaded_strictly(tmp_path):
    model = timm.create_model("designspace_network", network=NETWORK, seed=3)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "last.pth")
    again = timm.create_model("designspace_network", network=NETWORK, checkpoint_path=tmp_path / "last.pth")
    assert same(again, model)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_checkpoint(timm.create_model("designspace_regnetx_200mf"), tmp_path / "last.pth")


def test_published_weights_come_from_our_table(monkeypatch):
    """The wiring: the file itself is not downloaded here."""
    asked = []

    def load_weights(name, source, *, cache=None):
        asked.append((name, source, cache))
        state = AnyNet(catalog.get(name), seed=7).state_dict()
        file = designspace.models.weights.find_weights(name, source)
        return designspace.models.weights.Weights(state, file, file.preset, "here", file.licence)

    monkeypatch.setattr(designspace.models.weights, "load_weights", load_weights)
    model = timm.create_model("designspace_regnetx_200mf.timm_pycls_in1k", pretrained=True, cache_dir="/cache")
    assert [(name, source, str(cache)) for name, source, cache in asked] == [
        ("regnetx_200mf", "timm:pycls_in1k", "/cache")
    ]
    assert same(model, AnyNet(catalog.get("regnetx_200mf"), seed=7))
    assert model.weights == published_info("regnetx_200mf", load_weights("regnetx_200mf", "timm:pycls_in1k"), 3, 1000)
    assert timm.data.resolve_model_data_config(model)["interpolation"] == "bicubic"
    with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
        timm.create_model("designspace_regnetx_200mf.never", pretrained=True)


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_every_weight_is_checked_even_if_the_classifier_is_new(tmp_path, change):
    state = AnyNet(NETWORK).state_dict()
    if change == "missing":
        del state["stem.conv.weight"]
    elif change == "surplus":
        state["stages.7.weight"] = torch.ones(1)
    else:
        state[next(name for name in state if name.startswith("stages.1"))] = torch.ones(2, 2)
    torch.save(state, tmp_path / "other.pt")
    problem = {"missing": "stem.conv.weight is missing", "surplus": "is surplus", "shape": "has shape .2, 2., not"}
    with pytest.raises(InputError, match=f"not the weights of network .*: .*{problem[change]}"):
        timm.create_model(
            "designspace_network",
            network=NETWORK,
            pretrained=True,
            num_classes=2,
            pretrained_cfg_overlay={"file": str(tmp_path / "other.pt")},
        )


def test_device_and_type():
    model = timm.create_model("designspace_network", network=NETWORK, device="meta", dtype=torch.bfloat16)
    assert {(value.device.type, value.dtype) for value in model.parameters()} == {("meta", torch.bfloat16)}


@pytest.mark.parametrize("layout", ["ours", "timm"])
def test_an_overlaid_file_of_any_known_layout(weights_file, tmp_path, layout):
    expected = AnyNet(catalog.get("regnetx_200mf"), seed=7)
    if layout == "timm":
        names = designspace.models.weights.keys.key_map("regnetx_200mf", "timm")
        state = {names[name]: value for name, value in expected.state_dict().items()}
        torch.save(state, weights_file)
    overlay = {"file": str(weights_file)}
    model = timm.create_model("designspace_regnetx_200mf", pretrained=True, pretrained_cfg_overlay=overlay)
    assert same(model, expected)
    features = timm.create_model(
        "designspace_regnetx_200mf", pretrained=True, pretrained_cfg_overlay=overlay, features_only=True
    )
    maps = zip(features.eval()(IMAGES), Backbone(expected.eval())(IMAGES), strict=True)
    assert all(torch.equal(a, b) for a, b in maps)
    with pytest.raises(InputError, match="not the keys of resnet50"):
        timm.create_model("designspace_resnet50", pretrained=True, pretrained_cfg_overlay=overlay)


def test_a_fine_tuned_file_keeps_its_classifier(tmp_path):
    """timm alone would replace it without a word, because its configuration says 1000 classes."""
    tuned = timm.create_model("designspace_regnetx_200mf", num_classes=6, in_chans=1, seed=5)
    torch.save(tuned.state_dict(), tmp_path / "tuned.pt")
    overlay = {"file": str(tmp_path / "tuned.pt")}
    again = timm.create_model(
        "designspace_regnetx_200mf", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=6, in_chans=1
    )
    assert same(again, tuned)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "designspace_resnest14",
            {"strides": 2},
            "unknown argument 'strides' of a model in timm; choose from: num_classes, in_chans",
        ),
        ("designspace_resnest14", {"img_size": 64}, "unknown argument 'img_size'"),
        ("designspace_resnest14", {"out_indices": (1,)}, "out_indices is for feature maps: add features_only=True"),
        ("designspace_resnest14", {"global_pool": "max"}, "unknown global_pool 'max'; choose from: avg, ''"),
        ("designspace_resnest14", {"global_pool": ""}, "needs num_classes=0"),
        ("designspace_resnest14", {"output_stride": 3}, "output_stride=3 is not possible"),
        ("designspace_network", {}, "needs an argument network"),
        ("designspace/runs/never", {}, "runs/never is neither a run folder .* nor a model folder"),
    ],
)
def test_invalid_arguments_are_errors_with_their_name(name, options, message):
    with pytest.raises(InputError, match=message):
        timm.create_model(name, **options)


def test_timms_own_errors_stay():
    with pytest.raises(ValueError, match="has no source prefix"):
        timm.create_model("elsewhere/best")
    with pytest.raises(RuntimeError, match="Unknown model"):
        timm.create_model("designspace_never")
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        timm.create_model("designspace_network", network=NETWORK, pretrained=True)


def test_a_training_step_of_timm_lowers_the_loss():
    model = timm.create_model("designspace_network", network=NETWORK)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, layer_decay=0.9)
    target = torch.tensor([1, 4])
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(SMALL), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
