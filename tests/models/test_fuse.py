"""`fuse` changes no more than it says, and notices what changes afterwards."""

import copy
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from kinds import EVERYTHING, images, model_with_varied_state
from test_fused import counted
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
def test_nothing_but_classes_changes_and_they_change_back(name):
    model = model_with_varied_state(EVERYTHING[name])
    names, kinds, state = [n for n, _ in model.named_modules()], classes(model), model.state_dict()
    assert fuse(model) is model
    assert [n for n, _ in model.named_modules()] == names
    assert classes(model) != kinds
    assert all(isinstance(module, kind) for module, kind in zip(model.modules(), kinds, strict=True))
    assert list(model.state_dict()) == list(state)
    assert fuse(model) is unfuse(model) is model
    assert classes(model) == kinds
    assert not any("_plan" in module.__dict__ for module in model.modules())


def test_for_a_block_of_code(monkeypatch):
    called, model = counted(monkeypatch), AnyNet(NETWORK)
    plain = classes(model)
    with fused(model):
        model(X)
        with fused(model):
            pass
        assert classes(model) != plain
    assert called
    assert classes(model) == plain
    fuse(model)
    kept = classes(model)
    with fused(model):
        pass
    assert classes(model) == kept


SCRIPT = """
import ctypes, torch
from designspace.models import create_model
libraries = []
ctypes.CDLL = lambda *names: libraries.append(names)
create_model("regnetx_200mf")(torch.randn(2, 3, 32, 32)).sum().backward()
assert libraries == [], libraries
"""


def test_a_plain_model_asks_for_no_compiler_and_sets_nothing(tmp_path):
    environment = {"DESIGNSPACE_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


def tiny():
    def part(count):
        generator = np.random.default_rng(count)
        return generator.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), generator.integers(0, 5, count)

    return ImageData("tiny", *part(16), *part(8), 5, (0.5,) * 3, (0.25,) * 3)


def test_training_and_verifying_use_kernels_and_leave_the_model_plain(monkeypatch):
    called, model = counted(monkeypatch), AnyNet(NETWORK)
    plain = classes(model)
    train_model(model, Recipe(data="tiny", epochs=1, batch_size=8), tiny())
    assert {"join_forward", "join_backward"} <= set(called)
    called.clear()
    verify(model, tiny(), device="cpu")
    assert "join_forward" in called
    assert "join_backward" not in called
    assert classes(model) == plain


def outputs(model):
    """What a model gives in both modes, without gradients and with them."""
    found = []
    for training in (False, True):
        model.train(training)
        with torch.no_grad():
            found.append(model(X))
        loss = model(X).square().sum()
        found += [loss.detach(), *torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)]
    return found


class Scale(nn.Module):
    """A shortcut that broadcasts: a kernel that read it as a whole map would read other memory."""

    def forward(self, x):
        return x.mean((1, 2, 3), keepdim=True)


def forward_of_its_own(model):
    model.stages[0][0].transform.conv1.relu.forward = lambda x: x


def cut_in_place(model):
    """Structured pruning as it is often done: the same parameter objects with fewer values."""
    first, second = model.stages[0][0].transform.conv1, model.stages[0][0].transform.conv2
    first.conv.weight.data = first.conv.weight.data[:8]
    first.norm.weight.data, first.norm.bias.data = first.norm.weight.data[:8], first.norm.bias.data[:8]
    first.norm.running_mean, first.norm.running_var = first.norm.running_mean[:8], first.norm.running_var[:8]
    second.conv.weight.data = second.conv.weight.data[:, : 8 // second.conv.groups]


def thin(model):
    first = model.stages[0][0].transform.conv1
    first.conv.weight.data = first.conv.weight.data.repeat(1, 2, 1, 1)[:, ::2]  # not contiguous


CHANGES = {
    "forward of an instance": forward_of_its_own,
    "weights apart in memory": thin,
    "fewer values": cut_in_place,
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
def test_what_changes_later_counts(change, block):
    network = NETWORK
    if block == "basic":
        network = Network(
            Stem("cifar", 8), (Stage(2, 16, 2, 1, 16), Stage(1, 24, 2, 1, 24)), block=block, num_classes=5
        )
    reference = model_with_varied_state(network)
    model = fuse(copy.deepcopy(reference))
    for one in (model, reference):
        outputs(one)
        CHANGES[change](one)
    if change == "frozen":
        assert not any(p.requires_grad for p in model.stages[0][0].parameters())
        for one in (model, reference):
            one.train()(X).sum().backward()
        for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
            assert (mine.grad is None) == (theirs.grad is None)
        return
    try:
        expected = outputs(reference)
    except RuntimeError as error:  # shapes do not fit any more
        with pytest.raises(RuntimeError, match=re.escape(str(error).splitlines()[0])):
            outputs(model)
        return
    for mine, theirs in zip(outputs(model), expected, strict=True):
        if theirs is None:
            assert mine is None
            continue
        scale = max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * scale)


def test_what_is_not_as_made_is_left_alone():
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


def test_modes_and_global_hooks_see_torchs_operators(monkeypatch):
    called, model = counted(monkeypatch), fuse(AnyNet(NETWORK))

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
    assert called == []
    model(X)
    assert called


def test_patched_classes_count(monkeypatch):
    model = fuse(AnyNet(NETWORK))
    model(X)
    calls = []
    forward = nn.ReLU.forward
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: (calls.append(1), forward(self, x))[1])
    model(X)
    assert len(calls) == sum(isinstance(module, nn.ReLU) for module in model.modules())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")  # torch uses it itself
def test_forward_derivatives_are_torchs():
    model = fuse(model_with_varied_state(NETWORK).eval())
    reference = unfuse(copy.deepcopy(model))
    direction = images(NETWORK, (3, 17, 15)).flip(0)
    for got, expected in zip(*(torch.func.jvp(one, (X,), (direction,)) for one in (model, reference)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_weights_that_change_between_forward_and_backward_are_an_error_as_in_torch():
    model = fuse(AnyNet(NETWORK))
    for name in ("stages.0.0.transform.conv2.conv", "stem.conv"):
        loss = model(X).square().sum()
        with torch.no_grad():
            model.get_submodule(name).weight.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_gradients_mapped_over_are_refused():
    model = fuse(AnyNet(NETWORK))
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"unfuse\(model\)"):
        torch.autograd.grad(model(x).sum(0), x, torch.eye(5), is_grads_batched=True)
    unfuse(model)
    torch.autograd.grad(model(x).sum(0), x, torch.eye(5), is_grads_batched=True)


def test_kernels_may_be_switched_off_while_a_model_is_fused(monkeypatch):
    called, model = counted(monkeypatch), fuse(AnyNet(NETWORK))
    monkeypatch.setenv("DESIGNSPACE_KERNELS", "1")
    try:
        kernels.use("torch")
        model(X)
        assert called == []
        assert fuse(AnyNet(NETWORK)) is not None
    finally:
        kernels.use("compiled")
    model(X)
    assert called
