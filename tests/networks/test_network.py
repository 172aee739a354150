import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError


def small_network(**fields):
    return Network(**{"stem": Stem(), "stages": (Stage(2, 16, 2, 2, 4),), **fields})


@pytest.mark.parametrize("name", catalog.names())
def test_network_survives_a_round_trip_through_json(name):
    network = catalog.get(name)
    assert Network.from_json(network.to_json()) == network


def test_canonical_json_and_id_are_pinned():
    """Ids name trials on disk, so a change here would make all existing results unusable."""
    network = small_network(num_classes=10)
    assert network.to_json() == (
        '{"num_classes":10,"stages":[{"bottleneck_ratio":2,"depth":2,"group_width":4,"width":16}],"stem":{}}'
    )
    assert network.id == "c5dd0036927f"


def test_whole_floats_give_the_same_id():
    assert small_network(stages=(Stage(2, 16, 2, 2.0, 4),)).id == small_network().id


@given(st.text(max_size=20))
def test_text_that_is_not_a_network_is_rejected(text):
    with pytest.raises(InputError, match="not the JSON of a network"):
        Network.from_json(text)


def test_error_names_an_unknown_field():
    fields = json.loads(small_network().to_json()) | {"colour": "red"}
    with pytest.raises(InputError, match="colour"):
        Network.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stem("alexnet"), "unknown stem 'alexnet'; choose from: imagenet, cifar, resnet, deep"),
        (lambda: Stem("deep", 33), r"must be even \(twice that of its first convolution\), not 33"),
        (lambda: Stage(0, 8), "depth must be a whole number >= 1, not 0"),
        (lambda: Stage(1, 8.0), "width must be a whole number >= 1, not 8.0"),
        (lambda: Stage(1, 8, bottleneck_ratio=0), "bottleneck_ratio must be a positive number, not 0"),
        (lambda: Stage(1, 8, bottleneck_ratio=1e-320), r"width / bottleneck_ratio must be at most 67,108,864, not inf"),
        (lambda: small_network(block="plain"), "unknown block 'plain'"),
        (lambda: small_network(stages=()), "at least one Stage"),
        (
            lambda: small_network(stages=(Stage(1, 16, 2, 1, 5),)),
            r"stage 1 .* group_width 5 must divide the inner width 16",
        ),
        (lambda: small_network(radix=8), "group_width 4 must be divisible by radix 8"),
        (lambda: small_network(block="basic"), "neither bottleneck nor groups"),
        (lambda: small_network(num_classes=True), "num_classes must be a whole number >= 0, not True"),
        (lambda: catalog.get("regnetx_401mf"), "unknown network 'regnetx_401mf'; did you mean regnetx_400mf"),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_names_can_be_listed_by_pattern():
    assert len(catalog.names("regnet?_*f")) == 24
    assert catalog.names("resnest2*") == ["resnest26", "resnest200", "resnest269"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResNeSt-50", "resnest50"),
        ("resnest_50", "resnest50"),
        ("ResNeSt 269", "resnest269"),
        ("resnest50d", "resnest50"),
        ("resnest101e", "resnest101"),
        ("resnest50d_4s2x40d", "resnest50_fast_4s2x40d"),
        ("ResNeSt-50-fast-1s4x24d", "resnest50_fast_1s4x24d"),
        ("ResNet-50", "resnet50"),
        ("ResNeXt-50-32x4d", "resnext50_32x4d"),
        ("regnetx_002", "regnetx_200mf"),
        ("regnety_032", "regnety_3_2gf"),
        ("regnety_320", "regnety_32gf"),
        ("regnetx_004_tv", "regnetx_400mf_tv"),
        ("regnety_080_tv", "regnety_8_0gf_tv"),
        ("regnet_y_400mf", "regnety_400mf"),
        ("regnet_x_400mf", "regnetx_400mf_tv"),
        ("regnet_y_8gf", "regnety_8_0gf_tv"),
        ("RegNet-X-400MF", "regnetx_400mf"),
        ("RegNetX-400MF", "regnetx_400mf"),
        ("REGNETX_1.6GF", "regnetx_1_6gf"),
        ("RegNetX 16GF", "regnetx_16gf"),
        ("regnetx400mf", "regnetx_400mf"),
        ("RegNetY-12.0GF", "regnety_12gf"),
        ("EfficientNet-B0", "efficientnet_b0"),
        ("efficientnet_b5", "efficientnet_b5"),
        ("dds_baselines/effnet/EN-B3_dds_8gpu.yaml", "efficientnet_b3"),
        ("ConvNeXt-T", "convnext_tiny"),
        ("convnext_small", "convnext_small"),
        ("ConvNeXt Base", "convnext_base"),
        ("ShuffleNetV2-x1.0", "shufflenet_v2_x1_0"),
        ("ShuffleNet V2 1.0x", "shufflenet_v2_x1_0"),
        ("regnetx/RegNetX-400MF", "regnetx_400mf"),
        ("dds_baselines/regnety/RegNetY-1.6GF_dds_8gpu.yaml", "regnety_1_6gf"),
    ],
)
def test_names_of_other_libraries_are_recognised(name, expected):
    assert catalog.canonical_name(name) == expected
    assert catalog.get(name) == catalog.get(expected)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("regnetx_402mf", "regnetx_400mf"),
        ("regnety_016.tv2_in1k", "regnety_1_6gf"),
        ("resnet50d", "resnet50"),
        ("tf_efficientnet_b0", "efficientnet_b0"),  # it pads images differently
        ("efficientnet_b8", "efficientnet_b"),
        ("convnext_large", "convnext_"),
        ("resnext101_32x8d", "resnext101_32x4d"),
        ("resnest50_fast_9s1x64d", "resnest50_fast_4s1x64d"),
    ],
)
def test_error_for_an_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(InputError, match=f"unknown network '{name}'; did you mean {nearest}"):
        catalog.canonical_name(name)
    with pytest.raises(InputError, match="unknown network 3; choose from: regnetx_200mf"):
        catalog.canonical_name(3)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("regnety_[2-8]00mf", ["regnety_200mf", "regnety_400mf", "regnety_600mf", "regnety_800mf"]),
        ("RegNetY-[24]00MF", ["regnety_200mf", "regnety_400mf"]),
        ("regnetx_[!0-9]*", []),
        ("resnest[0-9][0-9]", ["resnest14", "resnest26", "resnest50"]),
        ("regnetx-?.?gf", [f"regnetx_{size}gf" for size in ("1_6", "3_2", "4_0", "6_4", "8_0")]),
        ("*[*", []),
    ],
)
def test_patterns_match_like_shell_patterns(pattern, names):
    assert catalog.names(pattern) == names
