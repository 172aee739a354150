"""State dicts with the keys of other programs, both ways, for published and for sampled networks."""

import dataclasses

import pytest
import torch

from designspace.models import AnyNet, Backbone, create_model
from designspace.models.weights import from_layout, load_layout, supported_layouts, to_layout
from designspace.models.weights.layouts import shapes_of
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.networks.regnet import RegNetParameters
from designspace.spaces.catalog import space
from designspace.support.errors import InputError

PUBLISHED = [(name, layout) for name in catalog.names() for layout in supported_layouts(catalog.get(name))]
FRAMEWORKS = ("mmdet", "detectron2")
REGNET = Network(Stem("imagenet", 8), RegNetParameters(5, 8, 8.0, 2.0, group_width=4).stages(), num_classes=3)
RESNEST = Network(
    Stem("deep", 8),
    tuple(Stage(1, 16 * 2**i, min(2, i + 1), 2, 8) for i in range(2)),
    radix=2,
    shortcut="avg_pool",
    downsampling="avg_pool_after",
    num_classes=3,
)


def numbered(network):
    """Return a state dict in which each tensor repeats a unique number without further memory."""
    return {key: torch.tensor(float(n)).expand(shape) for n, (key, shape) in enumerate(shapes_of(network).items())}


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("name", "layout"), PUBLISHED)
def test_round_trips_of_published_networks_are_exact(name, layout):
    network = catalog.get(name)
    state = {k: v for k, v in numbered(network).items() if layout != "gluon" or not k.endswith("tracked")}
    back = from_layout(to_layout(state, network, layout), network, layout)
    assert_same({key: value for key, value in back.items() if key in state}, state)
    assert all(value == 0 for key, value in back.items() if key not in state)


def test_every_published_network_has_the_keys_of_the_frameworks():
    for name in catalog.names("res*") + catalog.names("regnet*"):
        expected = {"detectron2"} if name.startswith("regnety") else set(FRAMEWORKS)
        assert expected == set(FRAMEWORKS) & set(supported_layouts(catalog.get(name))), name


BOTTLENECK = Network(Stem("resnet", 8), (Stage(1, 16, 1, 2, 8),))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (catalog.get("efficientnet_b0"), "it has no mbconv block in such a network"),
        (catalog.get("convnext_tiny"), "it has no network with patch stem"),
        (catalog.get("shufflenet_v2_x1_0"), "it has no network with conv_pool stem"),
        (dataclasses.replace(BOTTLENECK, stem=Stem("conv_pool", 8)), "it has no network with conv_pool stem"),
        (dataclasses.replace(BOTTLENECK, stem=Stem("mine:Stem", 8)), "it has no network with mine:Stem stem"),
        (dataclasses.replace(BOTTLENECK, head="dense"), "it has no dense head"),
    ],
)
def test_networks_that_other_programs_lack_have_our_keys_only(network, message):
    assert supported_layouts(network) == ["designspace"]
    with pytest.raises(InputError, match=f"torchvision has no names for .*: {message}; choose from: designspace"):
        to_layout({}, network, "torchvision")


@pytest.mark.parametrize("name", ["AnyNetXA", "AnyNetXE", "RegNetX", "RegNetY"])
@pytest.mark.parametrize("layout", FRAMEWORKS)
def test_round_trips_of_sampled_networks_are_exact(name, layout):
    for network in space(name, flops=(1e8, 1e9)).sample(2, seed=1):
        if layout not in supported_layouts(network):
            assert name == "RegNetY"
            with pytest.raises(InputError, match=r"mmdet has no names for .*: it has no stages\.0\.0\.transform\.se"):
                to_layout(numbered(network), network, layout)
            continue
        state = numbered(network)
        theirs = {f"backbone.{key}": value for key, value in to_layout(state, network, layout).items()}
        assert_same(from_layout(theirs, network), state)


def modules(state):
    """Return the names of the modules in a state dict, in order."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in state))


BLOCK = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3"]
SPLIT = ["conv1", "bn1", "conv2.conv", "conv2.bn0", "conv2.fc1", "conv2.bn1", "conv2.fc2", "conv3", "bn3"]


def test_keys_are_those_of_the_frameworks():
    """As in mmdet 3.3.0, Detectron2's `regnet.py` and `resnet.py`, and the fork's `resnest.py` and `splat.py`."""
    mmdet = modules(to_layout(numbered(REGNET), REGNET, "mmdet"))
    first = [f"layer1.0.{module}" for module in BLOCK]
    assert mmdet[:2] == ["conv1", "bn1"]
    assert mmdet[-1] == "fc"
    assert set(first) <= set(mmdet)
    later = [f"layer2.0.{module}" for module in [*BLOCK, "downsample.0", "downsample.1"]]
    assert set(later) <= set(mmdet)
    stem = [f"stem.{number}" for number in (0, 1, 3, 4, 6, 7)]
    assert modules(to_layout(numbered(RESNEST), RESNEST, "mmdet")) == [
        *stem,
        *(f"layer{stage}.0.{module}" for stage in (1, 2) for module in [*SPLIT, "downsample.1", "downsample.2"]),
        "fc",
    ]
    inside = ["conv1", "conv1.norm", *SPLIT[2:7], "conv3", "conv3.norm", "shortcut", "shortcut.norm"]
    assert modules(to_layout(numbered(RESNEST), RESNEST, "detectron2")) == [
        *(f"stem.conv1_{number}{norm}" for number in (1, 2, 3) for norm in ("", ".norm")),
        *(f"res{stage}.0.{module}" for stage in (2, 3) for module in inside),
        "linear",
    ]
    resnet = catalog.get("resnet50")
    detectron2 = modules(to_layout(numbered(resnet), resnet, "detectron2"))
    assert detectron2[:3] == ["stem.conv1", "stem.conv1.norm", "res2.0.conv1"]
    assert "res2.0.shortcut.norm" in detectron2
    assert "res5.2.conv3.norm" in detectron2
    regnet = catalog.get("regnety_200mf")
    assert modules(to_layout(numbered(regnet), regnet, "detectron2"))[:2] == ["stem.conv", "stem.bn"]
    assert "s1.b1.f.se.f_ex.2" in modules(to_layout(numbered(regnet), regnet, "detectron2"))


def test_resnet_d_and_basic_blocks():
    stages = (Stage(1, 8, 1, 1, 8), Stage(1, 16, 2, 1, 16))
    basic = Network(Stem("resnet", 8), stages, block="basic")
    deep = Network(Stem("deep", 8), stages, shortcut="avg_pool")
    for network, key in ((basic, "layer2.0.conv2.weight"), (deep, "layer2.0.downsample.1.weight")):
        theirs = to_layout(numbered(network), network, "mmdet")
        assert key in theirs
        assert_same(from_layout(theirs, network), numbered(network))
        assert_same(from_layout(to_layout(numbered(network), network, "detectron2"), network), numbered(network))


@pytest.mark.parametrize("layout", FRAMEWORKS)
def test_weights_of_regnets_expect_blue_green_red_unless_told_otherwise(layout):
    state = AnyNet(REGNET).state_dict()
    stem = "stem.conv.weight"
    theirs = to_layout(state, REGNET, layout)
    assert torch.equal(next(iter(theirs.values())), state[stem].flip(1))
    assert torch.equal(next(iter(to_layout(state, REGNET, layout, bgr=False).values())), state[stem])
    assert torch.equal(from_layout(theirs, REGNET, bgr=False)[stem], state[stem].flip(1))
    rgb = to_layout(AnyNet(RESNEST).state_dict(), RESNEST, layout)
    assert torch.equal(next(iter(rgb.values())), AnyNet(RESNEST).state_dict()["stem.conv1.conv.weight"])


@pytest.mark.parametrize("layout", FRAMEWORKS)
@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.bottom_up.", "module.backbone."])
@pytest.mark.parametrize("network", [REGNET, RESNEST], ids=["regnet", "resnest"])
def test_weights_of_a_detector_are_loaded(network, prefix, layout):
    trained = AnyNet(network, seed=1)
    theirs = to_layout(Backbone(trained).state_dict(), network, layout)  # without the head
    checkpoint = {f"{prefix}{key}": value for key, value in theirs.items() if not key.endswith("tracked")}
    if prefix:
        checkpoint["neck.lateral_convs.0.conv.weight"] = torch.zeros(1)
    module = Backbone(AnyNet(network))
    load_layout(module, checkpoint)
    assert_same(module.state_dict(), Backbone(trained).state_dict())
    first = Backbone(AnyNet(network), (0, 1))  # needs only the first stage
    load_layout(first, checkpoint)
    load_layout(first, to_layout(Backbone(trained, (0, 1)).state_dict(), network, layout))
    assert_same(first.state_dict(), Backbone(trained, (0, 1)).state_dict())


def test_a_classifier_may_have_any_number_of_classes():
    other = dataclasses.replace(REGNET, num_classes=7)
    load_layout(Backbone(AnyNet(REGNET)), to_layout(AnyNet(other).state_dict(), other, "mmdet"))


def changed(network, layout, change):
    state = to_layout(AnyNet(network).state_dict(), network, layout)
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer1.0.conv2.weight"), r"Closest is mmdet: missing: layer1\.0\.conv2\.weight$"),
        (lambda s: s.update({"layer1.0.conv4.weight": torch.zeros(1)}), r"surplus: layer1\.0\.conv4\.weight$"),
        (lambda s: s.update({"bn1.bias": torch.zeros(9)}), r"wrong: bn1\.bias has shape \(9,\), not \(8,\)$"),
        (lambda s: s.update({"fc.bias": [0.0]}), r"wrong: fc\.bias is not a tensor but of type list$"),
        (lambda s: s.clear(), r"these are not the keys of Network.* from any supported program"),
        (lambda s: s.pop("conv1.weight"), r"missing: conv1\.weight$"),
    ],
)
def test_mismatches_are_errors_that_list_keys(change, message):
    with pytest.raises(InputError, match=message):
        load_layout(Backbone(AnyNet(REGNET)), changed(REGNET, "mmdet", change))


def test_weights_of_missing_stages_are_an_error():
    theirs = to_layout(Backbone(AnyNet(REGNET), (0, 1)).state_dict(), REGNET, "mmdet")
    with pytest.raises(
        InputError, match=r"weights of Network\(.*\) are missing: stages\.1\.0\.transform\.conv1\.conv\.weight"
    ):
        load_layout(Backbone(AnyNet(REGNET)), theirs)
    with pytest.raises(InputError, match=r"these are not weights of Network.*: missing: stages\.0"):
        to_layout({key: v for key, v in numbered(REGNET).items() if not key.startswith("stages.0")}, REGNET, "mmdet")


def test_layouts_that_lack_a_module_are_errors():
    split = dataclasses.replace(REGNET, radix=2)
    assert supported_layouts(split) == ["designspace"]
    with pytest.raises(InputError, match="mmdet has no names for .*: it has no network with imagenet stem and radix 2"):
        to_layout({}, split, "mmdet")
    with pytest.raises(InputError, match="unknown source of weights 'mmdett'; did you mean mmdet"):
        from_layout(numbered(REGNET), REGNET, "mmdett")
    plain = Network(Stem("resnet", 8), (Stage(1, 8, 1, 1, 8),), block="vanilla")
    with pytest.raises(InputError, match="it has no vanilla block in such a network"):
        to_layout(numbered(plain), plain, "detectron2")


@pytest.mark.parametrize("layout", FRAMEWORKS)
@pytest.mark.parametrize("name", ["regnetx_200mf", "resnest14"])
def test_create_model_detects_the_files_of_the_frameworks(name, layout, tmp_path):
    model = create_model(name, seed=4)
    network = catalog.get(name)
    theirs = {f"backbone.{key}": value for key, value in to_layout(model.state_dict(), network, layout).items()}
    if name == "resnest14" and layout == "detectron2":
        theirs["backbone.stem.fc.weight"] = torch.zeros(3)  # of Detectron2's converter
    torch.save({"state_dict": theirs}, tmp_path / "theirs.pth")
    assert_same(create_model(name, tmp_path / "theirs.pth").state_dict(), model.state_dict())
