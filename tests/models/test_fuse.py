"""`fuse` changes only what it documents, and detects later changes of the model."""

import copy
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from kinds import EVERYTHING, images, model_with_varied_state
from test_fused import record_calls
from torch import nn
from torch.overrides import TorchFunctionMode

from designspace.data.images import ImageData
from designspace.library.verification import verify
from designspace.models import AnyNet, fuse, unfuse
from designspace.models.blocks import Block
from designspace.models.cpu import fused, kernels
from designspace.models.layers import ConvNorm
from designspace.networks.network import Network, Stage, Stem
from designspace.training import train_model
from designspace.trials.recipe import Recipe

NETWORK = Network(Stem("cifar", 8), (Stage(2, 16, 2, 1, 8), Stage(1, 24, 2, 2, 4)), num_classes=5)
X = images(NETWORK, (3, 17, 15))


@pytest.fixture(autouse=True)
def _compiled_and_on_one_thread(one_thread):
    assert kernels.library() is not None


def classes(model):
    return [type(module) for module in model.modules()]


@pytest.mark.parametrize("name", EVERYTHING)
def test_fuse_changes_only_classes_and_unfuse_restores_them(name):
    model = model_with_varied_state(EVERYTHING[name])
    names, kinds, state = [n for n, _ in model.named_modules()], classes(model), model.state_dict()
    assert fuse(model) is model
    assert [n for n, _ in model.named_modules()] == names
    assert (classes(model) != kinds) == (name != "convnext_tiny")  # which has no batch-norm
    assert all(isinstance(module, kind) for module, kind in zip(model.modules(), kinds, strict=True))
    assert list(model.state_dict()) == list(state)
    assert fuse(model) is unfuse(model) is model
    assert classes(model) == kinds
    assert not any("_plan" in module.__dict__ for module in model.modules())


def test_fused_is_limited_to_its_context(monkeypatch):
    kernel_calls, model = record_calls(monkeypatch), AnyNet(NETWORK)
    plain = classes(model)
    with fused(model):
        model(X)
        with fused(model):
            pass
        assert classes(model) != plain
    assert kernel_calls
    assert classes(model) == plain
    fuse(model)
    fused_classes = classes(model)
    with fused(model):
        pass
    assert classes(model) == fused_classes


SCRIPT = """
import ctypes, torch
from designspace.models import create_model
libraries = []
ctypes.CDLL = lambda *names: libraries.append(names)
create_model("regnetx_200mf")(torch.randn(2, 3, 32, 32)).sum().backward()
assert libraries == [], libraries
"""


def test_a_plain_model_needs_no_compiler_and_changes_no_settings(tmp_path):
    environment = {"DESIGNSPACE_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


def tiny_images():
    def part(count):
        generator = np.random.default_rng(count)
        return generator.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), generator.integers(0, 5, count)

    return ImageData("tiny", *part(16), *part(8), 5, (0.5,) * 3, (0.25,) * 3)


def test_training_and_verification_use_kernels_and_leave_the_model_plain(monkeypatch):
    kernel_calls, model = record_calls(monkeypatch), AnyNet(NETWORK)
    plain = classes(model)
    train_model(model, Recipe(data="tiny", epochs=1, batch_size=8), tiny_images())
    assert {"join_forward", "join_backward"} <= set(kernel_calls)
    kernel_calls.clear()
    verify(model, tiny_images(), device="cpu")
    assert "join_forward" in kernel_calls
    assert "join_backward" not in kernel_calls
    assert classes(model) == plain


def outputs(model):
    """Return a model's outputs and gradients in both modes."""
    results = []
    for training in (False, True):
        model.train(training)
        with torch.no_grad():
            results.append(model(X))
        loss = model(X).square().sum()
        results += [loss.detach(), *torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)]
    return results


class Scale(nn.Module):
    """A shortcut that broadcasts: a kernel that reads it as a whole map would read other memory."""

    def forward(self, x):
        return x.mean((1, 2, 3), keepdim=True)


def override_forward(model):
    model.stages[0][0].transform.conv1.relu.forward = lambda x: x


def prune_in_place(model):
    """Prune channels in place: the parameter objects stay the same but have fewer values."""
    first, second = model.stages[0][0].transform.conv1, model.stages[0][0].transform.conv2
    first.conv.weight.data = first.conv.weight.data[:8]
    first.norm.weight.data, first.norm.bias.data = first.norm.weight.data[:8], first.norm.bias.data[:8]
    first.norm.running_mean, first.norm.running_var = first.norm.running_mean[:8], first.norm.running_var[:8]
    second.conv.weight.data = second.conv.weight.data[:, : 8 // second.conv.groups]


def make_noncontiguous(model):
    first = model.stages[0][0].transform.conv1
    first.conv.weight.data = first.conv.weight.data.repeat(1, 2, 1, 1)[:, ::2]  # not contiguous


CHANGES = {
    "forward of an instance": override_forward,
    "weights apart in memory": make_noncontiguous,
    "fewer values": prune_in_place,
    "another stride": lambda m: (
        setattr(m.stages[1][0].transform.conv2.conv, "stride", (1, 1))
        or setattr(m.stages[1][0].shortcut.conv, "stride", (1, 1))
    ),
    "reflecting borders": lambda m: setattr(m.stages[0][0].transform.conv2.conv, "padding_mode", "reflect"),
    "another momentum": lambda m: setattr(m.stages[0][0].transform.conv2.norm, "momentum", None),
    "statistics not kept": lambda m: setattr(m.stages[0][0].transform.conv2.norm, "track_running_stats", False),
    "a layer more": lambda m: m.stages[0][0].transform.conv2.append(nn.Tanh()),
    "a layer more in the block": lambda m: m.stages[0][0].transform.append(nn.Tanh()),
    "a broadcasting shortcut": lambda m: setattr(m.stages[0][1], "shortcut", Scale()),
    "a bias": lambda m: setattr(m.stages[0][0].transform.conv1.conv, "bias", nn.Parameter(torch.ones(16))),
    "dropping": lambda m: setattr(m.stages[0][1], "drop_path", nn.Hardtanh()),
    "a shared layer": lambda m: setattr(m.stages[0][1].transform, "conv1", m.stages[0][1].transform.conv2),
    "frozen": lambda m: [p.requires_grad_(False) for p in m.stages[0][0].parameters()],
    "values in place": lambda m: [p.data.mul_(1.5) for p in m.parameters()],
    "weights elsewhere in memory": lambda m: [setattr(p, "data", p.data.clone()) for p in m.parameters()],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("block", ["bottleneck", "basic"])
def test_later_changes_take_effect(change, block):
    network = NETWORK
    if block == "basic":
        network = Network(
            Stem("cifar", 8), (Stage(2, 16, 2, 1, 16), Stage(1, 24, 2, 1, 24)), block=block, num_classes=5
        )
    reference = model_with_varied_state(network)
    model = fuse(copy.deepcopy(reference))
    for module in (model, reference):
        outputs(module)
        CHANGES[change](module)
    if change == "frozen":
        assert not any(p.requires_grad for p in model.stages[0][0].parameters())
        for module in (model, reference):
            module.train()(X).sum().backward()
        for actual, expected_value in zip(model.parameters(), reference.parameters(), strict=True):
            assert (actual.grad is None) == (expected_value.grad is None)
        return
    try:
        expected = outputs(reference)
    except RuntimeError as error:  # shapes do not fit any more
        with pytest.raises(RuntimeError, match=re.escape(str(error).splitlines()[0])):
            outputs(model)
        return
    for actual, expected_value in zip(outputs(model), expected, strict=True):
        if expected_value is None:
            assert actual is None
            continue
        scale = max(1.0, expected_value.abs().max().item())
        torch.testing.assert_close(actual, expected_value, rtol=1e-3, atol=1e-4 * scale)


def test_modified_modules_are_not_fused():
    model = AnyNet(NETWORK)
    block = model.stages[0][0]
    block.transform.conv1.relu = nn.SiLU()
    model.stages[0][1].forward = model.stages[0][1].forward
    model.stages[1].double()
    fuse(model)
    assert type(block.transform.conv1) is ConvNorm
    assert type(model.stages[0][1]) is Block
    assert [type(module) for module in model.stages[1]] == [Block]
    assert type(block.transform.conv2) is not ConvNorm


def test_modes_and_global_hooks_see_the_operators_of_torch(monkeypatch):
    kernel_calls, model = record_calls(monkeypatch), fuse(AnyNet(NETWORK))

    class Seen(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.names.append(getattr(function, "__name__", ""))
            return function(*args, **(kwargs or {}))

    with Seen() as seen:
        model(X)
    assert seen.names.count("conv2d") == sum(isinstance(module, nn.Conv2d) for module in model.modules())
    modules = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: modules.append(module))
    try:
        model(X)
    finally:
        handle.remove()
    assert len(modules) == len(list(model.modules()))
    assert kernel_calls == []
    model(X)
    assert kernel_calls


def test_patched_classes_take_effect(monkeypatch):
    model = fuse(AnyNet(NETWORK))
    model(X)
    calls = []
    forward = nn.ReLU.forward
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: (calls.append(1), forward(self, x))[1])
    model(X)
    assert len(calls) == sum(isinstance(module, nn.ReLU) for module in model.modules())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")  # torch uses it itself
def test_forward_mode_derivatives_equal_those_of_torch():
    model = fuse(model_with_varied_state(NETWORK).eval())
    reference = unfuse(copy.deepcopy(model))
    direction = images(NETWORK, (3, 17, 15)).flip(0)
    for actual, expected in zip(
        *(torch.func.jvp(module, (X,), (direction,)) for module in (model, reference)), strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_changing_weights_between_forward_and_backward_is_an_error_as_in_torch():
    model = fuse(AnyNet(NETWORK))
    for name in ("stages.0.0.transform.conv2.conv", "stem.conv"):
        loss = model(X).square().sum()
        with torch.no_grad():
            model.get_submodule(name).weight.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_batched_gradients_are_rejected():
    model = fuse(AnyNet(NETWORK))
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"unfuse\(model\)"):
        torch.autograd.grad(model(x).sum(0), x, torch.eye(5), is_grads_batched=True)
    unfuse(model)
    torch.autograd.grad(model(x).sum(0), x, torch.eye(5), is_grads_batched=True)


def test_kernels_can_be_disabled_while_a_model_is_fused(monkeypatch):
    kernel_calls, model = record_calls(monkeypatch), fuse(AnyNet(NETWORK))
    monkeypatch.setenv("DESIGNSPACE_KERNELS", "1")
    try:
        kernels.use("torch")
        model(X)
        assert kernel_calls == []
        assert fuse(AnyNet(NETWORK)) is not None
    finally:
        kernels.use("compiled")
    model(X)
    assert kernel_calls
