"""Our networks in MMEngine's own registry, configurations and runner."""

import copy
import logging
import multiprocessing
import sys
import types

from designspace.integrations import openmmlab  # first, since an import of mmengine alone warns of what torch has

# isort: split
import mmengine
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn
from torch.utils.data import DataLoader
from varied_weights import assert_has_weights_of, varied

import designspace
from designspace.integrations.sources import regnet_of
from designspace.library.saved import write_model
from designspace.models import Backbone, create_model
from designspace.models.norms import FrozenBatchNorm2d
from designspace.models.weights import to_layout
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError, RunError

ARCH = {"w0": 8, "wa": 8.0, "wm": 2.0, "depth": 5, "group_w": 4, "bot_mul": 1.0}
NETWORK = regnet_of(ARCH)  # three stages
ODD = torch.rand(1, 3, 97, 131, generator=torch.Generator().manual_seed(0))
NAMES = {  # MMDetection 3.3.0 has these in RegNet.arch_settings
    "regnetx_400mf": {"w0": 24, "wa": 24.48, "wm": 2.54, "group_w": 16, "depth": 22, "bot_mul": 1.0},
    "regnetx_800mf": {"w0": 56, "wa": 35.73, "wm": 2.28, "group_w": 16, "depth": 16, "bot_mul": 1.0},
    "regnetx_1.6gf": {"w0": 80, "wa": 34.01, "wm": 2.25, "group_w": 24, "depth": 18, "bot_mul": 1.0},
    "regnetx_3.2gf": {"w0": 88, "wa": 26.31, "wm": 2.25, "group_w": 48, "depth": 25, "bot_mul": 1.0},
    "regnetx_4.0gf": {"w0": 96, "wa": 38.65, "wm": 2.43, "group_w": 40, "depth": 23, "bot_mul": 1.0},
    "regnetx_6.4gf": {"w0": 184, "wa": 60.83, "wm": 2.07, "group_w": 56, "depth": 17, "bot_mul": 1.0},
    "regnetx_8.0gf": {"w0": 80, "wa": 49.56, "wm": 2.88, "group_w": 120, "depth": 23, "bot_mul": 1.0},
    "regnetx_12gf": {"w0": 168, "wa": 73.36, "wm": 2.37, "group_w": 112, "depth": 19, "bot_mul": 1.0},
}


def build(network=NETWORK, **options):
    return MODELS.build({"type": "designspace.AnyNet", "network": network, **options})


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """MMEngine logs every parameter; and it writes logs where the test runs."""
    monkeypatch.chdir(tmp_path)
    logging.getLogger("mmengine").setLevel(logging.ERROR)


def test_the_child_registry_builds_from_every_registry():
    sibling = Registry("model", parent=MODELS, scope="likemmdet")
    config = {"type": "designspace.AnyNet", "network": ARCH}
    try:
        for registry in (MODELS, sibling, openmmlab.MODELS):
            module = registry.build(dict(config))
            assert isinstance(module, openmmlab.AnyNet)
            assert isinstance(module, mmengine.model.BaseModule)
        with DefaultScope.overwrite_default_scope("likemmdet"):  # as default_scope = "mmdet"
            assert isinstance(MODELS.build(dict(config)), openmmlab.AnyNet)
        assert isinstance(openmmlab.MODELS.build({"type": "AnyNet", "network": ARCH}), openmmlab.AnyNet)
        assert isinstance(MODELS.build({"type": openmmlab.AnyNet, "network": ARCH}), openmmlab.AnyNet)
    finally:
        del MODELS._children["likemmdet"]


def test_a_configuration_file_imports_the_integration(tmp_path):
    (tmp_path / "config.py").write_text(
        'custom_imports = dict(imports=["designspace.integrations.openmmlab"], allow_failed_imports=False)\n'
        f'backbone = dict(type="designspace.AnyNet", network=dict({", ".join(f"{k}={v}" for k, v in ARCH.items())}),\n'
        '    out_indices=(0, 2), frozen_stages=1, norm_cfg=dict(type="SyncBN", requires_grad=True), style="pytorch")\n'
    )
    module = MODELS.build(Config.fromfile(tmp_path / "config.py").backbone)
    assert [tuple(x.shape[1:]) for x in module(ODD)] == [(8, 25, 33), (32, 7, 9)]
    assert module.feature_info.channels() == [8, 32]


def test_maps_are_a_tuple_of_the_stages_also_of_odd_images():
    module = build(weights=False, norm_eval=False).eval()
    maps = module(ODD)
    assert isinstance(maps, tuple)
    expected = Backbone(designspace.models.AnyNet(NETWORK)).eval()(ODD)[1:]
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    assert [tuple(x.shape[2:]) for x in maps] == [(25, 33), (13, 17), (7, 9)]
    last = build(out_indices=(-1,), norm_eval=False).eval()(ODD)
    assert torch.equal(last[0], expected[-1])
    assert build(out_indices=[0], norm_eval=False).state_dict().keys() < module.state_dict().keys()


@pytest.mark.parametrize("name", NAMES)
def test_names_and_arch_are_those_of_mmdetection(name):
    assert regnet_of(NAMES[name]) == catalog.get(name)
    assert build(name, weights=False, norm_eval=False).network == catalog.get(name)


def test_the_bottleneck_multiplier_is_the_inverse_of_our_ratio():
    network = regnet_of({**ARCH, "bot_mul": 0.5, "w0": 16})
    for stage in network.stages:
        assert stage.inner_width == stage.width / 2
    assert regnet_of({**ARCH, "bot_mul": 2.0}).stages[0].inner_width == 16
    assert regnet_of({key: value for key, value in ARCH.items() if key != "bot_mul"}) == NETWORK


@pytest.mark.parametrize(("frozen_stages", "parts"), [(-1, 0), (0, 1), (1, 2), (3, 4)])
@pytest.mark.parametrize("kind", ["BN", "SyncBN"])
def test_frozen_stages_stay_as_they_are(frozen_stages, parts, kind):
    module = build(frozen_stages=frozen_stages, norm_eval=False, norm_cfg={"type": kind}).train()
    before = copy.deepcopy(module.state_dict())
    loss = sum(x.square().sum() for x in module(ODD.repeat(2, 1, 1, 1)))
    if parts < 4:
        loss.backward()
    frozen = tuple(["stem.", "stages.0.", "stages.1.", "stages.2."][:parts])
    for name, parameter in module.named_parameters():
        is_frozen = bool(frozen) and name.startswith(frozen)
        assert parameter.requires_grad == (not is_frozen)
        assert (parameter.grad is None) == is_frozen
    for name, value in module.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(value, before[name]) == (bool(frozen) and name.startswith(frozen)), name


def test_norm_eval_keeps_statistics_constant():
    for norm_eval in (True, False):
        module = build(norm_eval=norm_eval).train()
        before = copy.deepcopy(module.state_dict())
        module(ODD.repeat(2, 1, 1, 1))
        same = [torch.equal(v, before[k]) for k, v in module.state_dict().items() if "running" in k]
        assert all(same) == norm_eval
        assert any(same) == norm_eval
        assert module.training


def test_kinds_of_norms():
    for kind, expected in (("BN", nn.BatchNorm2d), ("SyncBN", nn.SyncBatchNorm), ("FrozenBN", FrozenBatchNorm2d)):
        module = build(norm_cfg={"type": kind})
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase | FrozenBatchNorm2d)]
        assert {type(norm) for norm in norms} == {expected}
        assert module.state_dict().keys() == build().state_dict().keys()
    constant = build(norm_cfg={"type": "BN", "requires_grad": False})
    assert {name.rsplit(".", 2)[1] for name, p in constant.named_parameters() if not p.requires_grad} == {"norm"}
    plain = revert_sync_batchnorm(build(norm_cfg={"type": "SyncBN"}, norm_eval=False)).eval()
    assert all(torch.equal(a, b) for a, b in zip(plain(ODD), build(norm_eval=False).eval()(ODD), strict=True))


def test_dilation_and_checkpointing():
    module = build(output_stride=8, with_cp=True, norm_eval=False)
    assert module.feature_info.reduction() == [4, 8, 8]
    loss = sum(x.mean() for x in module.train()(ODD.repeat(2, 1, 1, 1)))
    loss.backward()


def test_images_may_be_blue_green_red():
    expected = build(norm_eval=False).eval()(ODD)
    maps = build(norm_eval=False, bgr=True).eval()(ODD.flip(1))
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))


@pytest.mark.parametrize("layout", ["designspace", "mmdet", "timm"])
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_pretrained_files_of_all_layouts(layout, prefix, tmp_path):
    model = varied(NETWORK)
    state = {f"{prefix}{key}": value for key, value in to_layout(model.state_dict(), NETWORK, layout).items()}
    torch.save({"meta": {"epoch": 12}, "state_dict": state}, tmp_path / "epoch_12.pth")
    for explicit in ({}, {"prefix": prefix}) if prefix else ({},):
        init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "epoch_12.pth"), **explicit}
        module = build(init_cfg=init_cfg, frozen_stages=1, norm_cfg={"type": "SyncBN"})
        module.init_weights()
        assert_has_weights_of(module, model)
        assert module.is_init
        assert module.init_cfg == init_cfg
    module = build(weights=str(tmp_path / "epoch_12.pth"))
    module.init_weights()
    assert_has_weights_of(module, model)


def test_a_parent_initialises_its_backbone(tmp_path):
    torch.save(to_layout(varied(NETWORK).state_dict(), NETWORK, "mmdet"), tmp_path / "weights.pth")
    backbone = build(init_cfg={"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")})

    class Detector(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = backbone

        def forward(self, inputs, data_samples=None, mode="tensor"):
            return self.backbone(inputs)

    detector = Detector()
    detector.init_weights()
    assert_has_weights_of(detector.backbone, varied(NETWORK))
    kept = copy.deepcopy(detector.backbone.state_dict())
    detector.backbone.init_weights()  # a second call changes nothing, as in MMEngine
    assert all(torch.equal(value, kept[key]) for key, value in detector.backbone.state_dict().items())


@pytest.fixture
def runner(monkeypatch):
    """``mmengine.runner``, which imports OpenCV to draw images, but these tests draw none."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        stub = types.ModuleType("cv2")
        stub.setNumThreads = lambda number: None
        monkeypatch.setitem(sys.modules, "cv2", stub)
    import mmengine.runner.checkpoint

    # It looks for compilers by means of distutils, which Python 3.12 lacks.
    monkeypatch.setattr(mmengine.runner.runner, "collect_env", lambda: {})
    method = multiprocessing.get_start_method(allow_none=True)  # a Runner sets it for the whole process
    yield mmengine.runner
    multiprocessing.set_start_method(method, force=True)


def test_files_at_addresses_of_mmengine(monkeypatch, runner):
    content = {"state_dict": to_layout(varied(NETWORK).state_dict(), NETWORK, "mmdet", bgr=False)}
    monkeypatch.setattr(runner.checkpoint.CheckpointLoader, "load_checkpoint", lambda address, map_location: content)
    module = build(init_cfg={"type": "Pretrained", "checkpoint": "open-mmlab://regnetx", "bgr": False})
    module.init_weights()
    assert_has_weights_of(module, varied(NETWORK))


def test_checkpoints_of_detectors_of_mmdetection_load(runner):
    theirs = to_layout(Backbone(varied(NETWORK)).state_dict(), NETWORK, "mmdet")
    checkpoint = {f"backbone.{key}": value for key, value in theirs.items()}
    checkpoint["linear.bias"] = torch.ones(2)
    for load in (runner.checkpoint.load_state_dict, lambda model, state, strict: model.load_state_dict(state, strict)):
        model = Classifier({"type": "designspace.AnyNet", "network": ARCH, "weights": False})
        load(model, dict(checkpoint), strict=False)
        assert_has_weights_of(model.backbone, varied(NETWORK))
        model = Classifier({"type": "designspace.AnyNet", "network": ARCH, "out_indices": (0, 1), "weights": False})
        load(model, dict(checkpoint, **{"linear.weight": model.linear.weight.detach()}), strict=True)
        del checkpoint["backbone.layer1.0.conv1.weight"]
        with pytest.raises(InputError, match=r"missing: layer1\.0\.conv1\.weight"):
            load(model, dict(checkpoint), strict=False)
        checkpoint["backbone.layer1.0.conv1.weight"] = theirs["layer1.0.conv1.weight"]


def test_other_initialisations_are_those_of_mmengine():
    module = build(init_cfg={"type": "Constant", "layer": "Conv2d", "val": 0.5}, norm_eval=False)
    module.init_weights()
    assert {float(v.mean()) for k, v in module.state_dict().items() if k.endswith("conv.weight")} == {0.5}


def test_model_folders_and_published_files(tmp_path):
    model = create_model("regnetx_200mf", seed=3)
    torch.save(to_layout(model.state_dict(), model.network, "pycls"), tmp_path / "file.pyth")
    module = build("regnetx_200mf", weights=tmp_path / "file.pyth")
    module.init_weights()
    assert_has_weights_of(module, model)
    write_folder(tmp_path / "best")
    module = build(str(tmp_path / "best"))
    module.init_weights()
    assert_has_weights_of(module, varied(NETWORK))
    assert module.weights is not None


def write_folder(path):
    from designspace.models.info import published_info
    from designspace.models.weights import Weights, find_weights

    model, file = varied(NETWORK), find_weights("regnetx_200mf")
    about = published_info("regnetx_200mf", Weights({}, file, file.preset, "here", file.licence), 3, 1000)
    write_model(path, model, about)


class Classifier(BaseModel):
    """A model of MMEngine's tutorial: a backbone and a linear layer."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.linear = nn.Linear(self.backbone.feature_info.channels()[-1], 2)

    def forward(self, inputs, labels, mode="tensor"):
        logits = self.linear(self.backbone(torch.stack(list(inputs)))[-1].mean((2, 3)))
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(logits, labels)}
        return logits


@pytest.mark.filterwarnings("ignore")  # of mmengine
def test_a_runner_trains_it_and_its_checkpoint_opens_here(tmp_path, runner):
    random = torch.Generator().manual_seed(0)
    labels = [n % 2 for n in range(16)]
    images = [torch.rand(3, 32, 32, generator=random) + label for label in labels]
    losses = []
    from mmengine.hooks import Hook

    class Recorder(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            losses.append(float(outputs["loss"]))

    training = runner.Runner(
        model=Classifier({"type": "designspace.AnyNet", "network": ARCH, "norm_eval": False, "frozen_stages": 0}),
        work_dir=str(tmp_path / "work"),
        train_dataloader=DataLoader(list(zip(images, labels, strict=True)), batch_size=16),
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        train_cfg={"by_epoch": True, "max_epochs": 12},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 12}, "logger": None},
        custom_hooks=[Recorder()],
        default_scope="mmengine",
        log_level="ERROR",
        experiment_name=tmp_path.name,
    )
    training.train()
    assert losses[-1] < 0.5 * losses[0]
    state = torch.load(tmp_path / "work" / "epoch_12.pth", weights_only=False)["state_dict"]
    torch.save(state, tmp_path / "weights.pth")
    module = build(init_cfg={"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")})
    module.init_weights()
    expected = training.model.backbone.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "regnetx_3.3gf"}, "unknown network 'regnetx_3.3gf'; did you mean regnetx_3_2gf"),
        ({"network": {"w0": 8, "wa": 8, "wm": 2, "depth": 5}}, "arch: group_w is missing"),
        ({"network": {**ARCH, "bot_mull": 1}}, "arch has no key bot_mull|bot_mull"),
        ({"network": {**ARCH, "w0": 9}}, "w_0 must be a positive multiple of 8, not 9"),
        ({"network": {**ARCH, "bot_mul": 0}}, "bot_mul must be above 0"),
        ({"network": designspace.models.AnyNet(NETWORK)}, "a module cannot be in a configuration"),
        ({"out_indices": (0, 3)}, "out_indices must be a whole number from -3 to 2, not 3"),
        ({"out_indices": 2}, "out_indices must be a list of indices of stages, not 2"),
        ({"frozen_stages": 4}, "frozen_stages must be a whole number from -1 to 3, not 4"),
        ({"norm_cfg": {"type": "GN"}}, "unknown type of norm_cfg 'GN'; .*choose from: BN, BN2d, SyncBN"),
        ({"norm_cfg": {"type": "BN", "requires_gard": False}}, "requires_gard"),
        ({"output_strid": 8}, "unknown option 'output_strid' of a model; .*output_stride"),
        ({"style": "caffe"}, 'style must be "pytorch"'),
        ({"init_cfg": {"type": "Pretrained"}}, "init_cfg: checkpoint is missing"),
        ({"init_cfg": {"type": "Pretrained", "checkpoint": "x", "prefx": "y"}}, "prefx"),
        ({"init_cfg": {"type": "Pretrained", "checkpoint": "x"}, "weights": True}, "not as both"),
    ],
)
def test_mistakes_in_a_configuration_are_errors(options, message):
    with pytest.raises(InputError, match=message):
        build(**{"network": NETWORK, **options})


def test_files_that_do_not_fit_are_errors(tmp_path):
    state = to_layout(varied(NETWORK).state_dict(), NETWORK, "mmdet")
    path = str(tmp_path / "weights.pth")

    def load(state, **options):
        torch.save(state, path)
        build(init_cfg={"type": "Pretrained", "checkpoint": path, **options}).init_weights()

    short = {key: value for key, value in state.items() if key != "layer2.0.bn1.weight"}
    with pytest.raises(InputError, match=r"weights\.pth: .*missing: layer2\.0\.bn1\.weight"):
        load(short)
    with pytest.raises(InputError, match=r"weights\.pth: .*surplus: layer9\.weight"):
        load({**state, "layer9.weight": torch.zeros(1)})
    with pytest.raises(InputError, match=r"has no weights with the prefix 'model\.'"):
        load(state, prefix="model")
    with pytest.raises(RunError, match=r"there is no file .*never\.pth"):
        build(init_cfg={"type": "Pretrained", "checkpoint": str(tmp_path / "never.pth")}).init_weights()
    with pytest.raises(RunError, match=r"there is no file .*never\.pth"):
        build(weights=str(tmp_path / "never.pth")).init_weights()
    with pytest.raises(InputError, match="a Network has no weights of its own"):
        build(weights=True).init_weights()
    other = Network(Stem("imagenet", 8), (Stage(1, 8),))
    torch.save(state, path)
    with pytest.raises(InputError, match=r"weights\.pth: .*"):
        build(other, weights=path).init_weights()


def test_random_weights_with_constant_norms_are_reported(caplog):
    with caplog.at_level(logging.WARNING, logger="designspace"):
        build()
        assert "norm_eval=True with random weights" in caplog.text
        caplog.clear()
        build(norm_eval=False)
        build("regnetx_200mf")
        assert caplog.text == ""
