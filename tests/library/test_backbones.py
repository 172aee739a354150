import pytest
import torch
from sweep_runs import SPACE, launch, make_run
from torch import nn

import designspace
from designspace.analysis import Results
from designspace.library import backbone
from designspace.library.saved import write_model
from designspace.models import AnyNet, Backbone
from designspace.models.features import pyramid_indices
from designspace.models.norms import FrozenBatchNorm2d
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError

NETWORK = Network(Stem("cifar", 8), tuple(Stage(1, 8 * i, s, 1, 8) for i, s in ((1, 1), (2, 2), (2, 1), (4, 2))))
"""A network whose second and third stages have maps of one size."""
IMAGES = torch.rand(2, 3, 33, 30, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained(once, data_root):
    """A run with three trained networks."""

    def make(folder):
        launch(make_run(folder / "run", n=3, epochs=1), data_root)

    return once("backbones", make) / "run"


def test_every_name_of_a_trained_network_gives_its_maps(trained, tmp_path):
    model = designspace.load(trained)
    expected = Backbone(model)(IMAGES)
    write_model(tmp_path / "best", model, model.weights)
    for source in (str(trained), trained, f"run:{trained}", tmp_path / "best", str(tmp_path / "best"), model):
        maps = backbone(source).eval()(IMAGES)
        assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    best = Results.read(trained).best(3)
    for features in (designspace.load(trained, features=True), best.load(features=True)):
        assert not features.training
        assert all(torch.equal(a, b) for a, b in zip(features(IMAGES), expected, strict=True))
    last = best.load(3, features=True, out_indices=(-1,), frozen_norm=True, output_stride=2)
    assert last.feature_info.reduction() == [2]
    assert any(isinstance(module, FrozenBatchNorm2d) for module in last.modules())
    weights = best.load(3).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in last.state_dict().items())


def test_published_networks_and_networks_as_values():
    for source in ("regnetx_200mf", catalog.get("regnetx_200mf")):
        maps = backbone(source, weights=False, seed=3).eval()(IMAGES)
        expected = Backbone(AnyNet(catalog.get("regnetx_200mf"), seed=3)).eval()(IMAGES)
        assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    assert backbone("regnetx_200mf", weights=False, in_channels=5).network.in_channels == 5


def test_weights_can_be_left_out(trained):
    fresh, model = backbone(trained, weights=False), designspace.load(trained)
    assert fresh.network == model.network
    initial = AnyNet(model.network).state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in fresh.state_dict().items())


def test_frozen_parts_are_not_trained_and_keep_their_statistics():
    module = backbone(NETWORK, frozen_stages=2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    sum(x.square().sum() for x in module.train()(IMAGES)).backward()
    frozen = {name for name in before if name.startswith(("stem.", "stages.0."))}
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == (name in frozen)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]) == (name in frozen or not name.endswith(("mean", "var", "tracked")))


@pytest.mark.parametrize("kind", ["batch", "sync"])
def test_frozen_parts_are_constant_with_every_kind_of_norm(kind):
    module = backbone(NETWORK, norm=kind, frozen_stages=1).train()
    module(IMAGES)
    expected = AnyNet(NETWORK).state_dict()
    for name, value in module.stem.state_dict().items():
        assert torch.equal(value, expected[f"stem.{name}"])


@pytest.mark.parametrize("kind", ["batch", "sync", "frozen"])
def test_kinds_of_norms_keep_names_and_work_on_one_device(kind):
    module = backbone(NETWORK, norm=kind)
    assert module.state_dict().keys() == Backbone(AnyNet(NETWORK)).state_dict().keys()
    expected = Backbone(AnyNet(NETWORK)).train(kind != "frozen")(IMAGES)
    for a, b in zip(module.train()(IMAGES), expected, strict=True):
        torch.testing.assert_close(a, b)
    kinds = {type(m) for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase | FrozenBatchNorm2d)}
    assert kinds == {{"batch": nn.BatchNorm2d, "sync": nn.SyncBatchNorm, "frozen": FrozenBatchNorm2d}[kind]}


def test_pyramids_have_one_map_of_each_size():
    assert pyramid_indices(AnyNet(NETWORK)) == [1, 3, 4]
    assert pyramid_indices(AnyNet(catalog.get("resnest50"))) == [1, 2, 3, 4]
    assert pyramid_indices(AnyNet(catalog.get("resnest50"), output_stride=8)) == [1, 4]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("resnest51", {}, "resnest50"),
        ("runs/never", {}, "runs/never is neither a run folder .* nor a model folder"),
        ("run:runs/never", {}, "runs/never is not a run folder"),
        (3, {}, "a network is a name, a folder, a Network or a module, not int"),
        (NETWORK, {"norm": "group"}, "unknown norm 'group'; choose from: batch, sync, frozen"),
        (NETWORK, {"frozen_stages": 6}, "frozen_stages must be a whole number from 0 to 5, not 6"),
        (NETWORK, {"output_strid": 8}, "unknown option 'output_strid' of a model; .*output_stride"),
        (NETWORK, {"output_stride": 3}, "output_stride=3 is not possible"),
    ],
)
def test_invalid_backbones_are_rejected(source, options, message):
    with pytest.raises(InputError, match=message):
        backbone(source, weights=False, **options)


def test_invalid_options_of_a_trained_network_are_rejected(trained):
    with pytest.raises(InputError, match="has its own weights: use weights=True, or weights=False"):
        backbone(trained, weights="timm")
    with pytest.raises(InputError, match="out_indices chooses feature maps of a backbone: add features=True"):
        designspace.load(trained, out_indices=(1,))
    with pytest.raises(InputError, match="unknown option 'in_channels'"):
        designspace.load(trained, in_channels=1)


@pytest.mark.parametrize("source", [NETWORK, AnyNet(NETWORK)])
def test_weights_by_name_are_for_published_networks(source):
    with pytest.raises(InputError, match="weights='timm' is for the name of a published network"):
        backbone(source, weights="timm")


def test_channels_of_the_space(trained):
    assert backbone(trained).network.in_channels == SPACE.template.in_channels
