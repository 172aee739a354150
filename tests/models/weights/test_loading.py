"""Loading weights by name, from URLs and from files."""

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
from designspace.models.weights import find_weights, load_weights, published
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
def our_state():
    """The state dict of our module."""
    return AnyNet(catalog.get(NAME), seed=5).state_dict()


@pytest.fixture
def pycls(our_state, tmp_path):
    """A checkpoint in the format of pycls."""
    state = {theirs: our_state[key] for key, theirs in key_map(NAME, "pycls").items()}
    path = tmp_path / "checkpoint.pyth"
    torch.save({"epoch": 100, "model_state": state, "cfg": "MODEL: {}"}, path)
    return path


@pytest.fixture
def own_file(our_state, tmp_path):
    """A file with the state dict of our module."""
    path = tmp_path / "best.pth"
    torch.save(our_state, path)
    return path


def assert_same(state, expected):
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(monkeypatch, weight_source, *downloads):
    """Replace the addresses of published weights."""
    table = [
        dataclasses.replace(file, downloads=downloads)
        if (file.name, file.qualified_tag) == (NAME, weight_source)
        else file
        for file in published._table()
    ]
    monkeypatch.setattr(published, "_table", lambda: tuple(table))


def test_default_weights_by_name(monkeypatch, pycls, our_state, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    publish(monkeypatch, "pycls:dds_baselines", Download((tmp_path / "x").as_uri()), Download(pycls.as_uri()))
    weights = load_weights("RegNetX-200MF")
    stem = "stem.conv.weight"
    assert_same(weights.state, {**our_state, stem: our_state[stem].flip(1)})
    AnyNet(catalog.get(NAME)).load_state_dict(weights.state)
    assert weights.published == find_weights(NAME)
    assert weights.preset == Preset(224, 256, "bilinear")
    assert weights.licence == "MIT"
    assert weights.origin == str(tmp_path / "data" / "weights" / "checkpoint.pyth")
    assert caplog.messages[-1] == f"regnetx_200mf: weights from {weights.origin}; licence: MIT"


def test_weights_of_a_source(monkeypatch, tmp_path):
    model = originals.timm_model(NAME)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    publish(monkeypatch, "timm:pycls_in1k", Download(path.as_uri(), sha256(path)))
    weights = load_weights(NAME, "timm", cache=tmp_path / "cache")
    assert weights.preset.interpolation == "bicubic"
    assert Path(weights.origin).is_relative_to(tmp_path / "cache")
    assert torch.equal(weights.state["stem.conv.weight"], model.state_dict()["stem.conv.weight"])


def test_a_url_with_its_digest(pycls, our_state, tmp_path):
    missing = (tmp_path / "missing" / "checkpoint.pyth").as_uri()
    weights = load_weights(NAME, [missing, pycls.as_uri()], sha256=sha256(pycls).upper())
    assert weights.published is None
    assert weights.licence == "unknown"
    assert weights.preset == find_weights(NAME).preset
    assert weights.origin == f"{missing} or {pycls.as_uri()}"
    assert torch.equal(weights.state["head.classifier.bias"], our_state["head.classifier.bias"])
    with pytest.raises(RunError, match=r"it is another file: its sha256 is"):
        load_weights(NAME, pycls.as_uri(), sha256="00000000")


def test_files_of_one_name_from_two_urls_do_not_collide(our_state, tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        torch.save({**our_state, "head.classifier.bias": torch.full((1000,), float(number))}, folder / "model.pth")
    for number in (1, 2, 1):
        weights = load_weights(NAME, (tmp_path / str(number) / "model.pth").as_uri())
        assert weights.state["head.classifier.bias"][0] == number


def test_the_source_of_a_file_is_detected(pycls, own_file, our_state):
    assert_same(load_weights(NAME, own_file).state, our_state)
    stem = "stem.conv.weight"
    assert torch.equal(load_weights(NAME, str(pycls)).state[stem], our_state[stem].flip(1))
    assert torch.equal(load_weights(NAME, str(pycls), source="pycls").state[stem], our_state[stem].flip(1))


def test_half_precision_becomes_float32(our_state, tmp_path):
    torch.save({key: value.half() for key, value in our_state.items()}, tmp_path / "half.pth")
    state = load_weights(NAME, tmp_path / "half.pth").state
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}


def test_a_file_with_a_published_name_is_recognised_and_checked(monkeypatch, our_state, tmp_path):
    path = tmp_path / "regnetx_002-e7e85e5c.pth"
    torch.save({theirs: our_state[key] for key, theirs in key_map(NAME, "timm").items()}, path)
    with pytest.raises(
        RunError, match=rf"{path} is damaged, or another file: its sha256 is \w+, not e7e85e5c\.\.\.; fetch it again"
    ):
        load_weights(NAME, path)
    digest = sha256(path)
    publish(monkeypatch, "timm:pycls_in1k", Download("https://host/regnetx_002-e7e85e5c.pth", digest[:8]))
    weights = load_weights(NAME, path)
    assert weights.published.qualified_tag == "timm:pycls_in1k"
    assert weights.licence == "MIT"
    with pytest.raises(RunError, match=f"its sha256 is {digest}, not 0123456789"):
        load_weights(NAME, path, sha256="0123456789")


@pytest.mark.parametrize("name", ["resnest50-bcfefe1d.zip", "resnest50-bcfefe1d.params"])
def test_gluon_files_are_recognised_zipped_and_unzipped(name, tmp_path):
    (tmp_path / name).write_bytes(b"another file")
    with pytest.raises(RunError, match=r"its sha1 is \w{40}, not bcfefe1dd1dd1ef5cfed5563123c1490ea37b42e;"):
        load_weights("resnest50", tmp_path / name)


def test_weights_of_another_network_are_errors(own_file):
    with pytest.raises(InputError) as caught:
        load_weights("regnety_200mf", own_file)
    message = str(caught.value)
    assert message.startswith(f"{own_file}: these are not the keys of regnety_200mf from any supported source")
    assert "Closest is designspace: missing: stages.0.0.transform.se.squeeze.weight, " in message
    with pytest.raises(InputError, match=rf"{own_file}: these are not the weights of regnetx_200mf from timm"):
        load_weights(NAME, own_file, source="timm")


@pytest.mark.parametrize(
    ("weight_source", "message"),
    [
        ("timmm", "there is no file timmm; published weights for regnetx_200mf: pycls:dds_baselines, timm:pycls"),
        ("missing/best.pth", "there is no file missing/best.pth"),
        ("torchvision", "there are no weights 'torchvision' for regnetx_200mf; choose from: pycls:dds_baselines"),
        ("pycls:best", "there are no weights 'pycls:best'"),
        ("ftp://host/a.pth", "'ftp://host/a.pth' is not the address of a file"),
        (False, "weights must be True, a source, a URL or a path, not"),
        ([], "weights must be True, a source, a URL or a path, not"),
    ],
)
def test_missing_weights_are_errors(weight_source, message):
    with pytest.raises((InputError, RunError), match=message):
        load_weights(NAME, weight_source)


def test_unsuitable_options_are_errors(own_file):
    with pytest.raises(InputError, match="sha256 and source are for a URL or a path"):
        load_weights(NAME, "pycls", sha256="0123456789")
    with pytest.raises(InputError, match="'01' is not a sha256 digest"):
        load_weights(NAME, own_file, sha256="01")
    with pytest.raises(InputError, match="unknown source of weights 'keras'"):
        load_weights(NAME, own_file, source="keras")
