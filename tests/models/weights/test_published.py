"""The table of published weights."""

import re
from collections import Counter

import originals  # noqa: F401 (lets timm be imported)
import pytest
import timm

from designspace.data.presets import Preset
from designspace.models.weights import available, find_weights
from designspace.models.weights.keys import sources
from designspace.models.weights.published import _table, default_preset
from designspace.networks import catalog
from designspace.support.errors import InputError

WITHOUT_WEIGHTS = catalog.names("efficientnet_*") + catalog.names("convnext_*") + ["shufflenet_v2_x1_0"]
ALL = [file for name in catalog.names() for file in available(name)]


def test_the_table_matches_the_catalogue_without_duplicates():
    assert len(ALL) == len(_table())
    assert Counter((file.name, file.qualified_tag) for file in ALL).most_common(1)[0][1] == 1
    assert [name for name in catalog.names() if not available(name)] == WITHOUT_WEIGHTS
    assert all(file.source in sources(file.name) for file in ALL)
    assert all(file.licence for file in ALL)
    assert all(file.top1 is None or 60 < file.top1 < 90 for file in ALL)
    assert all(file.top5 is None or 88 < file.top5 < 99 for file in ALL)


def test_files_have_unique_names_in_the_cache():
    addresses = {}
    for file in ALL:
        for download in file.downloads:
            assert addresses.setdefault(download.file, download.digest) == download.digest
    assert len(addresses) > len(ALL)  # most of timm's have two addresses: a release, and Hugging Face


def test_number_of_files_per_source():
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
    for name in catalog.names():
        if name not in WITHOUT_WEIGHTS:
            assert find_weights(name) == available(name)[0]
            assert default_preset(name) == available(name)[0].preset


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_networks_without_weights(name):
    with pytest.raises(InputError, match=f"there are no published weights of {name} in this library: leave them out"):
        find_weights(name)
    assert default_preset(name).crop == catalog.published(name).resolution


def test_find_by_source_and_tag():
    assert find_weights("RegNetY-16GF", "torchvision").tag == "IMAGENET1K_V1"
    assert find_weights("regnety_16gf", "torchvision:IMAGENET1K_SWAG_E2E_V1").preset == Preset(384, 384, "bicubic")
    assert find_weights("resnet50", "timm").tag == "a1_in1k"
    assert find_weights("resnest50", "gluon").downloads[0].algorithm == "sha1"


def test_errors_list_the_existing_weights():
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


def test_resnest_has_mirrors_and_the_presets_of_its_authors():
    for name in [*catalog.names("resnest50*"), "resnest101", "resnest200", "resnest269"]:
        file = find_weights(name, "resnest")
        assert len(file.downloads) >= 4
        assert {download.file for download in file.downloads} == {f"{name}-{file.downloads[0].digest}.pth"}
        assert file.preset == Preset(catalog.published(name).resolution, file.preset.crop + 32, "bicubic")
        assert file.top1 == catalog.published(name).top1


def test_digests_match_file_names():
    for file in ALL:
        for download in file.downloads:
            in_name = re.search(r"-([0-9a-f]{8})\.(pth|zip)$", download.url)
            assert download.digest[:8] == (in_name[1] if in_name else "")
            assert download.url.startswith("https://")


@pytest.mark.parametrize("file", [file for file in ALL if file.source == "timm"], ids=lambda file: file.name + file.tag)
def test_timm_files_match_the_configuration_of_timm(file):
    repository = (
        file.downloads[-1].url.removeprefix("https://huggingface.co/").removesuffix("/resolve/main/model.safetensors")
    )
    config = timm.get_pretrained_cfg(repository.removeprefix("timm/"))
    assert config.hf_hub_id == repository
    assert config.num_classes == 1000
    assert config.tag == file.tag
    crop, share = (config.test_input_size or config.input_size)[1], config.test_crop_pct or config.crop_pct
    assert file.preset == Preset(crop, int(crop / share), config.interpolation, config.mean, config.std)
    assert file.licence.lower().startswith(config.license.split("-")[0])


def test_gluon_has_the_presets_of_its_authors():
    presets = {
        name: find_weights(name, "gluon").preset for name in ("resnest50", "resnest101", "resnest200", "resnest269")
    }
    assert presets == {
        "resnest50": Preset(224, 256, "bilinear"),
        "resnest101": Preset(256, 293, "bilinear"),
        "resnest200": Preset(320, 366, "bilinear"),
        "resnest269": Preset(416, 448, "bicubic"),
    }
