"""Exported models give the outputs of the module at any batch and image size, and exporting does not change the module.

experiments/benchmark_export exports the published networks at full depth and width; these tests use small networks of
the same kinds, because the exporter's time grows with the number of layers.
"""

import functools
import importlib
import warnings

import pytest
import torch
from kinds import EVERYTHING, EXPORTED, SIMPLER, SIZES, images, model_with_varied_state, traits

from designspace.library.export import check_onnx, check_onnx_packages, to_onnx, to_torch_export
from designspace.models import AnyNet
from designspace.networks import catalog
from designspace.networks.network import BLOCKS, Network, Stage, Stem
from designspace.spaces.catalog import space
from designspace.support.errors import InputError, RunError

LARGE = [size for size in SIZES if size[1] > 32]
SMALL = {"stem": "cifar", "stem_width": 8, "in_channels": 1, "num_classes": 10, "resolution": 28, "flops": (2e5, 6e5)}


def test_the_exported_networks_cover_the_published_ones():
    covered = set().union(*(traits(network) for network in EXPORTED.values()))
    for name in catalog.names():
        assert traits(catalog.get(name)) <= covered, name
    assert {network.block for network in EVERYTHING.values()} == set(BLOCKS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.file"


@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_computes_the_same(name, path):
    model = model_with_varied_state(EXPORTED[name])
    to_onnx(model, path)
    assert check_onnx(path, model, SIZES) < 2e-6
    assert [entry.name for entry in path.parent.iterdir()] == ["model.file"]


def sample_network():
    """Return the shallowest network with a radix of 4 that a space draws, in four stages."""
    population = space("RegNeSt", **SMALL).sample(40)
    return min((network for network in population if network.radix == 4), key=lambda network: network.depth)


@pytest.mark.parametrize("name", [*EVERYTHING, "sample_network"])
def test_torch_export_computes_the_same(name, path):
    model = model_with_varied_state(sample_network() if name == "sample_network" else EVERYTHING[name])
    to_torch_export(model, path, 64)
    program = torch.export.load(path).module()
    model.eval()
    with torch.inference_mode():
        for size in LARGE:
            x = images(model.network, size)
            torch.testing.assert_close(program(x), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", EVERYTHING)
def test_torchscript_traces_compute_the_same(name):
    model = model_with_varied_state(EVERYTHING[name]).eval()
    traced = torch.jit.trace(model, images(model.network, SIZES[2]))
    with torch.inference_mode():
        for size in SIZES:
            x = images(model.network, size)
            torch.testing.assert_close(traced(x), model(x))


def test_torch_export_accepts_only_the_documented_sizes(path):
    """This holds even if the last map has one pixel at the resolution of the data; other sizes are rejected."""
    stages = tuple(Stage(1, 8, 2, 1, 4) for _ in range(5))
    model = model_with_varied_state(Network(Stem("cifar", 8), stages, num_classes=5, in_channels=1)).eval()
    to_torch_export(model, path, 28)
    program = torch.export.load(path).module()
    for size in ((1, 28, 28), (3, 27, 19)):
        x = images(model.network, size)
        torch.testing.assert_close(program(x), model(x))
    with pytest.raises(AssertionError, match="Guard failed"):
        program(images(model.network, (1, 64, 64)))


def snapshot(model):
    """Return everything in a model that an export might change."""
    weight = model.stem[0].conv.weight if hasattr(model.stem[0], "conv") else model.stem.conv.weight
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return state, model.training, weight.stride(), [len(module._forward_hooks) for module in model.modules()]


def test_exporting_does_not_change_the_model(path):
    model = model_with_varied_state(EXPORTED["average-pool shortcut of stride 3"])
    model.to(memory_format=torch.channels_last)
    model.stages[0].eval()  # a frozen stage
    hook_calls = []
    model.stem.register_forward_hook(lambda *_: hook_calls.append("hook"))
    model.stem.register_forward_pre_hook(lambda *_: hook_calls.append("pre"))
    (state, *others), modes = snapshot(model), [module.training for module in model.modules()]
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    to_onnx(model, path)
    check_onnx(path, model, SIZES[:1])
    to_torch_export(model, path, 64)
    (state_after, *others_after), modes_after = snapshot(model), [module.training for module in model.modules()]
    assert others_after == others
    assert modes_after == modes
    assert all(torch.equal(state_after[key], value) for key, value in state.items())
    assert not hook_calls
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert not any("LeafSpec" in str(entry) for entry in warnings.filters)
    model(images(model.network, SIZES[0]))
    assert hook_calls == ["pre", "hook"]


def test_check_onnx_detects_a_difference(path):
    model = model_with_varied_state(SIMPLER["single"])
    to_onnx(model, path)
    with torch.no_grad():
        model.head.classifier.bias += 0.5
    assert check_onnx(path, model, [(1, 28, 28)]) > 1e-2


def test_a_file_that_is_not_onnx_is_an_error(path):
    for content in (b"", b"onnx" * 100):
        path.write_bytes(content)
        with pytest.raises(RunError, match="onnxruntime cannot run .*model.file"):
            check_onnx(path, AnyNet(SIMPLER["single"]), SIZES)
    with pytest.raises(RunError, match=r"cannot read .*nothing\.onnx"):
        check_onnx(path.with_name("nothing.onnx"), AnyNet(SIMPLER["single"]), SIZES)


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_installation(name, path, monkeypatch):
    """The import fails as on a machine without the package."""
    import_module = importlib.import_module

    def without(package, *others):
        if package == name:
            raise ModuleNotFoundError(f"No module named {package!r}")
        return import_module(package, *others)

    monkeypatch.setattr(importlib, "import_module", without)
    check = functools.partial(check_onnx, path, AnyNet(SIMPLER["single"]), SIZES)
    with pytest.raises(InputError, match=f"needs the package {name}: pip install onnx onnxscript onnxruntime"):
        (check if name == "onnxruntime" else check_onnx_packages)()
