"""Comparison of the compiled passes with torch's own layers in float64."""

import copy
import os
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from designspace.models import AnyNet, fuse
from designspace.models.cpu import bottleneck, convolutions, kernels, passes, splits
from designspace.models.cpu.splits import Attention
from designspace.models.layers import ConvNorm
from designspace.models.split_attention import SplitAttention
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem

NETWORK = Network(
    Stem("cifar", 8),
    (Stage(2, 16, 1, 1, 8), Stage(2, 24, 2, 2, 4)),
    radix=2,
    shortcut="avg_pool",
    downsampling="avg_pool_after",
    num_classes=10,
)


@pytest.fixture(autouse=True)
def _compiled():
    """Require the kernels, which the C compilers of Debian and of any cluster can build."""
    assert kernels.library() is not None


def images(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise_norms(module, seed=0):
    """Give batch-norms weights and statistics that differ between channels."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low in ((layer.weight, -1.0), (layer.bias, -1.0), (layer.running_var, 0.5)):
                tensor.data.uniform_(low, 1.5, generator=generator)
            layer.running_mean.uniform_(-1, 1, generator=generator)
    return module


def identity(width):
    """Return a convolution that does not change its input."""
    conv = nn.Conv2d(width, width, 1, groups=width, bias=False)
    nn.init.ones_(conv.weight)
    return conv


def run(module, inputs, dtype, **arguments):
    """Return the output, the gradients of sum(output * fixed numbers), and the buffers."""
    module = copy.deepcopy(module).to(dtype)
    if dtype == torch.float32:
        fuse(module)
    inputs = [x.to(dtype).clone(memory_format=torch.channels_last).requires_grad_() for x in inputs]
    output = module(*inputs, **arguments)
    (output * images(7, *output.shape).to(dtype)).sum().backward()
    gradients = [x.grad for x in inputs] + [parameter.grad for parameter in module.parameters()]
    return output, gradients, list(module.buffers())


def assert_same(module, inputs, **arguments):
    """Assert that compiled float32 equals torch's float64 up to rounding."""
    fast, reference = run(module, inputs, torch.float32, **arguments), run(module, inputs, torch.float64, **arguments)
    torch.testing.assert_close(fast[0].double(), reference[0], rtol=1e-4, atol=1e-4)
    for actual, expected in zip((*fast[1], *fast[2]), (*reference[1], *reference[2]), strict=True):
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(actual.double(), expected.double(), rtol=1e-3, atol=1e-4 * scale)


class Joined(nn.Module):
    """A `ConvNorm` with a shortcut that is added before its ReLU, run by `passes.conv_norm`, or in float64 by torch."""

    def __init__(self, layer):
        super().__init__()
        self.conv, self.norm, self.has_relu = layer.conv, layer.norm, len(layer) == 3

    def forward(self, x, shortcut=None):
        if x.dtype == torch.float32:
            return passes.conv_norm(x, self.conv, self.norm, self.has_relu, shortcut)
        y = self.norm(self.conv(x))
        y = y if shortcut is None else y + shortcut
        return y.relu() if self.has_relu else y


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 700), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 99))
def test_norm_with_relu_and_shortcut_equals_torch(count, width, side, relu, has_shortcut, seed):
    if count * side * side == 1:
        count = 2
    module = Joined(randomise_norms(ConvNorm(width, width, 3, groups=width, relu=relu), seed))
    module.conv.weight.data *= torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])  # makes the convolution an identity
    x, shortcut = images(seed, count, width, side, side + 1), images(seed + 1, count, width, side, side + 1)
    assert_same(module, [x, shortcut] if has_shortcut else [x])


def test_a_large_mean_does_not_reduce_precision():
    x = 1e3 + images(0, 4, 16, 32, 32)
    actual = passes.conv_norm(x, identity(16), nn.BatchNorm2d(16), relu=False)
    expected = functional.batch_norm(x.double(), None, None, training=True)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-3, atol=1e-4)  # x itself has 6e-5 of rounding


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 4), st.sampled_from((1, 2, 3, 4)), st.sampled_from((1, 2, 4)), st.integers(1, 24), st.integers(2, 9)
)
def test_split_attention_equals_torch(count, radix, cardinality, part, side):
    width = part * radix * cardinality
    module = randomise_norms(SplitAttention(width, radix=radix, cardinality=cardinality), radix)
    module.norm.eval()  # batch statistics of two almost equal numbers are mostly rounding
    assert_same(module, [images(side, count, width, side, side + 2)])


def assert_threads_change_no_bit(compute, threads):
    """Assert that a function returns bitwise identical tensors with one thread and with several."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = compute()
        torch.set_num_threads(threads)
        assert all(torch.equal(actual, alone) for actual, alone in zip(compute(), expected, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    x = images(0, 6, 40, 17, 19).contiguous(memory_format=torch.channels_last)
    norm, splits = randomise_norms(nn.BatchNorm2d(40)), randomise_norms(nn.BatchNorm2d(40))
    layers = nn.Conv2d(20, 32, 1), nn.BatchNorm2d(32), nn.Conv2d(32, 40, 1)

    def compute():
        learned, maps = copy.deepcopy(norm), x.clone().requires_grad_()
        y = passes.conv_norm(maps, identity(40), learned, True, x)
        attention = Attention(*copy.deepcopy(layers), splits=2)
        z = passes.conv_splits(maps, identity(40), copy.deepcopy(splits), [attention])
        (y.sum() + (z * x[:, :20]).sum()).backward()
        return y.detach(), z.detach(), maps.grad, learned.weight.grad, learned.running_var

    assert_threads_change_no_bit(compute, threads)


def record_calls(monkeypatch):
    """Return a list to which the names of all kernels that are called from now on are appended."""
    kernel_calls, call = [], passes.call
    for module in (passes, convolutions, bottleneck, splits):
        monkeypatch.setattr(
            module, "call", lambda name, *arguments: (kernel_calls.append(name), call(name, *arguments))
        )
    return kernel_calls


def test_a_whole_network_equals_torch_and_uses_the_kernels(monkeypatch):
    kernel_calls = record_calls(monkeypatch)
    assert_same(randomise_norms(AnyNet(NETWORK)), [images(3, 4, 3, 17, 15)])
    assert {"norm_statistics", "norm_forward", "norm_backward", "splits_combine", "splits_backward"} <= set(
        kernel_calls
    )
    assert kernel_calls.count("splits_weigh") == kernel_calls.count("splits_weigh_backward") == NETWORK.depth
    assert kernel_calls.count("splits_combine") == 1  # the block that has a pool; the others are one operation


def test_evaluation_without_gradients_is_fused_too(monkeypatch):
    model = fuse(randomise_norms(AnyNet(NETWORK)).eval())
    x = images(0, 3, 3, 16, 16)
    with torch.enable_grad():
        expected = copy.deepcopy(model).double()(x.double())
    kernel_calls = record_calls(monkeypatch)
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.inference_mode():
        torch.testing.assert_close(model(x).double(), expected.detach(), rtol=1e-4, atol=1e-5)
    assert "splits_combine" in kernel_calls
    assert all(torch.equal(old, new) for old, new in zip(before, model.buffers(), strict=True))


@pytest.mark.parametrize("training", [False, True])
def test_outputs_seen_by_hooks_are_not_overwritten(training):
    layer, recorded = fuse(randomise_norms(ConvNorm(4, 4))).train(training), []
    layer.conv.register_forward_hook(lambda module, inputs, output: recorded.append((output, output.clone())))
    with torch.no_grad():
        layer(images(0, 2, 4, 5, 5))
    assert torch.equal(*recorded[0])


def test_gradients_seen_by_hooks_are_not_overwritten():
    """Gradients of maps use memory that is reused, so hooks must not see that memory."""
    model, recorded = fuse(AnyNet(NETWORK)), []

    def record(module, inputs, outputs):
        recorded.extend((gradient, gradient.clone()) for gradient in (*inputs, *outputs) if gradient is not None)

    for layer in model.modules():
        if isinstance(layer, ConvNorm):
            layer.register_full_backward_hook(record)
    model(images(0, 4, 3, 16, 16).requires_grad_()).square().sum().backward()
    assert len(recorded) > 10
    assert all(torch.equal(*pair) for pair in recorded)


@pytest.mark.parametrize("case", ["hook", "half", "autocast", "evaluation with gradients", "frozen weights", "vmap"])
def test_torch_runs_what_kernels_do_not_support(case, monkeypatch):
    kernel_calls = record_calls(monkeypatch)
    layer = fuse(randomise_norms(ConvNorm(4, 8)))
    x = images(0, 2, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    reference = copy.deepcopy(layer)
    if case == "hook":
        seen = []
        layer.norm.register_forward_hook(lambda *_: seen.append(1))
        layer(x)
        assert seen
    elif case == "half":
        assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    elif case == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
    elif case == "evaluation with gradients":
        layer.eval()(x).sum().backward()
        assert layer.norm.running_mean.equal(reference.norm.running_mean)
    elif case == "frozen weights":
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
        x.requires_grad_()
        layer(x).square().sum().backward()
        assert x.grad.isfinite().all()
        assert all(parameter.grad is None for parameter in layer.parameters())
        return  # kernels run in this case
    else:
        layer.eval()
        weights, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())

        def loss(weights, image):
            return torch.func.functional_call(layer, (weights, buffers), (image[None],)).square().sum()

        each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, x)
        assert each["conv.weight"].shape == (2, 8, 4, 1, 1)
    assert kernel_calls == []


def test_other_parameters_learn_if_attention_is_frozen():
    module = fuse(SplitAttention(8, radix=2, cardinality=1))
    for part in (module.squeeze, module.norm, module.attend):
        part.requires_grad_(False)
    x = images(0, 2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    module(x).square().sum().backward()
    assert module.squeeze.weight.grad is None
    assert module.splits.norm.weight.grad.abs().sum() > 0


def test_a_backward_pass_can_be_repeated():
    module = fuse(SplitAttention(8, radix=2, cardinality=1))
    x = images(0, 2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    loss = module(x).square().sum()
    loss.backward(retain_graph=True)
    once = module.attend.weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(module.attend.weight.grad, 2 * once)


def test_nan_propagates():
    x = images(0, 2, 4, 5, 5)
    x[0, 1] = float("nan")
    out = fuse(ConvNorm(4, 4))(x.contiguous(memory_format=torch.channels_last))
    assert out.isnan().any()
    norm = nn.BatchNorm2d(4)
    assert passes.conv_norm(x, identity(4), norm, True)[:, 1].isnan().all()
    assert norm.running_var[1].isnan()


def test_threads_can_train_in_parallel():
    x = images(0, 4, 3, 16, 16)
    results = {}

    def train(key):
        model = fuse(AnyNet(NETWORK))
        model(x).square().sum().backward()
        results[key] = model.stem.conv.weight.grad

    threads = [threading.Thread(target=train, args=(key,)) for key in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[0], gradient) for gradient in results.values())


SCRIPT = """
import torch
from designspace.models import AnyNet, fuse
from designspace.models.cpu import kernels
from designspace.networks import catalog
model = fuse(AnyNet(catalog.get("regnetx_200mf")))
model(torch.randn(2, 3, 32, 32)).sum().backward()
print(kernels.library() is not None, model.stem.conv.weight.grad.isfinite().all().item())
"""


@pytest.mark.parametrize(
    ("environment", "compiled"),
    [({}, True), ({"DESIGNSPACE_KERNELS": "0"}, False), ({"PATH": "/nowhere"}, False), ({"CC": "false"}, False)],
)
def test_training_works_with_and_without_a_compiler(environment, compiled, tmp_path):
    full = {**os.environ, "DESIGNSPACE_DATA": str(tmp_path), **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=full, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(compiled), "True"]
    assert bool(list(tmp_path.glob("kernels/kernels-*.so"))) == compiled


def test_published_networks_use_the_kernels(monkeypatch):
    kernel_calls = record_calls(monkeypatch)
    fuse(AnyNet(catalog.get("regnety_200mf")))(images(0, 2, 3, 32, 32)).sum().backward()
    assert kernel_calls.count("norm_backward") == kernel_calls.count("norm_forward") > 10
    assert kernel_calls.count("spatial_backward") == kernel_calls.count("spatial_forward")
    assert kernel_calls.count("splits_weigh_backward") == kernel_calls.count("splits_weigh") > 0


def test_the_default_dtype_does_not_matter():
    x = images(0, 2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    module = fuse(SplitAttention(8, radix=2, cardinality=1))
    expected = copy.deepcopy(module)(x)
    torch.set_default_dtype(torch.float64)
    try:
        output = copy.deepcopy(module)(x)
        output.sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(output, expected)
