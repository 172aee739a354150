import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import golden

from designspace.networks import catalog
from designspace.networks.blocks.widths import attention_width, compatible_widths, widths_for_cardinality
from designspace.networks.columns import NetworkColumns
from designspace.networks.complexity import Complexity, complexity, totals
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError

STEMS = {"simple_stem_in": "imagenet", "res_stem_in": "resnet", "res_stem_cifar": "cifar"}
BLOCKS = {
    "vanilla_block": "vanilla",
    "res_basic_block": "basic",
    "res_bottleneck_block": "bottleneck",
    "res_bottleneck_linear_block": "bottleneck_linear",
}


def pycls_network(case):
    """Return the network of a pycls configuration."""
    block = BLOCKS[case["block_type"]]
    plain = block in ("vanilla", "basic")
    widths, group_widths = case["adjusted"]
    stages = tuple(
        Stage(
            depth,
            width,
            stride,
            1 if plain else 1 / case["drawn"][1][i],
            width if plain else group_widths[i],
        )
        for i, (depth, width, stride) in enumerate(zip(case["depths"], widths, case["strides"], strict=True))
    )
    return Network(
        Stem(STEMS[case["stem_type"]], case["stem_w"]),
        stages,
        block=block,
        se_ratio=case["se_r"] if case["se_on"] and not plain else 0,
        head_width=case["head_w"],
        num_classes=case["num_classes"],
    )


@pytest.mark.parametrize("case", golden("anynet_complexity.json"), ids=itertools.count())
def test_complexity_of_random_anynets_equals_pycls(case):
    assert list(complexity(pycls_network(case), case["im_size"])) == case["complexity"]


@pytest.mark.parametrize("case", golden("published_complexity.json"), ids=lambda case: f"{case[0]}-{case[1]}")
def test_complexity_of_published_networks_equals_pycls(case):
    name, resolution, *expected = case
    network = catalog.get(name)
    assert list(complexity(network, resolution)) == expected[:3]
    if len(expected) > 3:
        stages = [[s.depth, s.width, s.group_width] for s in network.stages]
        assert [list(column) for column in zip(*stages, strict=True)] == expected[3:]


def test_compatible_widths_equal_pycls():
    cases = golden("compatible_widths.json")
    for width, bot_mul, group_width, *expected in cases:
        assert list(compatible_widths(width, 1 / bot_mul, group_width)) == expected
    columns = np.array([case[:3] for case in cases]).T
    widths, group_widths = compatible_widths(columns[0].astype(int), 1 / columns[1], columns[2].astype(int))
    assert np.array_equal([case[3:] for case in cases], np.stack([widths, group_widths], axis=1))


@given(
    width=st.integers(1, 128).map(lambda k: 8 * k),
    ratio=st.sampled_from([0.25, 0.5, 1, 2, 4]),
    group_width=st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
)
def test_compatible_widths_can_be_built_and_are_stable(width, ratio, group_width):
    new_width, new_group = compatible_widths(width, ratio, group_width)
    stage = Stage(1, new_width, 2, ratio, new_group)
    assert stage.inner_width % new_group == 0
    assert new_group <= group_width
    assert compatible_widths(new_width, ratio, new_group) == (new_width, new_group)


@given(
    width=st.integers(1, 256).map(lambda k: 8 * k),
    ratio=st.sampled_from([0.25, 0.5, 1, 2, 8 / 3, 3.2, 4]),
    cardinality=st.sampled_from([1, 2, 4, 8, 32]),
    radix=st.sampled_from([0, 1, 2, 4]),
)
def test_widths_of_cardinality_can_be_built(width, ratio, cardinality, radix):
    new_width, group_width = widths_for_cardinality(width, ratio, cardinality, radix)
    stage = Stage(1, new_width, 2, ratio, group_width)
    Network(Stem(), (stage,), radix=radix)
    assert stage.cardinality <= cardinality
    if width / ratio >= cardinality * max(radix, 1):
        assert stage.cardinality == cardinality
    columns = widths_for_cardinality(np.array([width]), np.array([ratio]), np.array([cardinality]), np.array([radix]))
    assert [column.tolist() for column in columns] == [[new_width], [group_width]]


@given(inner=st.integers(1, 64), cardinality=st.integers(1, 16), radix=st.sampled_from([1, 2, 4]))
def test_attention_width_is_the_authors_rounded_up_to_a_multiple_of_the_cardinality(inner, cardinality, radix):
    authors_width = max(inner * cardinality * radix // 4, 32)
    width = attention_width(inner * cardinality, radix, cardinality)
    assert width % cardinality == 0
    assert authors_width <= width < authors_width + cardinality


def test_complexity_equals_a_count_by_hand():
    """The network: 3x3 stem 1 -> 8 at 4 pixels, one block 8 -> 8 of stride 2 with b = 2 and g = 2, 3 classes."""
    network = Network(Stem("cifar", 8), (Stage(1, 8, 2, 2, 2),), num_classes=3, in_channels=1)
    flops = 72 * 16 + 32 * 16 + 4 * 2 * 9 * 4 + 32 * 4 + 64 * 4 + 24 + 3
    params = (72 + 16) + (32 + 8) + (72 + 8) + (32 + 16) + (64 + 16) + 27
    activations = 8 * 16 + 4 * 16 + 4 * 4 + 8 * 4 + 8 * 4 + 3
    assert tuple(complexity(network, 4)) == (flops, params, activations)


@pytest.mark.parametrize("name", ["regnety_400mf", "resnest50", "resnext50_32x4d"])
def test_counting_one_quantity_gives_the_same_number(name):
    network = catalog.get(name)
    counted = complexity(network)
    for quantity in Complexity._fields:
        assert totals(NetworkColumns.of(network), 224, [quantity]) == {quantity: getattr(counted, quantity)}


@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.sampled_from([1 / 3, 0.25, 0.5, 1, 1.5, 2, 3, 4]), st.integers(1, 70)),
        min_size=1,
    )
)
def test_compatible_widths_of_columns_equal_those_of_each_row(rows):
    """With and without rows of b < 1: no row depends on its neighbours."""
    widths, group_widths = compatible_widths(*(np.array(column) for column in zip(*rows, strict=True)))
    assert (widths.dtype, group_widths.dtype) == (np.int64, np.int64)
    assert list(zip(widths.tolist(), group_widths.tolist(), strict=True)) == [compatible_widths(*row) for row in rows]


def test_resolution_must_be_positive():
    with pytest.raises(InputError, match="resolution must be a whole number >= 1, not 0"):
        complexity(catalog.get("resnet50"), 0)
