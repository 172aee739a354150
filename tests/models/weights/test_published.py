"""The table of published weights."""

import re
from collections import Counter

import originals  # noqa: F401 (lets timm be imported)
import pytest
import timm

from designspace.data.presets import Preset
from designspace.models.weights import available, find_weights
from designspace.models.weights.keys import sources
from designspace.models.weights.published import _table
from designspace.networks import catalog
from designspace.support.errors import InputError

ALL = [file for name in catalog.names() for file in available(name)]


def test_the_table_is_of_the_catalogue_and_has_everything_once():
    assert len(ALL) == len(_table())
    assert Counter((file.name, file.qualified_tag) for file in ALL).most_common(1)[0][1] == 1
    assert all(available(name) for name in catalog.names())
    assert all(file.source in sources(file.name) for file in ALL)
    assert all(file.licence for file in ALL)
    assert all(file.top1 is None or 60 < file.top1 < 90 for file in ALL)
    assert all(file.top5 is None or 88 < file.top5 < 99 for file in ALL)


def test_files_in_the_cache_have_names_of_their_own():
    addresses = {}
    for file in ALL:
        for download in file.downloads:
            assert addresses.setdefault(download.file, download.digest) == download.digest
    assert len(addresses) > len(ALL)  # timm's are mostly there twice: as releases, and at Hugging Face


def test_how_many_there_are_of_each_source():
    counts = Counter(file.source for file in ALL)
    assert counts["resnest"] == counts["gluon"] == 11
    assert counts["pycls"] == 30
    assert counts["torchvision"] == 40
    assert counts["timm"] == 104


def test_defaults():
    expected = {
        "resnest14": "timm:gluon_in1k",
        "resnest50": "resnest:official",
        "regnety_4_0gf": "pycls:dds_baselines",
        "resnext101_32x4d": "pycls:dds_baselines",
        "regnetx_400mf_tv": "torchvision:IMAGENET1K_V1",
    }
    assert {name: find_weights(name).qualified_tag for name in expected} == expected
    assert all(find_weights(name) == available(name)[0] for name in catalog.names())


def test_find_by_source_and_tag():
    assert find_weights("RegNetY-16GF", "torchvision").tag == "IMAGENET1K_V1"
    assert find_weights("regnety_16gf", "torchvision:IMAGENET1K_SWAG_E2E_V1").preset == Preset(384, 384, "bicubic")
    assert find_weights("resnet50", "timm").tag == "a1_in1k"
    assert find_weights("resnest50", "gluon").downloads[0].algorithm == "sha1"


def test_unknown_weights_list_those_that_there_are():
    with pytest.raises(InputError) as caught:
        find_weights("resnest50", "torchvision:IMAGENET1K_V1")
    assert str(caught.value) == (
        "there are no weights 'torchvision:IMAGENET1K_V1' for resnest50; choose from: resnest:official, timm:in1k, "
        "gluon:official"
    )
    with pytest.raises(InputError, match="unknown network"):
        available("resnest51")


def test_licences():
    licences = {
        "resnest": {"Apache-2.0"},
        "gluon": {"Apache-2.0"},
        "pycls": {"MIT"},
        "torchvision": {"BSD-3-Clause", "CC-BY-NC-4.0"},
        "timm": {"MIT", "Apache-2.0", "BSD-3-Clause", "CC-BY-NC-4.0", "SEER licence (not commercial)"},
    }
    for source, expected in licences.items():
        assert {file.licence for file in ALL if file.source == source} == expected
    swag = [file for file in ALL if "swag" in file.tag.lower()]
    assert len(swag) == 8
    assert {file.licence for file in swag} == {"CC-BY-NC-4.0"}


def test_resnest_has_its_mirrors_and_evaluates_as_its_authors_do():
    for name in [*catalog.names("resnest50*"), "resnest101", "resnest200", "resnest269"]:
        file = find_weights(name, "resnest")
        assert len(file.downloads) >= 4
        assert {download.file for download in file.downloads} == {f"{name}-{file.downloads[0].digest}.pth"}
        assert file.preset == Preset(catalog.published(name).resolution, file.preset.crop + 32, "bicubic")
        assert file.top1 == catalog.published(name).top1


def test_digests_are_those_in_the_names_of_the_files():
    for file in ALL:
        for download in file.downloads:
            in_name = re.search(r"-([0-9a-f]{8})\.(pth|zip)$", download.url)
            assert download.digest[:8] == (in_name[1] if in_name else "")
            assert download.url.startswith("https://")


@pytest.mark.parametrize("file", [file for file in ALL if file.source == "timm"], ids=lambda file: file.name + file.tag)
def test_timms_files_are_as_timm_says(file):
    repository = (
        file.downloads[-1].url.removeprefix("https://huggingface.co/").removesuffix("/resolve/main/model.safetensors")
    )
    about = timm.get_pretrained_cfg(repository.removeprefix("timm/"))
    assert about.hf_hub_id == repository
    assert about.num_classes == 1000
    assert about.tag == file.tag
    crop, share = (about.test_input_size or about.input_size)[1], about.test_crop_pct or about.crop_pct
    assert file.preset == Preset(crop, int(crop / share), about.interpolation, about.mean, about.std)
    assert file.licence.lower().startswith(about.license.split("-")[0])


def test_gluon_evaluates_as_its_authors_do():
    presets = {
        name: find_weights(name, "gluon").preset for name in ("resnest50", "resnest101", "resnest200", "resnest269")
    }
    assert presets == {
        "resnest50": Preset(224, 256, "bilinear"),
        "resnest101": Preset(256, 293, "bilinear"),
        "resnest200": Preset(320, 366, "bilinear"),
        "resnest269": Preset(416, 448, "bicubic"),
    }
