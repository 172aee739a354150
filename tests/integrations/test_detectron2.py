"""Our networks with Detectron2's interface, through a stand-in of it with the real registry and `CfgNode`."""

import copy
import runpy
import subprocess
import sys
from pathlib import Path

import detectron2_stand_in as stand_in
import pytest
import torch
from torch import nn
from varied_weights import assert_has_weights_of, varied

import designspace.integrations
from designspace.models import AnyNet, create_model
from designspace.models import Backbone as OurBackbone
from designspace.models.norms import FrozenBatchNorm2d
from designspace.models.weights import to_layout
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError, RunError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "detectron2"
BASE = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
ODD = torch.rand(1, 3, 97, 131, generator=torch.Generator().manual_seed(0))
PADDED = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
STAGES = ["res2", "res3", "res4", "res5"]
REGNET = Network(Stem("imagenet", 8), tuple(Stage(1, 8 * 2**i, 2, 1, 4) for i in range(4)))
RESNEST = Network(
    Stem("deep", 8),
    tuple(Stage(1, 16 * 2**i, min(2, i + 1), 2, 8) for i in range(4)),
    radix=2,
    shortcut="avg_pool",
    downsampling="avg_pool_after",
)


@pytest.fixture
def d2(monkeypatch, tmp_path):
    """Our integration, imported with the stand-in, which is removed afterwards."""
    yield stand_in.install(monkeypatch, tmp_path)
    sys.modules.pop("designspace.integrations.detectron2", None)
    vars(designspace.integrations).pop("detectron2", None)


def config(d2, *files, **keys):
    options = [part for key, value in keys.items() for part in (key.replace("__", "."), value)]
    return d2.read_config(BASE, *files, options=options)


def test_it_needs_detectron2_and_nothing_else_does():
    code = "import designspace, designspace.models, designspace.library, designspace.integrations.detectron2"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 1
    assert "needs Detectron2 (No module named 'detectron2'), which is not on PyPI: pip install" in finished.stderr


def test_maps_have_names_channels_and_strides(d2):
    backbone = d2.DesignSpaceBackbone(REGNET, out_features=["stem", *STAGES]).eval()
    assert isinstance(backbone, stand_in.Backbone)
    assert backbone.size_divisibility == 0
    maps = backbone(ODD)
    shapes = backbone.output_shape()
    assert list(maps) == list(shapes) == ["stem", *STAGES]
    for name, value in maps.items():
        assert value.shape[1] == shapes[name].channels
        assert value.shape[2:] == tuple(-(-side // shapes[name].stride) for side in (97, 131))
    expected = OurBackbone(AnyNet(REGNET)).eval()(ODD)
    assert all(torch.equal(a, b) for a, b in zip(maps.values(), expected, strict=True))


def test_the_stem_of_a_resnet_is_the_map_after_its_pool(d2):
    backbone = d2.DesignSpaceBackbone(RESNEST, out_features=["stem", "res2"])
    assert {name: shape.stride for name, shape in backbone.output_shape().items()} == {"stem": 4, "res2": 4}
    assert backbone(PADDED)["stem"].shape == (2, 8, 16, 24)


def test_names_of_regnets_and_orders(d2):
    backbone = d2.DesignSpaceBackbone(REGNET, out_features=["s3", "s1"])
    assert [value.shape[1] for value in backbone(PADDED).values()] == [32, 8]
    assert list(d2.DesignSpaceBackbone(REGNET).output_shape()) == ["res5"]
    assert not any(key.startswith("stages.3.") for key in backbone.state_dict())


@pytest.mark.parametrize(("norm", "kind"), [("BN", nn.BatchNorm2d), ("SyncBN", nn.SyncBatchNorm), ("FrozenBN", None)])
@pytest.mark.parametrize("freeze_at", [0, 1, 3])
def test_norms_and_frozen_parts(d2, norm, kind, freeze_at):
    backbone = d2.DesignSpaceBackbone(REGNET, out_features=STAGES, norm=norm, freeze_at=freeze_at).train()
    kinds = {type(m) for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._NormBase | FrozenBatchNorm2d)}
    assert kinds == ({kind} if kind else set()) | ({FrozenBatchNorm2d} if freeze_at or not kind else set())
    before = copy.deepcopy(backbone.state_dict())
    sum(x.square().mean() for x in backbone(PADDED).values()).backward()
    frozen = tuple(["stem.", "stages.0.", "stages.1."][:freeze_at])
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == (bool(frozen) and name.startswith(frozen))
    for name, value in backbone.state_dict().items():
        if "running" in name:
            assert torch.equal(value, before[name]) == (not kind or (bool(frozen) and name.startswith(frozen)))
    assert backbone.freeze(2) is backbone
    assert not any(parameter.requires_grad for parameter in backbone.stages[0].parameters())


def test_images_may_be_blue_green_red(d2):
    rgb, bgr = (d2.DesignSpaceBackbone(REGNET, bgr=bgr).eval() for bgr in (False, True))
    assert torch.equal(rgb(ODD)["res5"], bgr(ODD.flip(1))["res5"])


@pytest.mark.parametrize("layout", ["designspace", "detectron2", "mmdet"])
@pytest.mark.parametrize("network", [REGNET, RESNEST], ids=["regnet", "resnest"])
def test_weights_in_files_and_checkpoints_of_detectors(d2, network, layout, tmp_path):
    model = varied(network)
    theirs = to_layout(OurBackbone(model).state_dict(), network, layout)
    torch.save({"model": theirs}, tmp_path / "weights.pth")
    backbone = d2.DesignSpaceBackbone(network, out_features=STAGES, weights=tmp_path / "weights.pth", freeze_at=1)
    assert_has_weights_of(backbone, model)
    # As `DetectionCheckpointer` loads: the whole detector, not strictly.
    pyramid = stand_in.FPN(d2.DesignSpaceBackbone(network, out_features=STAGES), STAGES, 8)
    checkpoint = {f"bottom_up.{key}": value for key, value in theirs.items() if not key.endswith("tracked")}
    checkpoint["fpn_lateral2.bias"] = torch.ones(8)
    result = pyramid.load_state_dict(checkpoint, strict=False)
    assert result.unexpected_keys == []
    assert not any("stages" in key or "stem" in key for key in result.missing_keys if not key.endswith("tracked"))
    assert_has_weights_of(pyramid.bottom_up, model)
    direct = d2.DesignSpaceBackbone(network, out_features=STAGES)
    direct.load_state_dict(theirs)  # strictly
    assert_has_weights_of(direct, model)
    again = stand_in.FPN(d2.DesignSpaceBackbone(network, out_features=STAGES), STAGES, 8)
    again.load_state_dict(pyramid.state_dict())
    assert_has_weights_of(again.bottom_up, model)


def test_checkpoints_of_another_network_are_errors(d2):
    pyramid = stand_in.FPN(d2.DesignSpaceBackbone(RESNEST, out_features=STAGES), STAGES, 8)
    theirs = to_layout(OurBackbone(AnyNet(REGNET)).state_dict(), REGNET, "detectron2")
    with pytest.raises(InputError, match="these are not the keys of Network"):
        pyramid.load_state_dict({f"bottom_up.{key}": value for key, value in theirs.items()}, strict=False)


def test_everything_is_registered_once(d2, monkeypatch, tmp_path, caplog):
    registry = stand_in.BACKBONE_REGISTRY
    names = ["build_designspace_backbone", "build_designspace_fpn_backbone"]
    for name in [*names, "build_resnest_backbone", "build_resnest_fpn_backbone"]:
        assert registry.get(name) is getattr(d2, name)

    def build_resnest_backbone(cfg, input_shape):
        """The fork's own."""

    stand_in.BACKBONE_REGISTRY._obj_map.clear()
    stand_in.BACKBONE_REGISTRY.register(build_resnest_backbone)
    source = Path(d2.__file__).read_text()
    exec(compile(source, d2.__file__, "exec"), {"__name__": "again"})
    assert stand_in.BACKBONE_REGISTRY.get("build_resnest_backbone") is build_resnest_backbone
    assert "build_resnest_backbone is registered by another package" in caplog.text


@pytest.mark.parametrize("depth", [50, 101, 200, 269])
def test_the_authors_keys_describe_their_networks(d2, depth):
    cfg = config(d2, MODEL__RESNETS__DEPTH=depth, MODEL__RESNETS__STRIDE_IN_1X1=False)
    assert d2.resnest_of(cfg) == catalog.get(f"resnest{depth}")
    assert d2.resnest_of(cfg, 5).in_channels == 5


def test_other_keys_of_the_authors(d2):
    def network(**keys):
        named = {f"MODEL__RESNETS__{key}": value for key, value in {"STRIDE_IN_1X1": False, **keys}.items()}
        return d2.resnest_of(config(d2, **named))

    plain = {"RADIX": 1, "DEEP_STEM": False, "AVD": False, "AVG_DOWN": False}
    assert network(**plain) == catalog.get("resnet50")
    assert network(RADIX=1).downsampling == "avg_pool_after"
    assert network(RADIX=1).radix == 0
    assert network(RADIX=2, **dict.fromkeys(("DEEP_STEM", "AVD", "AVG_DOWN"), False)) == catalog.get("resnest50")
    assert network(RADIX=4).radix == 4
    wide = network(NUM_GROUPS=2, WIDTH_PER_GROUP=32, BOTTLENECK_WIDTH=40)
    assert (wide.stages[0].inner_width, wide.stages[0].cardinality) == (80, 2)
    assert network(STEM_OUT_CHANNELS=96).stem == Stem("deep", 96)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_example_files_build_and_train(d2, file):
    cfg = config(d2, file, MODEL__DESIGNSPACE__WEIGHTS=False)
    assert cfg.MODEL.WEIGHTS == ""
    backbone = stand_in.build_backbone(cfg).train()
    name = f"resnest{cfg.MODEL.RESNETS.DEPTH}" if "ResNeSt" in file.name else "regnetx_4_0gf"
    assert backbone.bottom_up.network.stages == catalog.get(name).stages
    maps = backbone(PADDED[:, :, :, :64])
    assert {key: tuple(x.shape[1:]) for key, x in maps.items()} == {
        f"p{level}": (256, 64 // 2**level, 64 // 2**level) for level in range(2, 7)
    }
    sum(x.mean() for x in maps.values()).backward()
    trainable = {name for name, p in backbone.bottom_up.named_parameters() if p.grad is not None}
    assert trainable
    assert not any(name.startswith(("stem.", "stages.0.")) for name in trainable)  # FREEZE_AT is 2


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("mask*.py")), ids=lambda path: path.stem)
def test_lazy_examples_build(d2, file):
    model = stand_in.LazyConfig.load(str(file)).model
    model.backbone.bottom_up.weights = False
    backbone = stand_in.instantiate(model.backbone).eval()
    assert list(backbone(PADDED)) == ["p2", "p3", "p4", "p5", "p6"]
    name = "resnest50" if "resnest" in file.name else "regnetx_4_0gf"
    assert backbone.bottom_up.network == catalog.get(name)
    assert backbone.bottom_up.bgr


def test_the_check_of_the_examples_runs(d2, capsys):
    runpy.run_path(str(EXAMPLES / "check.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(EXAMPLES.glob("mask*")))
    assert all("p2 256x32x40, " in line for line in lines)


def test_a_training_step_lowers_the_loss(d2):
    cfg = config(
        d2,
        MODEL__BACKBONE__NAME="build_designspace_fpn_backbone",
        MODEL__DESIGNSPACE__NETWORK="regnetx_200mf",
        MODEL__DESIGNSPACE__WEIGHTS=False,
        MODEL__RESNETS__NORM="BN",
    )
    backbone = stand_in.build_backbone(cfg).train()
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.05)
    losses = []
    for _ in range(4):
        loss = sum((x - 1).square().mean() for x in backbone(PADDED).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_published_weights_need_their_pixels(d2, monkeypatch, tmp_path):
    model = create_model("resnest50", seed=2)
    from designspace.models.info import published_info
    from designspace.models.weights import Weights, find_weights

    file = find_weights("resnest50")
    model.weights = published_info("resnest50", Weights({}, file, file.preset, "here", file.licence), 3, 1000)
    monkeypatch.setattr("designspace.integrations.sources.find_model", lambda *args, **options: model)
    example = EXAMPLES / "mask_rcnn_ResNeSt_50_FPN_syncBN_1x.yaml"
    backbone = stand_in.build_backbone(config(d2, example))
    assert_has_weights_of(backbone.bottom_up, model)
    assert not backbone.bottom_up.bgr
    with pytest.raises(
        InputError, match=r"MODEL\.PIXEL_STD is \[1\.0, 1\.0, 1\.0\], but the weights .* need \[58\.395"
    ):
        stand_in.build_backbone(config(d2, example, MODEL__PIXEL_STD=[1.0, 1.0, 1.0]))
    with pytest.raises(InputError, match=r"MODEL\.PIXEL_MEAN is .* need \[103\.53, .* with INPUT\.FORMAT: BGR"):
        stand_in.build_backbone(config(d2, example, INPUT__FORMAT="BGR"))


def test_other_channels(d2):
    named = {"MODEL__DESIGNSPACE__NETWORK": "regnetx_200mf", "MODEL__DESIGNSPACE__WEIGHTS": False}
    cfg = config(d2, MODEL__BACKBONE__NAME="build_designspace_backbone", **named)
    cfg.MODEL.PIXEL_MEAN = [0.0] * 4
    assert stand_in.build_backbone(cfg)(torch.rand(1, 4, 64, 64))["res5"].shape == (1, 368, 2, 2)


def test_dilation(d2):
    named = {"MODEL__DESIGNSPACE__NETWORK": "regnetx_200mf", "MODEL__DESIGNSPACE__WEIGHTS": False}
    cfg = config(d2, MODEL__BACKBONE__NAME="build_designspace_backbone", MODEL__DESIGNSPACE__OUTPUT_STRIDE=16, **named)
    shapes = stand_in.build_backbone(cfg).output_shape()
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 16]
    with pytest.raises(InputError, match=r"have the strides \[4, 8, 16, 16\]; a feature pyramid needs one map of each"):
        d2.build_designspace_fpn_backbone(cfg, stand_in.ShapeSpec(channels=3))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"MODEL.RESNETS.RADDIX": 2}, r"options: unknown key MODEL.RESNETS.RADDIX; did you mean MODEL.RESNETS.RADIX\?"),
        ({"MODEL.DESIGNSPACE.NETWROK": "x"}, "did you mean MODEL.DESIGNSPACE.NETWORK"),
        ({"MODEL.RESNETS.DEPTH": 51}, "unknown MODEL.RESNETS.DEPTH 51; .*choose from: 50, 101, 152, 200, 269"),
        ({"MODEL.RESNETS.STRIDE_IN_1X1": True}, "MODEL.RESNETS.STRIDE_IN_1X1 must be False, not True: strides are in"),
        ({"MODEL.RESNETS.RES5_DILATION": 2}, "RES5_DILATION must be 1, not 2: use build_designspace_backbone"),
        ({"MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, True, True, True]}, "there are no deformable convolutions"),
        ({"MODEL.RESNETS.NORM": "GN"}, "unknown norm 'GN'; choose from: BN, SyncBN, nnSyncBN, FrozenBN"),
        ({"MODEL.RESNETS.OUT_FEATURES": ["res6"]}, "unknown feature map 'res6'; .*choose from: stem, res2, res3"),
        ({"MODEL.RESNETS.OUT_FEATURES": []}, "out_features is empty"),
        ({"MODEL.BACKBONE.FREEZE_AT": 7}, "freeze_at must be a whole number from 0 to 5, not 7"),
        ({"MODEL.RESNETS.RADIX": 8, "MODEL.DESIGNSPACE.WEIGHTS": True}, "there are no published weights of Network"),
        ({"MODEL.BACKBONE.NAME": "build_designspace_backbone"}, "MODEL.DESIGNSPACE.NETWORK is missing"),
    ],
)
def test_mistakes_in_a_configuration_are_errors(d2, keys, message):
    defaults = {"MODEL.BACKBONE.NAME": "build_resnest_backbone", "MODEL.RESNETS.STRIDE_IN_1X1": False}
    options = [part for item in {**defaults, **keys}.items() for part in item]
    with pytest.raises(InputError, match=message):
        stand_in.build_backbone(d2.read_config(BASE, options=options))


def test_misspelt_keys_in_files_and_missing_files(d2, tmp_path):
    (tmp_path / "mine.yaml").write_text("MODEL:\n  RESNETS:\n    RADICS: 2\n")
    with pytest.raises(InputError, match=r"mine.yaml: unknown key MODEL.RESNETS.RADICS; did you mean .*RADIX"):
        d2.read_config(BASE, tmp_path / "mine.yaml")
    with pytest.raises(InputError, match=r"there is no file never\.yaml, and no such file in Detectron2's model zoo"):
        d2.read_config("never.yaml")
    with pytest.raises(InputError, match=r"call designspace\.integrations\.detectron2\.add_config\(cfg\) before"):
        d2.build_resnest_backbone(stand_in.get_cfg(), stand_in.ShapeSpec(channels=3))


def test_mistakes_in_arguments_are_errors(d2, tmp_path):
    with pytest.raises(InputError, match="unknown network 'resnest51'; did you mean resnest50"):
        d2.DesignSpaceBackbone("resnest51")
    with pytest.raises(InputError, match=r"unknown option 'output_strid' of a model; .*output_stride"):
        d2.DesignSpaceBackbone(REGNET, output_strid=8)
    with pytest.raises(RunError, match=r"there is no file .*never\.pth"):
        d2.DesignSpaceBackbone(REGNET, weights=tmp_path / "never.pth")
