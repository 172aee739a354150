"""Weights by name, from addresses and from files, as a user gets them."""

import dataclasses
import hashlib
import logging
from pathlib import Path

import originals
import pytest
import safetensors.torch
import torch

from designspace.data.presets import Preset
from designspace.models import AnyNet
from designspace.models.weights import find, load, published
from designspace.models.weights.keys import key_map
from designspace.networks import catalog
from designspace.support.download import Download
from designspace.support.errors import InputError, RunError

NAME = "regnetx_200mf"


@pytest.fixture(autouse=True)
def no_other_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def ours():
    """The state dict of our module."""
    return AnyNet(catalog.get(NAME), seed=5).state_dict()


@pytest.fixture
def pycls(ours, tmp_path):
    """A checkpoint as pycls writes it."""
    state = {theirs: ours[key] for key, theirs in key_map(NAME, "pycls").items()}
    path = tmp_path / "checkpoint.pyth"
    torch.save({"epoch": 100, "model_state": state, "cfg": "MODEL: {}"}, path)
    return path


@pytest.fixture
def own(ours, tmp_path):
    """A file of our own module."""
    path = tmp_path / "best.pth"
    torch.save(ours, path)
    return path


def assert_same(state, expected):
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(monkeypatch, which, *downloads):
    """Let published weights lie elsewhere."""
    table = [
        dataclasses.replace(file, downloads=downloads) if (file.name, file.which) == (NAME, which) else file
        for file in published._table()
    ]
    monkeypatch.setattr(published, "_table", lambda: tuple(table))


def test_default_weights_by_name(monkeypatch, pycls, ours, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    publish(monkeypatch, "pycls:dds_baselines", Download((tmp_path / "x").as_uri()), Download(pycls.as_uri()))
    weights = load("RegNetX-200MF")
    stem = "stem.conv.weight"
    assert_same(weights.state, {**ours, stem: ours[stem].flip(1)})
    AnyNet(catalog.get(NAME)).load_state_dict(weights.state)
    assert weights.about == find(NAME)
    assert weights.preset == Preset(224, 256, "bilinear")
    assert weights.licence == "MIT"
    assert weights.origin == str(tmp_path / "data" / "weights" / "checkpoint.pyth")
    assert caplog.messages[-1] == f"regnetx_200mf: weights from {weights.origin}; licence: MIT"


def test_weights_of_a_source(monkeypatch, tmp_path):
    model = originals.timm_model(NAME)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    publish(monkeypatch, "timm:pycls_in1k", Download(path.as_uri(), sha256(path)))
    weights = load(NAME, "timm", cache=tmp_path / "cache")
    assert weights.preset.interpolation == "bicubic"
    assert Path(weights.origin).is_relative_to(tmp_path / "cache")
    assert torch.equal(weights.state["stem.conv.weight"], model.state_dict()["stem.conv.weight"])


def test_an_address_with_its_digest(pycls, ours, tmp_path):
    missing = (tmp_path / "missing" / "checkpoint.pyth").as_uri()
    weights = load(NAME, [missing, pycls.as_uri()], sha256=sha256(pycls).upper())
    assert weights.about is None
    assert weights.licence == "unknown"
    assert weights.preset == find(NAME).preset
    assert weights.origin == f"{missing} or {pycls.as_uri()}"
    assert torch.equal(weights.state["head.classifier.bias"], ours["head.classifier.bias"])
    with pytest.raises(RunError, match=r"it gave another file: its sha256 is"):
        load(NAME, pycls.as_uri(), sha256="00000000")


def test_files_of_one_name_from_two_addresses(ours, tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        torch.save({**ours, "head.classifier.bias": torch.full((1000,), float(number))}, folder / "model.pth")
    for number in (1, 2, 1):
        weights = load(NAME, (tmp_path / str(number) / "model.pth").as_uri())
        assert weights.state["head.classifier.bias"][0] == number


def test_a_file_whose_source_is_found_out(pycls, own, ours):
    assert_same(load(NAME, own).state, ours)
    stem = "stem.conv.weight"
    assert torch.equal(load(NAME, str(pycls)).state[stem], ours[stem].flip(1))
    assert torch.equal(load(NAME, str(pycls), source="pycls").state[stem], ours[stem].flip(1))


def test_half_precision_becomes_float32(ours, tmp_path):
    torch.save({key: value.half() for key, value in ours.items()}, tmp_path / "half.pth")
    state = load(NAME, tmp_path / "half.pth").state
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}


def test_a_file_of_a_published_name_is_known_and_checked(monkeypatch, ours, tmp_path):
    path = tmp_path / "regnetx_002-e7e85e5c.pth"
    torch.save({theirs: ours[key] for key, theirs in key_map(NAME, "timm").items()}, path)
    with pytest.raises(
        RunError, match=rf"{path} is damaged, or another file: its sha256 is \w+, not e7e85e5c\.\.\.; fetch it again"
    ):
        load(NAME, path)
    digest = sha256(path)
    publish(monkeypatch, "timm:pycls_in1k", Download("https://host/regnetx_002-e7e85e5c.pth", digest[:8]))
    weights = load(NAME, path)
    assert weights.about.which == "timm:pycls_in1k"
    assert weights.licence == "MIT"
    with pytest.raises(RunError, match=f"its sha256 is {digest}, not 0123456789"):
        load(NAME, path, sha256="0123456789")


@pytest.mark.parametrize("name", ["resnest50-bcfefe1d.zip", "resnest50-bcfefe1d.params"])
def test_gluons_files_are_known_packed_and_unpacked(name, tmp_path):
    (tmp_path / name).write_bytes(b"another file")
    with pytest.raises(RunError, match=r"its sha1 is \w{40}, not bcfefe1dd1dd1ef5cfed5563123c1490ea37b42e;"):
        load("resnest50", tmp_path / name)


def test_weights_of_another_network(own):
    with pytest.raises(InputError) as caught:
        load("regnety_200mf", own)
    message = str(caught.value)
    assert message.startswith(f"{own}: these keys are not those of regnety_200mf in any code that is known")
    assert "Closest is designspace: missing: stages.0.0.transform.se.squeeze.weight, " in message
    with pytest.raises(InputError, match=rf"{own}: these are not the weights of regnetx_200mf as timm has them"):
        load(NAME, own, source="timm")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("timmm", "there is no file timmm; published weights for regnetx_200mf are: pycls:dds_baselines, timm:pycls"),
        ("missing/best.pth", "there is no file missing/best.pth"),
        ("torchvision", "there are no weights 'torchvision' for regnetx_200mf; choose from: pycls:dds_baselines"),
        ("pycls:best", "there are no weights 'pycls:best'"),
        ("ftp://host/a.pth", "'ftp://host/a.pth' is not the address of a file"),
        (False, "which weights"),
        ([], "which weights"),
    ],
)
def test_what_there_is_not(which, message):
    with pytest.raises((InputError, RunError), match=message):
        load(NAME, which)


def test_options_that_do_not_belong(own):
    with pytest.raises(InputError, match="belong to an address or a path"):
        load(NAME, "pycls", sha256="0123456789")
    with pytest.raises(InputError, match="'01' is not a sha256 digest"):
        load(NAME, own, sha256="01")
    with pytest.raises(InputError, match="unknown source of weights 'keras'"):
        load(NAME, own, source="keras")
