"""Blocks, stems and heads in the user's own files: their layers, their modules, and what is wrong with bad ones."""

import dataclasses
import importlib
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from custom_source import SOURCE
from hypothesis import given, settings
from hypothesis import strategies as st
from test_anynet import measure

import designspace
from designspace.data.presets import Preset
from designspace.library.saved import write_model
from designspace.models import AnyNet, Backbone, tracing
from designspace.models.info import OWN_LICENCE, ModelInfo
from designspace.networks import blocks, heads, stems
from designspace.networks.columns import NetworkColumns, StageColumns
from designspace.networks.complexity import Complexity, complexity, totals
from designspace.networks.network import Network, Stage, Stem
from designspace.networks.user_class import CannotBuildError
from designspace.support.errors import InputError

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.sampled_from((1, 3, 5)))


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    """Make the user's file, which Python can import; return its name."""
    folder = tmp_path_factory.mktemp("custom")
    (folder / "custom_parts.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield "custom_parts"


def network(block="Block", stages=((2, 8, 2), (1, 12, 1)), own=(), **fields):
    shapes = tuple(Stage(depth, width, stride, 1, width, own) for depth, width, stride in stages)
    values = {"stem": Stem("cifar", 8), "num_classes": 5, "in_channels": 1, **fields}
    return Network(stages=shapes, block=f"custom_parts:{block}" if block[0].isupper() else block, **values)


@settings(max_examples=25, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=2), st.sampled_from((0.5, 2)), st.integers(5, 17))
def test_traced_layers_are_those_that_are_listed_and_those_that_run(shapes, factor, resolution):
    counted = []
    for block in ("Block", "Functional", "Listed"):
        stages = tuple(
            Stage(depth % 3 + 1, width + 1, stride, 1, width + 1, (("factor", factor), ("kernel", kernel)))
            for depth, width, stride, kernel in shapes
        )
        value = dataclasses.replace(network(block), stages=stages, parameters=(("mode", "add"),))
        counted.append(complexity(value, resolution))
        assert counted[-1].params == sum(parameter.numel() for parameter in AnyNet(value).parameters())
        if block != "Functional":  # whose functions have no hooks
            assert measure(AnyNet(value), resolution) == counted[-1]
    assert counted[0] == counted[1] == counted[2]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 16), st.integers(1, 16), st.integers(0, 6), st.sampled_from((3, 7)), st.integers(4, 33))
def test_stems_and_heads_are_counted_like_they_run(stem_width, width, head_width, kernel, resolution):
    value = network(
        "shufflenet",
        stages=((2, 2 * width, 2),),
        stem=Stem("custom_parts:Stem", stem_width),
        head="custom_parts:Head",
        head_width=head_width,
        parameters=(("head_kind", "max"), ("stem_kernel", kernel)),
    )
    assert measure(AnyNet(value), resolution) == complexity(value, resolution)


def test_modules_that_are_only_built_give_the_layers_of_a_full_run(monkeypatch):
    widths = [(a, b) for a, b in itertools.product((1, 4, 7), (1, 4, 9))]
    values = [
        network(block, stages=((2, b, 2),), stem=Stem("cifar", a))
        for a, b in widths
        for block in ("Block", "Functional")
    ]
    clear()
    runs = []
    recorded = tracing._recorded
    monkeypatch.setattr(tracing, "_recorded", lambda *arguments: runs.append(arguments) or recorded(*arguments))
    quick = [complexity(value, 9) for value in values]
    assert len(runs) == 4  # the first and the second block of two classes
    slow = []
    for value in values:
        clear()
        slow.append(complexity(value, 9))
    assert quick == slow


def clear():
    """Forget all traces."""
    tracing._traced.cache_clear()
    tracing._calls_of.cache_clear()


def test_a_module_that_needs_numbers_is_run_with_them():
    value = network("NeedsNumbers")
    assert complexity(value, 9) == measure(AnyNet(value), 9)


@pytest.mark.parametrize("part", ["block", "stem", "head"])
def test_only_the_seed_determines_the_weights(part):
    parts = {"stem": Stem("custom_parts:Stem", 8), "head": "custom_parts:Head"}
    value = network("Block" if part == "block" else "basic", **{part: parts[part]} if part in parts else {})
    torch.manual_seed(5)
    before = torch.get_rng_state()
    clear()
    complexity(value, 9)
    model = AnyNet(value, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    again, other = AnyNet(value, seed=3), AnyNet(value, seed=4)
    x = torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.eval()(x), again.eval()(x))
    assert not torch.equal(model(x), other.eval()(x))


def test_shared_parameters_reach_the_constructor():
    stages = (Stage(2, 16, 2, 2, 4), Stage(1, 24, 1, 1, 6))
    value = dataclasses.replace(network("Grouped"), stages=stages, se_ratio=0.25, radix=2)
    model = AnyNet(value)
    assert [block.conv.groups for stage in model.stages for block in stage] == [1, 1, 4]
    assert model.stages[0][0].radix == 2
    assert complexity(value, 9) == measure(model, 9)


def test_own_parameters_are_part_of_the_network():
    value = network("Block", own=(("factor", 3.0), ("kernel", 5)), parameters=(("mode", "add"),))
    assert Network.from_json(value.to_json()) == value
    assert value.id != network("Block").id
    block = AnyNet(value).stages[0][0]
    assert (block.spatial.kernel_size, block.widen.out_channels, block.mode) == ((5, 5), 24, "add")


@pytest.mark.parametrize(
    ("get", "name", "message"),
    [
        (blocks.get, "nothing_here:Block", "space.block: nothing_here:Block cannot be imported .*working folder"),
        (blocks.get, "custom_parts:Missing", "space.block: custom_parts:Missing cannot be imported"),
        (blocks.get, "custom_parts:not_a_class", "not_a_class must be a torch module"),
        (blocks.get, "custom_parts:NoModule", "NoModule must be a torch module"),
        (blocks.get, "custom_parts:NoWidth", "must take in_width, width, stride .* but it takes in_width, stride"),
        (blocks.get, "custom_parts:ListDefault", r"default of kernels of .* number or text, not \(3, 5\)"),
        (blocks.get, "custom_parts:Reserved", "the parameter depth of custom_parts:Reserved needs another name"),
        (blocks.get, "custom_parts:EndsWithDigit", "the parameter kernel_1 .* must not end with a digit"),
        (stems.get, "custom_parts:NoStride", "space.stem: .*NoStride needs a class attribute stride.* not None"),
        (stems.get, "custom_parts:Block", "must take in_channels, width and any"),
        (heads.get, "custom_parts:Stem", "space.head: the constructor of custom_parts:Stem must take in_width, num"),
    ],
)
def test_classes_that_are_no_parts_are_one_error(get, name, message):
    with pytest.raises(InputError, match=message) as caught:
        get(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block": "WrongShape"}, r"maps \(1, 8, 9, 9\) to \(1, 8, 9, 9\), but it must give \(1, 8, 5, 5\)"),
        ({"block": "Raises"}, r"Raises\(in_width=8, width=12, stride=1\) raised ValueError: too wide"),
        ({"block": "FailsToRun"}, r"FailsToRun\(.*\) fails for an input of shape \(1, 8, 9, 9\): RuntimeError"),
        ({"block": "NoModuleWithForward"}, "NoModuleWithForward must be a torch module, derived from torch.nn.Module"),
        ({"block": "BadLayers"}, "BadLayers.layers must give designspace.networks.layers.Layer, not 3"),
        ({"block": "FailingLayers"}, "FailingLayers.layers raised KeyError: 'oops'"),
        (
            {"block": "basic", "head": "custom_parts:WrongClasses"},
            r"WrongClasses\(.*\) maps .* to \(1, 4\), but it must give \(1, 5\)",
        ),
    ],
)
def test_modules_that_cannot_be_counted_are_one_error(fields, message):
    with pytest.raises(InputError, match=message) as caught:
        complexity(network(**fields), 9)
    assert "\n" not in str(caught.value)


def test_the_error_names_the_networks_that_cannot_be_built():
    widths = np.array([4, 12, 8, 9])
    columns = dataclasses.replace(
        NetworkColumns.of(network("Raises", stages=((1, 8, 1),)), np.int64),
        stages=(StageColumns(np.ones(4, np.int64), widths, 1, np.ones(4), widths),),
    )
    with pytest.raises(CannotBuildError, match="too wide") as caught:
        totals(columns, 9, Complexity._fields)
    assert caught.value.rows.tolist() == [False, True, False, True]


def test_options_that_a_part_does_not_take_are_errors():
    with pytest.raises(
        InputError, match="recipe.drop_path=.* needs a block that takes drop_path, .*custom_parts:Block"
    ):
        AnyNet(network("Block"), drop_path=0.1)
    rates = [block.rate for stage in AnyNet(network("Dropping"), drop_path=0.2).stages for block in stage]
    assert rates == [0.0, 0.1, 0.2]
    assert all("drop_path" not in name for name, _ in network("Dropping").parameters)
    with pytest.raises(InputError, match="output_stride is not possible for the custom block custom_parts:Block"):
        AnyNet(network("Block"), output_stride=1)
    for first, second in zip(
        AnyNet(network("Block"), zero_init_residual=True).parameters(),
        AnyNet(network("Block")).parameters(),
        strict=True,
    ):
        assert torch.equal(first, second)  # a block without such a method stays as it is
    assert AnyNet(network("basic", head="custom_parts:Head"), dropout=0.5).head.rate == 0.5


def test_features_of_a_custom_stem_and_block():
    value = network("Block", stem=Stem("custom_parts:Stem", 8), in_channels=3)
    backbone = Backbone(AnyNet(value).eval())
    info = backbone.feature_info
    assert (info.reduction(), info.channels()) == ([4, 8, 8], [8, 8, 12])
    maps = backbone(torch.randn(1, 3, 32, 32))
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 8, 8), (8, 4, 4), (12, 4, 4)]


def test_a_model_folder_needs_the_users_file(tmp_path, monkeypatch):
    value = network("Block", stem=Stem("custom_parts:Stem", 8), head="custom_parts:Head")
    model = AnyNet(value, seed=2).eval()
    info = ModelInfo("mine", Preset(crop=9, resize=9, mean=(0.5,), std=(0.5,)), "made up", OWN_LICENCE)
    write_model(tmp_path / "model", model, info)
    loaded = designspace.load(tmp_path / "model")
    x = torch.randn(2, 1, 9, 9)
    assert torch.equal(loaded.eval()(x), model(x))
    script = f"import designspace; designspace.load({str(tmp_path / 'model')!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode
    assert re.search(
        r"custom_parts:\w+ cannot be imported \(No module named 'custom_parts'\); is it in the working folder",
        done.stderr.splitlines()[-1],
    )
