"""Model folders: written models are read back, and content from other sources is checked and never executed."""

import dataclasses
import hashlib
import json
import math
import os
import pickle
import shutil

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from designspace.data.presets import Preset
from designspace.library.metadata import crop_fraction, licence_fields
from designspace.library.saved import read_model, write_model
from designspace.models import AnyNet
from designspace.models.info import OWN_LICENCE, ModelInfo, PublishedAccuracy, published_info
from designspace.models.weights import Weights, find_weights
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError, RunError

NETWORK = Network(
    Stem("cifar", 8),
    (Stage(1, 8, 2, 1, 4), Stage(2, 16, 2, 2, 4)),
    se_ratio=0.25,
    radix=2,
    num_classes=3,
    in_channels=2,
)
INFO = ModelInfo(
    "stripes",
    Preset(crop=9, resize=12, mean=(0.25, 0.5), std=(0.2, 0.3)),
    "made up",
    OWN_LICENCE,
    classes=("a", "b", "c|d"),
    published=PublishedAccuracy("mine", 12.5),
)


@pytest.fixture
def model():
    model = AnyNet(NETWORK, seed=3)
    model(torch.randn(4, 2, 9, 9, generator=torch.Generator().manual_seed(0)))  # gives batch-norm its statistics
    return model.eval()


@pytest.fixture
def folder(model, tmp_path):
    write_model(tmp_path / "stripes", model, INFO)
    return tmp_path / "stripes"


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_moved_folder_is_read_back(model, folder, tmp_path):
    folder = folder.rename(tmp_path / "elsewhere")
    names = ["README.md", "config.json", "network.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    again = read_model(folder)
    assert again.network == NETWORK
    assert not again.training
    assert again.weights == INFO
    assert again.state_dict().keys() == model.state_dict().keys()
    assert same(again, model)
    images = torch.randn(2, 2, 9, 9)
    assert torch.equal(again(images), model(images))


def test_the_safetensors_file_names_its_network(folder):
    with safetensors.safe_open(folder / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "network": NETWORK.id}


def test_writing_does_not_change_the_model(model, tmp_path):
    model.double().train().to(memory_format=torch.channels_last)
    original = {key: value.clone() for key, value in model.state_dict().items()}
    write_model(tmp_path / "a", model, INFO)
    assert model.training
    assert all(torch.equal(original[key], value) for key, value in model.state_dict().items())
    assert model.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    again = read_model(tmp_path / "a")
    assert again.stem.conv.weight.dtype == torch.float32
    assert again.stem.conv.weight.is_contiguous()
    assert torch.equal(again.stem.conv.weight, model.stem.conv.weight.float())


def test_a_folder_with_other_content_is_never_overwritten(model, folder, tmp_path):
    other = AnyNet(dataclasses.replace(NETWORK, radix=1))
    with pytest.raises(InputError, match=f"contains another network, {NETWORK.id}; it was not changed"):
        write_model(folder, other, INFO)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    (tmp_path / "file").write_text("")
    for name in ("mine", "file"):
        with pytest.raises(InputError, match=f"{name} is not a model folder; it was not changed"):
            write_model(tmp_path / name, model, INFO)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine", "stripes"]
    assert same(read_model(folder), model)


def test_the_same_network_can_be_written_again_and_other_files_stay(model, folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "model.onnx").write_bytes(b"of the old weights")
    newer = AnyNet(NETWORK, seed=4)
    write_model(folder, newer, INFO)
    assert same(read_model(folder), newer)
    names = ["README.md", "config.json", "network.json", "notes.txt", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_an_empty_folder_is_used_and_missing_parents_are_created(model, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        write_model(path, model, INFO)
        assert same(read_model(path), model)


def test_a_full_disk_leaves_nothing_behind(model, full_disk):
    big = AnyNet(dataclasses.replace(NETWORK, stages=(Stage(1, 128, 2, 1, 128),)))
    with pytest.raises(RunError, match="cannot write .*: (No space left on device|File too large)"):
        write_model(full_disk / "big", big, INFO)
    assert not list(full_disk.iterdir())


def test_infinite_weights_are_not_written(model, tmp_path):
    with torch.no_grad():
        model.head.classifier.bias[1] = float("inf")
    with pytest.raises(InputError, match="head.classifier.bias has NaN or infinite values"):
        write_model(tmp_path / "a", model, INFO)
    assert not list(tmp_path.iterdir())


def rewrite(folder, content):
    """Replace the bytes of the weights, and record their digest in network.json."""
    (folder / "weights.safetensors").write_bytes(content)
    edit(folder, lambda fields: fields.update(weights_sha256=hashlib.sha256(content).hexdigest()))


def edit(folder, change):
    path = folder / "network.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def test_damaged_weights_are_errors(folder):
    path = folder / "weights.safetensors"
    whole = path.read_bytes()
    flipped = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    for content in (whole[:-1000], b"", flipped):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"weights\.safetensors is not the file that network\.json describes"):
            read_model(folder)
    path.unlink()
    with pytest.raises(RunError, match=r"cannot read .*weights\.safetensors: No such file"):
        read_model(folder)


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: whole[:-1000],
        lambda whole: b"",
        lambda whole: b"\xff" * 8 + whole[8:],  # a header of 2^64 - 1 bytes
        lambda whole: (10**8).to_bytes(8, "little") + whole[8:],
        lambda whole: whole[:8] + b"{" * 200 + whole[208:],
        lambda whole: pickle.dumps({"stem.conv.weight": Touch("executed")}),
    ],
)
def test_a_file_that_is_not_safetensors_is_an_error_and_never_executed(folder, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rewrite(folder, content((folder / "weights.safetensors").read_bytes()))
    with pytest.raises(RunError, match=r"weights\.safetensors is not a whole safetensors file"):
        read_model(folder)
    assert not (tmp_path / "executed").exists()


class Touch:
    """Creates a folder when it is unpickled."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return os.mkdir, (self.name,)


def without(name):
    return lambda weights: weights.pop(name)


def with_(name, value):
    return lambda weights: weights.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("stem.norm.running_var"), "stem.norm.running_var is missing"),
        (with_("more", torch.zeros(1)), "it has 'more', which the network does not have"),
        (with_("head.classifier.bias", torch.zeros(4)), r"head.classifier.bias has shape \(4,\), not \(3,\)"),
        (with_("head.classifier.bias", torch.full((3,), torch.nan)), "head.classifier.bias has NaN or infinite"),
        (with_("stem.norm.running_var", torch.full((8,), torch.inf)), "running_var has NaN or infinite"),
        (with_("head.classifier.bias", torch.zeros(3).half()), "bias is of type torch.float16, not torch.float32"),
        (with_("stem.norm.num_batches_tracked", torch.tensor(1.0)), "is of type torch.float32, not torch.int64"),
        (lambda weights: weights.clear(), r"has 0 numbers, but network \w+ has 3,763 weights"),
    ],
)
def test_weights_of_another_network_are_errors(model, folder, change, message):
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    change(weights)
    rewrite(folder, safetensors.torch.save(weights))
    with pytest.raises(RunError, match=message) as caught:
        read_model(folder)
    assert "weights.safetensors" in str(caught.value)


def make_deep(fields):
    fields["network"]["stages"][0]["depth"] = 10_000


def change_classes(fields):
    fields["network"]["num_classes"] = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_classes, f"was edited: its id is '{NETWORK.id}', but its network's is"),
        (lambda fields: fields.update(id="0" * 12), "was edited: its id is '000000000000'"),
        (lambda fields: fields.update(format=2), "has format 2, but this version reads format 1"),
        (lambda fields: fields.pop("network"), "it has no 'network'"),
        (lambda fields: fields.update(network=[]), "network must be a mapping with stem"),
        (lambda fields: fields["network"].update(stages=7), "stages must be a list"),
        (lambda fields: fields["network"]["stages"][0].update(group_width=3), "must divide the inner width"),
        (lambda fields: fields["network"]["stages"][0].update(bottleneck_ratio=1e-320), "does not describe a model"),
        (lambda fields: fields["network"].update(builder="os:system"), "unknown key 'builder'"),
        (lambda fields: fields["preset"].update(mean=[0.5]), "mean and std need one number per channel"),
        (lambda fields: fields["preset"].update(mean=[0.5], std=[1]), "mean has 1 numbers, but the network takes 2"),
        (lambda fields: fields["preset"].update(std=[0.1, float("nan")]), "NaN, which is not a number"),
        (lambda fields: fields["preset"].update(crop="big"), "does not describe a model"),
        (lambda fields: fields.update(classes=["a"]), "there are 1 names for 3 classes"),
        (lambda fields: fields.update(name=5), "name must be a text"),
        (lambda fields: fields.update(about=3), "about must be a mapping"),
        (lambda fields: fields.update(about={"result": {"final_error": 3}}), "does not describe a model"),
        (lambda fields: fields.update(about={"provenance": 3}), "provenance must be a list"),
    ],
)
def test_an_inconsistent_description_is_an_error(folder, change, message):
    edit(folder, change)
    with pytest.raises(RunError, match=message) as caught:
        read_model(folder)
    assert "network.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, "\x00\xff", '{"format": 1}'])
def test_a_file_that_is_not_a_description_is_an_error(folder, text):
    (folder / "network.json").write_text(text)
    with pytest.raises(
        RunError, match=r"network\.json (is not valid JSON|must contain an object|does not describe a model)"
    ):
        read_model(folder)


def test_a_huge_network_is_rejected_before_it_is_built(folder):
    def enlarge(fields):
        make_deep(fields)
        fields["id"] = Network.from_json(json.dumps(fields["network"])).id

    edit(folder, enlarge)
    with pytest.raises(RunError, match=r"has [\d,]+ numbers, but network \w+ has [\d,]+ weights"):
        read_model(folder)
    (folder / "network.json").write_text(" " * 10_000_001)
    with pytest.raises(RunError, match="at most 10,000,000 are allowed"):
        read_model(folder)


def test_fields_of_later_versions_are_left_out(folder):
    published = {"weights": "mine", "top1": 12.5, "top5": None, "addresses": [], "energy": 3}
    edit(folder, lambda fields: fields.update(about={"published": published, "carbon": {}}))
    assert read_model(folder).weights == INFO


def test_information_about_a_published_network():
    file = find_weights("regnetx_400mf", "timm")
    info = published_info("RegNetX-400MF", Weights({}, file, Preset(crop=192, resize=200), "a file", "MIT"))
    assert (info.name, info.preset.crop, info.licence) == ("regnetx_400mf", 192, "MIT")
    assert info.about["published"]["weights"] == "timm:pycls_in1k"
    assert published_info("regnetx_400mf", Weights({}, file, Preset(), "a file", "MIT"), 1).preset.mean == (0.449,)
    json.dumps(info.to_dict())
    untrained = published_info("resnest101", None)
    assert (untrained.preset.crop, untrained.preset.resize) == (256, 293)
    assert "not trained" in untrained.origin


def test_the_card_describes_the_network_and_its_images(folder, model):
    shutil.copytree(folder, folder.parent / "this" / "folder")
    card = (folder / "README.md").read_text()
    assert card.partition("\n---\n")[2].startswith("# stripes\n")
    assert "2 c\\|d" not in card.split("Classes")[0]
    for text in (
        NETWORK.id,
        "subtract the mean 0.25, 0.5 and divide by the standard deviation\n  0.2, 0.3,",
        "shorter side resized to 12 pixels (bilinear), then the central 9 x 9",
    ):
        assert text in card
    assert "| 2 | 2 | 16 | 2 | 2 | 4 |" in card
    params = sum(parameter.numel() for parameter in model.parameters())
    assert f"{params / 1000:.2f} k parameters" in card
    assert "error" not in card  # none was measured


def test_names_that_are_not_utf8_are_written_as_escapes(tmp_path, model):
    """A run's or a class's name may be any bytes; a training must not fail at its end because of it."""
    not_utf8 = "caf\udce9"
    info = dataclasses.replace(INFO, name=not_utf8, classes=("a", not_utf8, "c"))
    write_model(tmp_path / "model", model, info)
    assert read_model(tmp_path / "model").weights.classes == ("a", not_utf8, "c")
    assert "caf\\udce9" in (tmp_path / "model" / "README.md").read_text()


def test_a_folder_without_config_json_is_read(folder, model):
    """Earlier versions did not write it."""
    (folder / "config.json").unlink()
    assert same(read_model(folder), model)


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        ("MIT", {"license": "mit"}),
        ("that of the initial weights: CC-BY-NC-4.0", {"license": "cc-by-nc-4.0"}),
        ("that of the initial weights: that of the initial weights: unknown", {"license": "unknown"}),
        ("SEER licence (not commercial)", {"license": "other", "license_name": "seer-licence-not-commercial"}),
        (OWN_LICENCE, {}),
    ],
)
def test_licences_have_the_ids_of_the_hub(licence, fields):
    assert licence_fields(licence) == fields


@given(crop=st.integers(1, 600), border=st.integers(0, 300))
def test_timm_resizes_to_the_size_of_the_preset(crop, border):
    """It computes floor(crop / crop_pct)."""
    preset = Preset(crop=crop, resize=crop + border)
    assert math.floor(crop / crop_fraction(preset)) == preset.resize
