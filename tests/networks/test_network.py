import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError


def small(**fields):
    return Network(**{"stem": Stem(), "stages": (Stage(2, 16, 2, 2, 4),), **fields})


@pytest.mark.parametrize("name", catalog.names())
def test_json_gives_the_network_back(name):
    network = catalog.get(name)
    assert Network.from_json(network.to_json()) == network


def test_canonical_json_and_id_stay_as_they_are():
    """Ids name trials on disk for ever: whoever must change this line loses everybody's results."""
    network = small(num_classes=10)
    assert network.to_json() == (
        '{"num_classes":10,"stages":[{"bottleneck_ratio":2,"depth":2,"group_width":4,"width":16}],"stem":{}}'
    )
    assert network.id == "c5dd0036927f"


def test_whole_floats_are_the_same_network():
    assert small(stages=(Stage(2, 16, 2, 2.0, 4),)).id == small().id


@given(st.text(max_size=20))
def test_what_is_no_network_is_refused(text):
    with pytest.raises(InputError, match="not the JSON of a network"):
        Network.from_json(text)


def test_an_unknown_field_is_named():
    fields = json.loads(small().to_json()) | {"colour": "red"}
    with pytest.raises(InputError, match="colour"):
        Network.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stem("alexnet"), "unknown stem 'alexnet'; there is: imagenet, cifar, resnet, deep"),
        (lambda: Stem("deep", 33), "even, not 33"),
        (lambda: Stage(0, 8), "depth must be a whole number >= 1, not 0"),
        (lambda: Stage(1, 8.0), "width must be a whole number >= 1, not 8.0"),
        (lambda: Stage(1, 8, bottleneck_ratio=0), "bottleneck_ratio must be a positive number, not 0"),
        (lambda: small(block="plain"), "unknown block 'plain'"),
        (lambda: small(stages=()), "at least one Stage"),
        (lambda: small(stages=(Stage(1, 16, 2, 1, 5),)), r"stage 1 .* group_width 5 must divide the inner width 16"),
        (lambda: small(radix=8), "group_width 4 must be divisible by radix 8"),
        (lambda: small(block="basic"), "neither bottleneck nor groups"),
        (lambda: small(num_classes=True), "num_classes must be a whole number >= 0, not True"),
        (lambda: catalog.get("regnetx_401mf"), "unknown network 'regnetx_401mf'; there is: regnetx_200mf"),
    ],
)
def test_bad_values_say_what_was_given_and_what_is_allowed(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_names_match_patterns():
    assert len(catalog.names("regnet?_*f")) == 24
    assert catalog.names("resnest2*") == ["resnest26", "resnest200", "resnest269"]
