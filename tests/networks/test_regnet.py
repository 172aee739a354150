import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import golden

from designspace.networks.regnet import RegNetParameters, quantized_linear, sift
from designspace.spaces.catalog import regnet_axes
from designspace.spaces.streams import Streams
from designspace.support.errors import InputError


def test_generation_equals_pycls():
    cases = golden("regnet_generate.json")
    rows = quantized_linear(*([case[i] for case in cases] for i in range(4)))
    for i, case in enumerate(cases):
        widths, depths, num_stages, total_stages = case[4:]
        assert (rows.num_stages[i], rows.num_levels[i]) == (num_stages, total_stages)
        assert rows.widths[i, :num_stages].tolist() == widths
        assert rows.depths[i, :num_stages].tolist() == depths


def naive_stages(depth, w_0, w_a, w_m):
    """Compute equations 2 to 4 of the paper block by block, with nine decimals so that rounding errors move no half."""
    stages = []
    for j in range(depth):
        level = round(round(float(np.log((w_0 + w_a * j) / w_0) / np.log(w_m)), 9))
        width = round(round(w_0 * w_m**level / 8, 9)) * 8
        if stages and stages[-1][0] == width:
            stages[-1][1] += 1
        else:
            stages.append([width, 1])
    return stages


@given(
    depth=st.integers(1, 63),
    w_0=st.integers(1, 32).map(lambda k: 8 * k),
    w_a=st.floats(0, 256),
    w_m=st.floats(1.5, 3),
)
def test_columns_equal_a_computation_block_by_block(depth, w_0, w_a, w_m):
    rows = quantized_linear([depth, 2], [w_0, 8], [w_a, 8], [w_m, 2])
    n = rows.num_stages[0]
    stages = list(zip(rows.widths[0, :n].tolist(), rows.depths[0, :n].tolist(), strict=True))
    assert stages == [tuple(stage) for stage in naive_stages(depth, w_0, w_a, w_m)]


@given(
    rows=st.lists(
        st.tuples(
            st.integers(1, 63),
            st.integers(1, 32).map(lambda k: 8 * k),
            st.floats(0, 300) | st.integers(0, 3000).map(lambda k: k / 10),
            st.floats(1.01, 4) | st.sampled_from([1.5, 2, 2.25, 3]),
        ),
        min_size=1,
    ),
    stages=st.integers(1, 7),
)
def test_sift_is_never_wrong(rows, stages):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    exact = quantized_linear(*columns)
    other, skips = sift(stages, *columns)
    assert np.all(exact.num_stages[other] != stages)
    assert np.all((exact.num_stages[skips] == stages) & (exact.num_levels[skips] > stages))


def test_sift_decides_most_networks():
    """On the paper's grid, more than 90% of the networks with other stages or a skipped level are detected."""
    axes = regnet_axes()
    columns = [
        axis.draw(Streams(0).next(str(i), 50_000)) for i, axis in enumerate((axes.depth, axes.w_0, axes.w_a, axes.w_m))
    ]
    exact = quantized_linear(*columns)
    other, skips = sift(4, *columns)
    is_other = (exact.num_stages != 4) | (exact.num_levels != 4)
    assert np.all(exact.num_stages[other] != 4)
    assert np.all((exact.num_stages[skips] == 4) & (exact.num_levels[skips] > 4))
    assert np.mean((other | skips)[is_other]) > 0.9


def test_exact_halves_round_to_even():
    """With w_m = 2.25 = 1.5^2, the level of a width of 1.5 w_0 is exactly a half."""
    rows = quantized_linear([2], [16], [8], [2.25])
    assert rows.widths[0].tolist() == [16]


def test_stages_are_realised():
    stages = RegNetParameters(22, 24, 24.48, 2.54, 1, 16).stages()
    assert [(s.depth, s.width, s.group_width) for s in stages] == [
        (1, 32, 16),
        (2, 64, 16),
        (7, 160, 16),
        (12, 384, 16),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((0, 8, 8, 2), "depth must be at least 1 block, not 0"),
        ((4, 12, 8, 2), "w_0 must be a positive multiple of 8, not 12"),
        ((4, 8, 8, 1), "w_m > 1"),
    ],
)
def test_invalid_parameters_are_rejected(fields, message):
    with pytest.raises(InputError, match=message):
        RegNetParameters(*fields)
