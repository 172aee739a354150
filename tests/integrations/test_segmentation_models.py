"""Our networks as encoders of segmentation_models_pytorch, by its own conventions and examples."""

import originals  # noqa: F401  (makes torchvision importable, which it imports)
import pytest
import segmentation_models_pytorch as smp
import torch

import designspace
from designspace.integrations import segmentation_models
from designspace.integrations.segmentation_models import register_encoder
from designspace.models import AnyNet, Backbone, list_models
from designspace.models.weights import find_weights
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError

NETWORK = Network(
    Stem("cifar", 8), tuple(Stage(1, 8 * i, s, 1, 8) for i, s in ((1, 1), (2, 2), (2, 2), (3, 1), (4, 2)))
)
"""A network with a stem of stride 1, and two stages of one size."""
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
ENCODER = smp.encoders.get_encoder


@pytest.fixture(autouse=True)
def no_other_encoders(monkeypatch):
    """Forget the encoders that a test registers."""
    for name, entry in dict(smp.encoders.encoders).items():
        monkeypatch.setitem(smp.encoders.encoders, name, entry)
    before = set(smp.encoders.encoders)
    yield
    for name in set(smp.encoders.encoders) - before:
        del smp.encoders.encoders[name]


def test_every_published_network_is_an_encoder():
    names = smp.encoders.get_encoder_names()
    lacking = {f"designspace-{name}" for name in (*list_models("convnext_*"), "shufflenet_v2_x1_0")}
    assert {f"designspace-{name}" for name in list_models()} - lacking < set(names)
    assert not lacking & set(names)  # ConvNeXt has no map of stride 2, ShuffleNetV2 none of stride 4
    assert "resnet18" in names
    assert ENCODER("resnet18", weights=None).out_channels == [3, 64, 64, 128, 256, 512]  # its own


@pytest.mark.parametrize("depth", [3, 4, 5])
@pytest.mark.parametrize(
    "name",
    [
        "designspace-regnetx_200mf",
        "designspace-resnest14",
        "designspace-efficientnet_b0",
    ],
)
def test_maps_have_the_announced_channels_and_strides(name, depth):
    encoder = ENCODER(name, in_channels=1, depth=depth, weights=None).eval()
    images = IMAGES[:, :1]
    maps = encoder(images)
    assert encoder.out_channels == [x.shape[1] for x in maps]
    assert maps[0] is images
    assert [tuple(x.shape[2:]) for x in maps] == [(64 // 2**k, 96 // 2**k) for k in range(depth + 1)]
    assert encoder.output_stride == 2**depth
    odd = encoder(torch.rand(1, 1, 97, 131))
    assert [tuple(x.shape[2:]) for x in odd][:4] == [(97, 131), (49, 66), (25, 33), (13, 17)]


@pytest.mark.parametrize(
    ("decoder", "options"),
    [
        (smp.Unet, {}),
        (smp.Unet, {"encoder_depth": 3, "decoder_channels": (16, 8, 4)}),
        (smp.UnetPlusPlus, {}),
        (smp.FPN, {}),
        (smp.Linknet, {}),
        (smp.PSPNet, {}),
        (smp.DeepLabV3Plus, {"encoder_output_stride": 16}),
        (smp.DeepLabV3Plus, {"encoder_output_stride": 8}),
        (smp.DeepLabV3, {}),
    ],
)
def test_decoders(decoder, options):
    name = "designspace-regnetx_200mf"
    model = decoder(name, encoder_weights=None, in_channels=1, classes=3, **options).eval()
    assert model(IMAGES[:, :1]).shape == (2, 3, 64, 96)


def test_dilated_encoders_give_the_values_of_our_dilated_networks():
    encoder = ENCODER("designspace-resnest14", weights=None, output_stride=16).eval()
    expected = Backbone(AnyNet(catalog.get("resnest14"), output_stride=16)).eval()(IMAGES)
    assert all(torch.equal(a, b) for a, b in zip(encoder(IMAGES)[1:], expected, strict=True))
    assert encoder.output_stride == 16
    assert expected[-1].shape[2:] == (4, 6)


def test_a_network_with_a_stem_of_stride_1():
    register_encoder("mine", NETWORK)
    encoder = ENCODER("mine", depth=3, weights=None).eval()
    maps = encoder(IMAGES)
    assert [tuple(x.shape[1:]) for x in maps] == [(3, 64, 96), (16, 32, 48), (24, 16, 24), (32, 8, 12)]
    expected = Backbone(AnyNet(NETWORK), (2, 4, 5)).eval()(IMAGES)
    assert all(torch.equal(a, b) for a, b in zip(maps[1:], expected, strict=True))
    model = smp.Unet("mine", encoder_depth=3, decoder_channels=(16, 8, 4), encoder_weights=None, classes=2)
    assert model(IMAGES).shape == (2, 2, 64, 96)
    dilated = smp.DeepLabV3Plus("mine", encoder_depth=3, encoder_weights=None)
    assert dilated(IMAGES).shape == (2, 1, 64, 96)
    with pytest.raises(
        InputError, match="strides 2 to 32, but .* has those of strides 1, 2, 4, 8: use encoder_depth=3"
    ):
        smp.Unet("mine", encoder_weights=None)
    register_encoder("jumps", Network(Stem("cifar", 8), (Stage(1, 8, 4, 1, 8),)))
    with pytest.raises(InputError, match="has those of strides 1, 4: it cannot be an encoder"):
        smp.Unet("jumps", encoder_weights=None)


@pytest.mark.parametrize("kind", ["folder", "run", "module"])
def test_trained_weights_are_kept_to_the_bit(trained, kind):
    best = designspace.load(trained / "best")
    register_encoder("best", {"folder": trained / "best", "run": str(trained / "run"), "module": best}[kind])
    depth = 3
    encoder = ENCODER("best", weights="trained", depth=depth).eval()
    state = best.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    preset = best.weights.preset
    parameters = smp.encoders.get_preprocessing_params("best", "trained")
    assert (tuple(parameters["mean"]), tuple(parameters["std"])) == (preset.mean, preset.std)
    assert parameters["input_range"] == [0, 1]
    pixels = IMAGES[0].permute(1, 2, 0)
    prepared = torch.from_numpy(smp.encoders.get_preprocessing_fn("best", "trained")(pixels.numpy()))
    expected = (pixels - torch.tensor(preset.mean)) / torch.tensor(preset.std)
    torch.testing.assert_close(prepared, expected, check_dtype=False)
    grey = ENCODER("best", in_channels=1, weights="trained", depth=depth).eval()
    torch.testing.assert_close(grey.stem.conv.weight, best.stem.conv.weight.sum(1, keepdim=True))
    with pytest.raises(KeyError, match="Wrong pretrained weights `imagenet`.*trained"):
        ENCODER("best", weights="imagenet", depth=depth)


def test_published_weights_come_from_our_table(tmp_path):
    """The wiring: the file itself is not downloaded here."""
    expected = AnyNet(catalog.get("regnetx_200mf"), seed=7)
    torch.save(expected.state_dict(), tmp_path / "own.pt")
    register_encoder("local", "regnetx_200mf", weights={"imagenet": tmp_path / "own.pt"})
    model = smp.Unet("local", encoder_weights="imagenet")
    state = expected.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.encoder.state_dict().items())
    settings = smp.encoders.encoders["designspace-regnetx_200mf"]["pretrained_settings"]
    assert list(settings) == ["imagenet", "pycls:dds_baselines", "timm:pycls_in1k"]
    for value in ("imagenet", "timm:pycls_in1k"):
        preset = find_weights("regnetx_200mf", True if value == "imagenet" else value).preset
        parameters = smp.encoders.get_preprocessing_params("designspace-regnetx_200mf", value)
        assert tuple(parameters["mean"]) == preset.mean
    torch.save(AnyNet(catalog.get("regnetx_400mf")).state_dict(), tmp_path / "own.pt")
    with pytest.raises(InputError, match="not the keys of regnetx_200mf"):
        smp.Unet("local", encoder_weights="imagenet")


def test_weights_of_other_encoders_come_from_the_hub(monkeypatch):
    asked = []
    monkeypatch.setattr(segmentation_models, "_download", lambda repo, **options: asked.append((repo, options)))
    with pytest.raises(FileNotFoundError):  # nothing was downloaded
        smp.encoders.get_preprocessing_params("resnet18", "imagenet")
    assert [(repo, sorted(options)) for repo, options in asked] == [
        ("smp-hub/resnet18.imagenet", ["filename", "revision"])
    ]


def test_channels_of_a_grey_network():
    grey = Network(Stem("imagenet", 8), tuple(Stage(1, 8, 2, 1, 8) for _ in range(4)), in_channels=1)
    register_encoder("grey", grey)
    assert ENCODER("grey", in_channels=1, weights=None)(IMAGES[:, :1])[-1].shape == (2, 8, 2, 3)
    assert ENCODER("grey", in_channels=3, weights=None)(IMAGES)[-1].shape == (2, 8, 2, 3)
    register_encoder("grey", AnyNet(grey))
    with pytest.raises(InputError, match="weights for 1 channels cannot be adapted to 3"):
        ENCODER("grey", in_channels=3, weights="trained")


def test_a_saved_segmenter_is_loaded_again(tmp_path):
    name = "designspace-regnetx_200mf"
    model = smp.Unet(name, encoder_weights=None, in_channels=2, classes=3).eval()
    model.save_pretrained(tmp_path / "unet")
    again = smp.from_pretrained(tmp_path / "unet").eval()
    images = torch.rand(1, 2, 64, 64)
    assert torch.equal(again(images), model(images))
    other = smp.Unet("designspace-regnetx_400mf", encoder_weights=None, in_channels=2, classes=3)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(model.state_dict())


def test_names_of_other_encoders_are_not_replaced():
    with pytest.raises(InputError, match="has an encoder 'resnet18' of its own"):
        register_encoder("resnet18", NETWORK)
    with pytest.raises(InputError, match="looks for 'tu-mine' in timm"):
        register_encoder("tu-mine", NETWORK)
    with pytest.raises(InputError, match="unknown network 'resnest51'"):
        register_encoder("mine", "resnest51")


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model = smp.Unet("designspace-regnetx_200mf", encoder_weights=None, classes=1)
    criterion, optimizer = smp.losses.DiceLoss("binary"), torch.optim.SGD(model.parameters(), 0.1, 0.9)
    target = (IMAGES.mean(1, keepdim=True) > 0.5).float()
    losses = []
    for _ in range(5):
        loss = criterion(model(IMAGES), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
