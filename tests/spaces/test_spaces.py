import dataclasses
import itertools
import json
from collections import Counter

import numpy as np
import pytest
import yaml
from scipy import stats

from designspace.networks import catalog as catalog_of_networks
from designspace.networks.blocks.widths import compatible_widths
from designspace.networks.complexity import complexity
from designspace.networks.network import Stem
from designspace.spaces import catalog, size
from designspace.spaces.axes import choice, log_uniform, uniform
from designspace.spaces.constraints import Band, Order
from designspace.spaces.description import space_from_dict
from designspace.spaces.drawing import draw_block
from designspace.spaces.parameters import AnyNetAxes, named_axes
from designspace.spaces.sampling import InfeasibleError, sample
from designspace.spaces.space import DesignSpace
from designspace.spaces.streams import Streams
from designspace.spaces.template import Template
from designspace.support.errors import InputError

BAND = (360e6, 400e6)
SMALL = {"stem": "cifar", "stem_width": 16, "in_channels": 1, "num_classes": 10, "resolution": 28, "flops": (3e6, 5e6)}


def stage_columns(population, letter):
    return np.stack([population.columns[f"{letter}{i}"] for i in range(1, population.space.num_stages + 1)])


@pytest.mark.parametrize("radix", [0, [0, 1, 2, 4]], ids=["plain", "radix"])
@pytest.mark.parametrize("regime", [{"flops": BAND}, SMALL], ids=["imagenet", "small"])
@pytest.mark.parametrize("name", [*(f"AnyNetX{letter}" for letter in "ABCDE"), "AnyNetYC", "RegNetX", "RegNetY"])
def test_every_network_meets_the_definition(name, regime, radix):
    space = catalog.space(name, radix=radix, **regime)
    population = space.sample(60, seed=3)
    assert len(set(population.ids)) == len(population) == 60
    low, high = regime["flops"]
    for network, id_, flops, params, activations in zip(
        population,
        population.ids,
        *(population.columns[q].tolist() for q in ("flops", "params", "activations")),
        strict=True,
    ):
        assert network.id == id_
        assert tuple(complexity(network, space.template.resolution)) == (flops, params, activations)
        assert low <= flops <= high
        assert network.se_ratio == (0.25 if "NetY" in name else 0)
    depths, widths, ratios, groups = (stage_columns(population, letter) for letter in "dwbg")
    assert set(ratios.flat) <= {1, 2, 4}
    assert set(population.columns["radix"].tolist()) <= (set(radix) if radix else {0})
    if name.startswith("AnyNet"):
        letter = name[-1]
        assert depths.max() <= 16
        assert widths.max() <= 1024
        assert letter == "A" or np.all(ratios == ratios[0])
        assert letter < "D" or np.all(np.diff(widths, axis=0) >= 0)
        assert letter < "E" or np.all(np.diff(depths, axis=0) >= 0)
    if name not in ("AnyNetXA", "AnyNetXB"):
        # A single group width g is drawn; a stage that is too narrow for it has its inner width.
        inner = np.rint(widths / ratios)
        assert np.all(groups == np.minimum(groups.max(axis=0), inner))
    if name.startswith("RegNet"):
        assert np.all(depths.sum(axis=0) == population.columns["depth"])
        assert np.all(np.diff(widths, axis=0) >= 0)


def brute_force(space, names, axes):
    """Return the probability of every network of a small space, by applying the constraints to each setting."""
    weights = Counter()
    grids = [list(zip(axis.values.tolist(), axis.probabilities, strict=True)) for axis in axes]
    for setting in itertools.product(*grids):
        values = dict(zip(names, (value for value, _ in setting), strict=True))
        realised = []
        for i in (1, 2):
            width, group = compatible_widths(values[f"w{i}"], values["b"], values["g"])
            realised += [values[f"d{i}"], width, group]
        key = (*realised, values["b"])
        if values["w1"] <= values["w2"] and values["d1"] <= values["d2"]:
            weights[key] += np.prod([p for _, p in setting])
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items()}


@pytest.mark.parametrize("law", [None, "pycls"])
def test_refinement_is_its_parent_conditioned_on_the_constraints(law):
    """Draws of a small two-stage AnyNetXE, compared with the definition, including compatible widths and ties."""
    axes = AnyNetAxes(log_uniform(1, 3, law=law), log_uniform(8, 32, 8, law=law), choice([1, 2]), choice([4, 16]))
    orders = [
        Order("bottleneck_ratio", "shared"),
        Order("group_width", "shared"),
        Order("width", "non_decreasing"),
        Order("depth", "non_decreasing"),
    ]
    space = DesignSpace("tiny", axes, Template(stem=Stem("cifar", 8), strides=(2, 2), resolution=8)).refine(*orders)
    names = ("d1", "d2", "w1", "w2", "b", "g")
    expected = brute_force(
        space, names, (axes.depth, axes.depth, axes.width, axes.width, axes.bottleneck_ratio, axes.group_width)
    )
    n = 60_000
    columns = draw_block(space, Streams(1), n).accepted
    keys = zip(*(columns[c].tolist() for c in ("d1", "w1", "g1", "d2", "w2", "g2", "b1")), strict=True)
    counts = Counter(keys)
    assert set(counts) == set(expected)
    observed = [counts[key] for key in expected]
    assert stats.chisquare(observed, [p * n for p in expected.values()]).pvalue > 1e-3


def test_larger_population_extends_a_smaller_one_for_any_block_size(monkeypatch):
    space = catalog.space("AnyNetXD", flops=BAND)
    small, large = sample(space, 40, seed=5), sample(space, 90, seed=5)
    assert large.ids[:40] == small.ids
    assert small.drawn < large.drawn
    monkeypatch.setattr("designspace.spaces.sampling.BLOCK_SIZE", 977)
    again = sample(space, 90, seed=5)
    assert again == large
    assert again.to_csv() == large.to_csv()
    assert sample(space, 40, seed=6).ids != small.ids


def test_every_draw_is_accounted_for():
    for name in ("AnyNetXA", "AnyNetXE", "RegNetX", "AnyNeSt", "RegNetXConstrained"):
        population = catalog.space(name, flops=BAND, radix=[1, 2]).sample(30)
        assert population.drawn == len(population) + sum(population.rejected.values())


def test_ids_are_pinned():
    """The first networks of seed 0: a change here changes every published population."""
    ids = {name: catalog.space(name, flops=BAND).sample(2).ids for name in ("AnyNetXA", "AnyNetXE", "RegNetX")}
    assert ids == {
        "AnyNetXA": ("45e3acdab41b", "b193fa6130f1"),
        "AnyNetXE": ("ce005c2f0366", "9c3a1a7bccc5"),
        "RegNetX": ("c31b9366f67a", "ff467055a73d"),
    }


def test_ids_with_the_pycls_law_are_pinned():
    ids = {name: catalog.space(name, flops=BAND, law="pycls").sample(2).ids for name in ("AnyNetXE", "RegNetX")}
    assert ids == {"AnyNetXE": ("405ca1077b43", "e8922b6cf1bb"), "RegNetX": ("2a346f0b06e5", "d78b01549857")}


def test_error_for_an_empty_band_counts_the_reasons():
    with pytest.raises(InfeasibleError, match="only 0 of the 5 networks") as caught:
        catalog.space("AnyNetXA", flops=(1, 2)).sample(5)
    assert caught.value.rejected["flops outside 1 to 2"] == caught.value.drawn >= 1_000_000


def test_space_with_too_few_networks_raises():
    axes = AnyNetAxes(choice([1, 2]), choice([8]), choice([1]), choice([8]))
    space = DesignSpace("two", axes, Template(strides=(2,)))
    assert len(space.sample(2)) == 2
    with pytest.raises(InfeasibleError, match="only 2 of the 3 networks") as caught:
        space.sample(3)
    assert caught.value.rejected["duplicate of an earlier network"] == caught.value.drawn - 2


@pytest.mark.parametrize("name", catalog.NAMES)
def test_space_survives_a_round_trip_through_its_description(name):
    space = catalog.space(name, flops=BAND, params=(1e6, 1e7))
    assert space_from_dict(space.to_dict()) == space


@pytest.mark.parametrize("name", ["AnyNetXA", "AnyNetXE", "RegNetX", "RegNetXConstrained", "AnyNeSt"])
def test_pycls_law_changes_probabilities_but_not_the_networks(name):
    rounded, pycls = catalog.space(name), catalog.space(name, law="pycls")
    assert pycls != rounded
    assert space_from_dict(pycls.to_dict()) == pycls
    assert size.settings(pycls) == size.settings(rounded)
    rounded_axes, pycls_axes = named_axes(rounded.axes), named_axes(pycls.axes)
    for axis_name, axis in rounded_axes.items():
        assert pycls_axes[axis_name].grid == axis.grid
        assert pycls_axes[axis_name].law == ("pycls" if axis.kind == "log_uniform" else None)
    assert all(rounded.contains(network) for network in pycls.sample(5))
    assert '"law"' not in json.dumps(rounded.to_dict())


def test_pycls_law_can_be_combined_with_regime_auto():
    space = catalog.space("RegNetX", law="pycls", regime="auto", flops=(3e9, 4e9))
    assert {axis.law for axis in named_axes(space.axes).values() if axis.kind == "log_uniform"} == {"pycls"}


@pytest.mark.parametrize("stages", [1, 3, 5])
def test_number_of_stages_can_be_chosen(stages):
    for name in ("AnyNetXA", "AnyNetXE", "RegNetX"):
        population = catalog.space(name, stages=stages).sample(5)
        assert all(len(network.stages) == stages for network in population)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "AnyNetXF"}, "unknown space 'AnyNetXF'; did you mean AnyNetXA"),
        ({"stages": 0}, "stages must be a whole number >= 1, not 0"),
        ({"stages": 4, "strides": [2, 2]}, "strides .* has 2 values, but stages is 4"),
        ({"stem": "big"}, "unknown stem 'big'"),
        ({"radix": [1, 1.5]}, "radix must be a whole number >= 0, not 1.5"),
        ({"flops": [1]}, "flops must be \\[lowest, highest\\], such as \\[2e6,4e6\\], not \\[1\\]"),
        ({"flops": [5, 1]}, "flops band needs 0 <= low <= high, not 5.0 to 1.0"),
        ({"params": ["a", "b"]}, r"params must be \[lowest, highest\], such as \[2e6,4e6\]"),
        ({"block": "Z"}, "unknown block 'Z'; choose from: X, R, V, VR"),
        ({"group_width": 8}, "group_width must be a list, such as \\[1,2\\], not 8"),
        ({"name": "AnyNeSt", "group_width": [8]}, "AnyNeSt draws cardinalities"),
        ({"block": "V", "radix": 2}, "a single block needs bottleneck_ratio 1, cardinality 1 and radix 0 only"),
        ({"resolution": 0}, "resolution must be a whole number >= 1, not 0"),
        ({"law": "pycsl"}, "the law of a log_uniform axis must be pycls, or null for rounding, not 'pycsl'"),
        ({"name": "Vanilla", "law": "pycls"}, "law='pycls' is for log-uniform axes, and the space has none"),
        ({"num_classes": "ten"}, "num_classes must be a whole number >= 1, not 'ten'"),
    ],
)
def test_invalid_settings_are_rejected(fields, message):
    with pytest.raises(InputError, match=message):
        catalog.space(**{"name": "AnyNetXA", **fields})


def test_invalid_refinements_are_rejected():
    regnet = catalog.space("RegNetX")
    with pytest.raises(InputError, match="follow from its line"):
        regnet.refine(Order("width", "shared"))
    with pytest.raises(InputError, match="more than one order"):
        catalog.space("AnyNetXD").refine(Order("width", "non_increasing"))
    with pytest.raises(InputError, match="unknown complexity 'time'"):
        Band("time", 0, 1)


@pytest.mark.parametrize("n", [0, -1, 2.5, "5", True])
def test_n_must_be_a_positive_whole_number(n):
    with pytest.raises(InputError, match="n must be a whole number >= 1"):
        catalog.space("AnyNetXA").sample(n)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("Vanilla", 1_259_712), ("ResNet", 1_259_712), ("ResNeXt-A", 11_390_625), ("ResNeXt-B", 52_734_375)],
)
def test_spaces_of_nds_have_their_published_sizes(name, settings):
    """Table 1 of arXiv 1905.13214, which counts depths that round to the same number separately."""
    space = catalog.space(name)
    per_stage = np.prod([axis.settings for axis in named_axes(space.axes).values()])
    assert space.num_stages == 3
    assert per_stage**3 == settings


@pytest.mark.parametrize("block", ["X", "R", "V", "VR"])
@pytest.mark.parametrize("name", ["AnyNetXA", "AnyNetXE", "RegNetX"])
def test_blocks_of_the_generalisation_study(name, block):
    """Section 3.4: R is X without groups, V one 3x3 convolution, VR the same with a shortcut."""
    for network in catalog.space(name, block=block).sample(10):
        assert network.block == {"X": "bottleneck", "R": "bottleneck", "V": "single", "VR": "single_residual"}[block]
        if block != "X":
            assert all(stage.cardinality == 1 for stage in network.stages)


def test_bottleneck_ratios_group_width_and_se_ratio_can_be_chosen():
    inverted = catalog.space("RegNetX", bottleneck_ratio=[0.25, 0.5, 1], group_width=[1], se_ratio=0.25).sample(40)
    ratios = {network.stages[0].bottleneck_ratio for network in inverted}
    assert ratios == {0.25, 0.5, 1}
    assert all(stage.group_width == 1 for network in inverted for stage in network.stages)
    assert inverted[0].se_ratio == 0.25


def test_constrained_regnet_meets_its_constraints():
    """b = 1, 12 <= d <= 28, w_m >= 2, params <= 3 + 5.5 f and activations <= 6.5 sqrt(f) millions for f GF."""
    columns = catalog.space("RegNetXConstrained", flops=BAND).sample(100).columns
    assert set(columns["b1"].tolist()) == {1}
    assert columns["depth"].min() >= 12
    assert columns["depth"].max() <= 28
    assert columns["w_m"].min() >= 2
    billions = columns["flops"] / 1e9
    assert np.all(columns["params"] <= (3 + 5.5 * billions) * 1e6)
    assert np.all(columns["activations"] <= 6.5e6 * np.sqrt(billions))


def test_anynest_draws_every_axis():
    columns = catalog.space("AnyNeSt", flops=(1e9, 2e10)).sample(300).columns
    assert set(columns["avd_first"].tolist()) == {0, 1}
    assert set(columns["stem_width"].tolist()) == {64, 128}
    assert set(columns["radix"].tolist()) == {0, 1, 2, 4}


MINE = """
name: Mine
family: anynet
axes:
  depth: {kind: uniform, low: 1, high: 8}
  width: {kind: log_uniform, low: 16, high: 512, step: 16}
  bottleneck_ratio: {kind: choice, values: [1, 2]}
  group_width: {kind: choice, values: [8, 16]}
constraints:
  - {kind: non_decreasing, parameter: width}
"""


def test_custom_space_in_ten_lines():
    space = space_from_dict(yaml.safe_load(MINE))
    axes = AnyNetAxes(uniform(1, 8), log_uniform(16, 512, 16), choice([1, 2]), choice([8, 16]))
    assert space == DesignSpace("Mine", axes).refine(Order("width", "non_decreasing"))
    assert all(space.contains(network) for network in space.sample(20))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("family: cnn", "unknown family 'cnn'; choose from: anynet, regnet"),
        ("axis: {}", "unknown key 'axis'; did you mean 'axes'"),
        ("axes: {depth: {kind: uniform, low: 1, high: 8}}", "axes: width is missing"),
        ("constraints: [{kind: even}]", "unknown kind of constraint 'even'; choose from: shared, non_decreasing"),
        (
            "constraints: [{kind: shared, parameter: colour}]",
            "colour cannot be shared, because the space has no such axis",
        ),
        (
            "constraints: [{kind: shared, parameter: cardinality}]",
            "cardinality cannot be shared, because the space has no such axis",
        ),
        ("template: {stem: {kind: big}}", "unknown stem 'big'"),
    ],
)
def test_errors_in_a_custom_space_are_named(change, message):
    with pytest.raises(InputError, match=message):
        space_from_dict({**yaml.safe_load(MINE), **yaml.safe_load(change)})


def test_regnet_with_slope_equal_to_initial_width():
    """The variant w_a = w_0 of the paper's figure 9 is a subspace with all functions of a space."""
    small = catalog.space("RegNetX", in_channels=1, num_classes=10, resolution=28, stem="cifar", flops=(1e6, 3e6))
    space = dataclasses.replace(small, axes=dataclasses.replace(small.axes, w_a=None))
    population = space.sample(20)
    np.testing.assert_array_equal(population.columns["w_a"], population.columns["w_0"])
    assert space.to_dict()["axes"]["w_a"] == "w_0"
    again = space_from_dict(yaml.safe_load(yaml.safe_dump(space.to_dict())))
    assert again == space
    assert again.sample(20) == population
    assert all(space.contains(network) and small.contains(network) for network in list(population)[:5])
    assert not space.contains(catalog_of_networks.get("regnetx_400mf"))
