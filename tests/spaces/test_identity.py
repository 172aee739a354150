import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designspace.networks.network import Stem
from designspace.spaces import catalog, drawing, identity
from designspace.spaces.axes import choice, log_uniform, powers_of_two
from designspace.spaces.identity import Identifier
from designspace.spaces.parameters import AnyNetAxes
from designspace.spaces.space import DesignSpace
from designspace.spaces.streams import Streams
from designspace.spaces.template import Template
from designspace.support.errors import InputError


@st.composite
def spaces(draw):
    """Generate spaces that vary everything that changes a network's text."""
    axes = AnyNetAxes(
        log_uniform(1, 3),
        log_uniform(8, 32, 8),
        choice(draw(st.lists(st.sampled_from([0.25, 0.5, 1, 1.5, 2, 2.5, 4]), min_size=1, unique=True))),
        powers_of_two(1, 8),
    )
    template = Template(
        stem=Stem(draw(st.sampled_from(["imagenet", "cifar", "resnet", "deep"])), draw(st.sampled_from([8, 32]))),
        strides=tuple(draw(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=4))),
        block=draw(st.sampled_from(["bottleneck", "bottleneck_linear"])),
        se_ratio=draw(st.sampled_from([0.0, 0.25, 1.0])),
        shortcut=draw(st.sampled_from(["conv", "avg_pool"])),
        downsampling=draw(st.sampled_from(["conv", "avg_pool_before", "avg_pool_after"])),
        head_width=draw(st.sampled_from([0, 64])),
        num_classes=draw(st.sampled_from([10, 1000])),
        in_channels=draw(st.sampled_from([1, 3])),
        resolution=32,
    )
    radices = choice(draw(st.lists(st.sampled_from([0, 1, 2, 4]), min_size=1, unique=True)))
    return DesignSpace("any", axes, template, radices)


def check_texts_and_ids(space, columns):
    networks = [space.network({name: column[i] for name, column in columns.items()}) for i in range(len(columns["d1"]))]
    identifier = Identifier(space)
    assert list(identifier.texts(columns)) == [network.to_json() for network in networks]
    assert list(identifier.ids(columns)) == [network.id for network in networks]


@given(spaces())
def test_texts_and_ids_equal_those_of_networks(space):
    check_texts_and_ids(space, drawing.draw_block(space, Streams(0), 40).accepted)


@pytest.mark.parametrize("name", catalog.NAMES)
def test_texts_and_ids_of_the_named_spaces(name):
    space = catalog.space(name, radix=[0, 2] if "Net" in name and name[-1] in "XYE" else None)
    check_texts_and_ids(space, drawing.draw_block(space, Streams(1), 400).accepted)


def test_ids_do_not_depend_on_chunks(monkeypatch):
    space = catalog.space("RegNetY", radix=[0, 1, 2])
    columns = drawing.draw_block(space, Streams(2), 3000).accepted
    whole = list(Identifier(space).ids(columns))
    monkeypatch.setattr(identity, "CHUNK", 7)
    assert list(Identifier(space).ids(columns)) == whole


def test_invalid_row_is_rejected_when_it_is_reached():
    space = catalog.space("AnyNetXA")
    columns = drawing.draw_block(space, Streams(0), 3).accepted
    columns["d2"] = np.array([1, 0, 1])
    ids = Identifier(space).ids(columns)
    assert len(next(ids)) == 12
    with pytest.raises(InputError, match="depth must be a whole number >= 1, not 0"):
        next(ids)
