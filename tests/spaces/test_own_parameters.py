"""Axes of a block's own parameters: drawn, constrained, counted, written and read, for built-in and custom blocks."""

import dataclasses
import itertools
import sys

import numpy as np
import pytest

from designspace.networks.complexity import complexity
from designspace.spaces import (
    AnyNetAxes,
    DesignSpace,
    Order,
    catalog,
    choice,
    read_population,
    space_from_dict,
    uniform,
)
from designspace.spaces.custom import read_custom_space
from designspace.spaces.estimates import Estimator
from designspace.spaces.parameters import RegNetAxes
from designspace.spaces.size import distinct_networks, settings
from designspace.spaces.template import Template
from designspace.support.errors import InputError

BLOCKS = '''
from torch import nn
from designspace.networks.layers import ONE, conv_norm

class Separable(nn.Module):
    """Depthwise k x k and 1x1, with widths that follow from both."""

    network_parameters = ("activation",)

    def __init__(self, in_width, width, stride, kernel_size=3, activation="relu"):
        super().__init__()
        padding = kernel_size // 2
        self.depthwise = nn.Conv2d(in_width, in_width, kernel_size, stride, padding, groups=in_width, bias=False)
        self.norm1 = nn.BatchNorm2d(in_width)
        self.pointwise = nn.Conv2d(in_width, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.activation = {"relu": nn.ReLU, "silu": nn.SiLU}[activation]()

    def forward(self, x):
        return self.norm2(self.pointwise(self.activation(self.norm1(self.depthwise(x)))))

class Listed(Separable):
    @classmethod
    def layers(cls, block):
        yield from conv_norm(ONE, block.in_width, block.size, kernel=block["kernel_size"])
        yield from conv_norm(block.in_width, block.width, block.size)

class Wrong(Separable):
    @classmethod
    def layers(cls, block):
        yield from conv_norm(block.in_width, block.width, block.size)

class Grouped(nn.Module):
    def __init__(self, in_width, width, stride, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_width, width, 3, stride, 1, groups=groups)

    def forward(self, x):
        return self.conv(x)
'''
SMALL = {"stem": "cifar", "stem_width": 8, "num_classes": 10, "resolution": 16}


@pytest.fixture(scope="module", autouse=True)
def own_space_blocks(tmp_path_factory):
    """A module with custom blocks that can be imported."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "own_space_blocks.py").write_text(BLOCKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    sys.modules.pop("own_space_blocks", None)


def custom(name, base="AnyNetXA", **options):
    return catalog.space(base, block=f"own_space_blocks:{name}", **{**SMALL, **options})


def small(block="mbconv", **axes):
    """A space of two stages of a built-in block."""
    own = tuple((name, choice(values)) for name, values in axes.items())
    return DesignSpace(
        "Small",
        AnyNetAxes(uniform(1, 2), choice([8, 16]), choice([1]), cardinality=choice([1]), own=own),
        Template(strides=(1, 2), block=block, resolution=16),
    )


@pytest.mark.parametrize(
    "space",
    [
        small(kernel_size=[3, 5], expansion=[1, 3, 6]),
        small("convnext", kernel_size=[3, 7]).refine(Order("kernel_size", "non_increasing")),
        catalog.space("RegNetX", block="shufflenet", kernel_size=[3, 5], flops=[1e8, 2e8]),
        catalog.space("MBConv", flops=[360e6, 400e6], activation=["relu", "silu"]),
        catalog.space("ConvNeXt", flops=[4.25e9, 4.7e9]),
    ],
    ids=lambda space: f"{space.name}-{space.template.block}",
)
def test_drawn_networks_are_members_and_read_back(space, tmp_path):
    population = space.sample(12, seed=3)
    population.write(tmp_path)
    assert read_population(tmp_path) == population
    assert space_from_dict(space.to_dict()) == space
    for network, id_ in zip(population, population.ids, strict=True):
        assert network.id == id_
        assert space.contains(network), str(space.contains(network))
        row = list(population.ids).index(id_)
        counted = [int(population.columns[name][row]) for name in ("flops", "params", "activations")]
        assert [*complexity(network, space.template.resolution)] == counted


@pytest.mark.parametrize("name", ["MBConv", "ConvNeXt"])
def test_budgets_of_published_networks_accept_one_percent_of_draws(name):
    band = {"MBConv": [366e6, 405e6], "ConvNeXt": [4.25e9, 4.7e9]}[name]
    population = catalog.space(name, flops=band).sample(100)
    assert len(population) / population.drawn > 0.01


def test_orders_hold_for_own_parameters():
    space = small(kernel_size=[3, 5, 7], expansion=[1, 2]).refine(
        Order("kernel_size", "non_decreasing"), Order("expansion", "shared")
    )
    columns = space.sample(40).columns
    assert np.all(columns["kernel_size1"] <= columns["kernel_size2"])
    assert np.all(columns["expansion1"] == columns["expansion2"])
    network = next(n for n in small(kernel_size=[3, 5, 7], expansion=[1, 2]).sample(200) if not space.contains(n))
    assert "must be" in str(space.contains(network))


def test_a_regnet_shares_own_parameters():
    columns = catalog.space("RegNetX", block="mbconv", kernel_size=[3, 5, 7], flops=[1e8, 2e8]).sample(30).columns
    assert len(np.unique(columns["kernel_size1"])) > 1
    assert all(np.array_equal(columns["kernel_size1"], columns[f"kernel_size{i}"]) for i in (2, 3, 4))


def test_networks_with_own_parameters_are_counted():
    space = small(kernel_size=[3, 5], expansion=[1, 2]).refine(Order("expansion", "non_decreasing"))
    # Depth and width: 2 values in each of two stages; kernel_size: 2 each; expansion: 3 ordered pairs.
    assert settings(space) == distinct_networks(space) == 2**2 * 2**2 * 2**2 * 3
    assert len(space.sample(192)) == 192


def test_defaults_change_no_id():
    given, default = small(kernel_size=[3], expansion=[6]), small()
    assert given.sample(10).ids == default.sample(10).ids


def test_texts_are_drawn_with_their_weights():
    axis = choice(["relu", "silu", "relu"])
    drawn = axis.draw(np.random.PCG64(0).random_raw(30_000))
    assert set(drawn) == {"relu", "silu"}
    assert abs(np.mean(drawn == "relu") - 2 / 3) < 0.01
    assert axis.to_dict() == {"kind": "choice", "values": ["relu", "relu", "silu"]}
    with pytest.raises(InputError, match="values of activation have no order, so they can only be shared"):
        DesignSpace(
            "Texts",
            AnyNetAxes(uniform(1, 2), choice([8]), choice([1]), cardinality=choice([1]), own=(("activation", axis),)),
            Template(strides=(1,), block="nowhere:Block"),
            constraints=(Order("activation", "non_decreasing"),),
        )


def test_custom_blocks_are_sampled_written_and_read_without_their_file(tmp_path, monkeypatch):
    space = custom("Separable", kernel_size=[3, 5], activation=["relu", "silu"], flops=[3e5, 6e5])
    population = space.sample(20, seed=1)
    population.write(tmp_path)
    assert set(population.columns["activation"]) == {"relu", "silu"}
    assert set(np.unique(population.columns["kernel_size3"])) == {3, 5}
    for network in population[:5]:
        assert space.contains(network), str(space.contains(network))
    monkeypatch.setitem(sys.modules, "own_space_blocks", None)  # importing it would now fail
    assert read_population(tmp_path) == population
    assert [network.id for network in read_population(tmp_path)] == list(population.ids)


def test_estimates_change_no_population(monkeypatch):
    space = custom("Separable", kernel_size=[3, 5, 7], flops=[3e5, 6e5], params=[1e3, 1e5])
    population = space.sample(30)
    monkeypatch.setattr(Estimator, "may_allow", lambda self, limit, columns: np.ones(len(columns["d1"]), bool))
    exact = space.sample(30)
    assert exact == population


def test_estimates_leave_out_blocks_that_cannot_be_built(monkeypatch):
    space = custom("Grouped", groups=[1, 12], flops=[3e5, 3e6])
    population = space.sample(20)
    monkeypatch.setattr(Estimator, "may_allow", lambda self, limit, columns: np.ones(len(columns["d1"]), bool))
    assert space.sample(20).ids == population.ids


def test_estimates_of_regnets_and_caps_change_no_population(monkeypatch):
    space = custom("Separable", "RegNetXConstrained", kernel_size=[3, 5], flops=[1e6, 5e6])
    population = space.sample(8)
    monkeypatch.setattr(Estimator, "may_allow", lambda self, limit, columns: np.ones(len(columns["d1"]), bool))
    assert space.sample(8) == population


def test_listed_layers_give_the_same_population():
    options = {"kernel_size": [3, 5], "flops": [3e5, 6e5]}
    traced, listed = (custom(name, **options).sample(15) for name in ("Separable", "Listed"))
    assert all(np.array_equal(traced.columns[name], listed.columns[name]) for name in ("w1", "w4", "flops", "params"))
    with pytest.raises(
        InputError, match=r"Wrong.layers lists [\d,]+ flops for a block of stage 1 .* but the module has"
    ):
        custom("Wrong", **options).sample(15)


def test_blocks_that_cannot_be_built_are_rejected():
    population = custom("Grouped", groups=[1, 12], flops=[3e5, 3e6]).sample(10)
    reason = "own_space_blocks:Grouped cannot be built"
    assert population.rejected[reason] > 0
    for widths, groups in (([f"w{i}" for i in range(1, 5)], [f"groups{i}" for i in range(1, 5)]),):
        for width, group in zip(widths, groups, strict=True):
            assert np.all(population.columns[width] % population.columns[group] == 0)
    with pytest.raises(InputError, match=r"Grouped\(in_width=8, .*groups=7\) raised ValueError: .*divisible by groups"):
        custom("Grouped", groups=[7], flops=[3e5, 3e6]).sample(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kernal_size": [3]},
            "unknown parameter 'kernal_size' of own_space_blocks:Separable blocks; did you mean kernel_size",
        ),
        ({"kernel_size": ["a"]}, "kernel_size takes numbers, such as 3, not"),
        ({"activation": [1]}, "activation takes texts, such as relu, not"),
        ({"kernel_size": []}, "kernel_size: an axis needs at least one value"),
        ({"kernel_size": {"kind": "normal"}}, "kernel_size: unknown kind of axis 'normal'"),
        ({"radix": [1, 2]}, "block has no radix; leave out space.radix"),
        ({"group_width": [1]}, "block has no group_width; leave out space.group_width"),
        ({"se_ratio": 0.25}, "block has no se_ratio; leave out space.se_ratio"),
        ({"regime": "auto", "flops": [1e6, 2e6]}, "regime=auto needs a block that lists its layers"),
    ],
)
def test_values_that_a_block_does_not_take_are_errors(options, message):
    with pytest.raises(InputError, match=message):
        custom("Separable", **options)


@pytest.mark.parametrize(
    ("block", "options", "message"),
    [
        ("mbconv", {"kernel_size": [3, 4]}, "kernel_size must be odd, not 4"),
        ("mbconv", {"expansion": [0]}, "expansion must be a number >= "),
        ("mbconv", {"activation": ["tanh"]}, "unknown activation 'tanh'; choose from: relu, silu"),
        ("shufflenet", {"expansion": [2]}, "unknown parameter 'expansion' of shufflenet blocks"),
        ("bottleneck", {"kernel_size": [3]}, "unknown parameter 'kernel_size' of bottleneck blocks"),
        ("own_space_blocks:Grouped", {}, "needs values for groups, which has no default: space.groups="),
        ("own_space_blocks:Nothing", {}, "has no attribute 'Nothing'"),
        ("nowhere_at_all:Block", {}, "is it in the working folder or on PYTHONPATH"),
        ("mine.Block", {}, "unknown block 'mine.Block'; choose from: X, R, V, VR"),
    ],
)
def test_own_parameters_of_blocks_are_checked(block, options, message):
    with pytest.raises(InputError, match=message):
        catalog.space("AnyNetXA", block=block, **options)


FILE = """
name: Mine
family: anynet
axes:
  depth: {kind: uniform, low: 1, high: 2}
  width: {kind: choice, values: [8, 16]}
  bottleneck_ratio: {kind: choice, values: [1]}
  cardinality: {kind: choice, values: [1]}
  kernel_size: {kind: choice, values: [3, 5]}
constraints: [{kind: shared, parameter: kernel_size}]
template: {block: "own_space_blocks:Separable", stem: {kind: cifar, width: 8}, strides: [1, 2], resolution: 16}
"""


def test_a_file_of_a_space_has_own_axes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(FILE + "network_axes: {activation: {kind: choice, values: [silu]}}\n")
    space = read_custom_space(path, {}, {})
    assert space.column_names()[-3:] == ["kernel_size2", "radix", "activation"]
    columns = space.sample(8).columns
    assert np.array_equal(columns["kernel_size1"], columns["kernel_size2"])
    assert set(columns["activation"]) == {"silu"}
    path.write_text(FILE)
    assert dict(read_custom_space(path, {}, {}).own_network_axes)["activation"] == choice(["relu"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "parameter: kernel_size",
            "parameter: kernal_size",
            "kernal_size cannot be shared, .*choose from: .*kernel_size",
        ),
        ('"own_space_blocks:Separable"', "mbconv", None),
        ('"own_space_blocks:Separable"', "basic", "axes: unknown key 'kernel_size'"),
        (
            "kernel_size: {kind: choice, values: [3, 5]}",
            "activation: {kind: choice, values: [relu]}",
            "kernel_size cannot",
        ),
    ],
)
def test_own_axes_in_a_file_are_checked(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.replace(old, new))
    if message is None:
        assert read_custom_space(path, {}, {}).sample(2)
        return
    with pytest.raises(InputError, match=message):
        read_custom_space(path, {}, {})


def test_every_own_axis_is_in_the_digest_of_a_space():
    from designspace.spaces.seeds import description_digest

    spaces = [small(), small(kernel_size=[3, 5]), small(kernel_size=[3, 7]), dataclasses.replace(small(), name="Other")]
    digests = [description_digest(space) for space in spaces]
    assert len(set(digests)) == 4
    assert all(a != b for a, b in itertools.combinations(digests, 2))


def test_the_axes_of_both_families_are_sorted_and_unique():
    axes = (("b_axis", choice([1])), ("a_axis", choice([1])))
    regnet = catalog.space("RegNetX").axes
    assert isinstance(regnet, RegNetAxes)
    assert [name for name, _ in dataclasses.replace(regnet, own=axes).own] == ["a_axis", "b_axis"]
    with pytest.raises(InputError, match="a parameter has two axes"):
        dataclasses.replace(regnet, own=(*axes, axes[0]))
