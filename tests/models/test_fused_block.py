"""Comparison of the kernels for blocks and convolutions with torch's layers in float64."""

import contextlib
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fused import assert_same, assert_threads_change_no_bit, images, randomise_norms, record_calls
from torch import nn

from designspace.models import AnyNet, fuse, unfuse
from designspace.models.blocks import Block
from designspace.models.cpu import bottleneck
from designspace.models.cpu.kernels import has_convolutions
from designspace.models.layers import ConvNorm
from designspace.networks.network import Network, Stage, Stem

pytestmark = pytest.mark.skipif(not has_convolutions(), reason="no C compiler here, or a processor without AVX2")

WIDTHS = (1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 33)


def block(in_width, inner, width, group, stride, **options):
    torch.manual_seed(0)
    network = Network(Stem("cifar", in_width), (Stage(1, width, stride, width / inner, group),), **options)
    return fuse(randomise_norms(Block(network, network.stages[0], in_width, first=True)))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 9),
    st.sampled_from((4, 7, 16, 20)),
    st.sampled_from(WIDTHS),
    st.integers(1, 3),
    st.sampled_from((8, 16, 24, 40)),
    st.sampled_from((1, 2)),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_a_block_equals_torch(count, in_width, group, groups, width, stride, height, breadth):
    if count * height * breadth < 20:  # batch statistics of a few numbers are mostly rounding
        count = 20
    if group == 1:
        groups = max(groups, 2)  # gradients of a single channel are mostly rounding
    assert_same(block(in_width, group * groups, width, group, stride), [images(0, count, in_width, height, breadth)])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70),
    st.sampled_from((4, 7, 16, 20)),
    st.sampled_from(WIDTHS),
    st.integers(1, 3),
    st.sampled_from((4, 16, 20, 40)),
    st.sampled_from((1, 2)),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_a_block_in_evaluation_gives_the_bits_of_its_single_kernels(
    count, in_width, group, groups, width, stride, height, breadth
):
    module = block(in_width, group * groups, width, group, stride).eval()
    assert_inference_gives_the_bits_of_single_kernels(module, images(0, count, in_width, height, breadth))


def assert_inference_gives_the_bits_of_single_kernels(module, x):
    with torch.no_grad():
        once = module(x)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bottleneck, "_can_infer", lambda parts: False)
            assert torch.equal(once, module(x))
        torch.testing.assert_close(once, unfuse(copy.deepcopy(module))(x), rtol=1e-4, atol=1e-5)


def attention_block(in_width, part, groups, width, stride, radix, se_ratio):
    group = part * max(1, radix)
    if group == 1:
        groups = max(groups, 2)  # gradients of a single channel are mostly rounding
    return block(in_width, group * groups, width, group, stride, radix=radix, se_ratio=se_ratio)


ATTENTION_BLOCKS = st.builds(
    attention_block,
    in_width=st.sampled_from((8, 20)),
    part=st.sampled_from((1, 2, 3, 4, 5, 8)),
    groups=st.integers(1, 3),
    width=st.sampled_from((8, 16, 40)),
    stride=st.sampled_from((1, 2)),
    radix=st.sampled_from((0, 1, 2, 3, 4)),
    se_ratio=st.sampled_from((0, 0.25)),
)


# The smallest number of images is 20, because batch statistics of a few numbers are mostly rounding.
@settings(max_examples=60, deadline=None)
@given(ATTENTION_BLOCKS, st.integers(20, 30), st.integers(1, 9), st.integers(1, 9))
def test_a_block_with_attention_equals_torch(module, count, height, breadth):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1.0  # division by a small variance would amplify rounding
    assert_same(module, [images(0, count, module.transform.conv1.conv.in_channels, height, breadth)])


@settings(max_examples=40, deadline=None)
@given(ATTENTION_BLOCKS, st.integers(1, 20), st.integers(1, 12), st.integers(1, 12))
def test_a_block_with_attention_in_evaluation_gives_the_bits_of_its_single_kernels(module, count, height, breadth):
    x = images(0, count, module.transform.conv1.conv.in_channels, height, breadth)
    assert_inference_gives_the_bits_of_single_kernels(module.eval(), x)


def test_a_block_with_equal_shapes_adds_its_input():
    assert_same(block(24, 12, 24, 4, 1), [images(0, 4, 24, 6, 5)])


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 9), st.sampled_from((1, 2, 4, 8)), st.integers(1, 5), st.sampled_from((1, 2)), st.integers(3, 11))
def test_a_convolution_with_narrow_groups_equals_torch(count, group, groups, stride, side):
    layer = randomise_norms(ConvNorm(group * groups, group * groups, 3, stride=stride, groups=groups))
    assert_same(layer, [images(0, count, group * groups, side, side + 1)])


def test_narrow_groups_of_different_widths_equal_torch():
    assert_same(randomise_norms(ConvNorm(6, 10, 3, groups=2)), [images(0, 4, 6, 7, 5)])


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    first = block(20, 24, 40, 8, 2)
    x = images(0, 11, 20, 9, 7)

    def compute():
        module, maps = copy.deepcopy(first), x.clone().requires_grad_()
        y = module(maps)
        y.square().sum().backward()
        return [y.detach(), maps.grad, *(p.grad for p in module.parameters()), *module.buffers()]

    assert_threads_change_no_bit(compute, threads)


def test_each_plain_bottleneck_runs_as_one_operation(monkeypatch):
    kernel_calls = record_calls(monkeypatch)
    stages = (Stage(2, 16, 2, 1, 8), Stage(3, 24, 2, 1, 4))
    model = fuse(AnyNet(Network(Stem("imagenet", 8), stages)))
    model(images(0, 2, 3, 32, 32)).sum().backward()
    assert (
        kernel_calls.count("join_forward") == kernel_calls.count("join_backward") == model.network.depth + 1
    )  # and the stem
    assert not any(name.startswith("norm") for name in kernel_calls)


@pytest.mark.parametrize("hooked", ["block.transform.conv2", "block.transform.conv3.norm", "block.shortcut"])
def test_a_layer_with_a_hook_runs_on_its_own(hooked, monkeypatch):
    module = nn.ModuleDict({"block": block(8, 8, 16, 4, 2)})
    seen = []
    module.get_submodule(hooked).register_forward_hook(lambda *_: seen.append(1))
    module["block"](images(0, 3, 8, 6, 6))
    assert seen == [1]


@pytest.mark.parametrize("hooked", ["conv2", "conv2.attend", "se", "se.excite"])
def test_attention_with_a_hook_runs_on_its_own(hooked):
    module = block(8, 8, 16, 4, 2, radix=2, se_ratio=0.25)
    seen = []
    module.transform.get_submodule(hooked).register_forward_hook(lambda *_: seen.append(1))
    module(images(0, 3, 8, 6, 6))
    assert seen == [1]


def test_other_attention_weights_are_used():
    module, x = block(8, 8, 16, 4, 2, radix=2), images(0, 3, 8, 6, 6)
    module(x)
    module.transform.conv2.attention_weights = lambda pooled: torch.zeros(3, 16, 1, 1)
    expected = unfuse(copy.deepcopy(module))(x)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_a_single_image_has_no_variance_for_split_attention():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        block(8, 8, 16, 4, 1, radix=2)(images(0, 1, 8, 6, 6))
    assert block(8, 8, 16, 4, 1, se_ratio=0.25)(images(0, 1, 8, 6, 6)).isfinite().all()


def test_torch_runs_a_block_in_evaluation_with_gradients_or_under_autocast(monkeypatch):
    kernel_calls = record_calls(monkeypatch)
    module = block(8, 8, 16, 4, 2).eval()
    x = images(0, 3, 8, 6, 6)
    module(x)  # with gradients, in evaluation mode
    with torch.autocast("cpu", torch.bfloat16):
        module.train()(x)
    assert kernel_calls == []
    with torch.no_grad():
        module.eval()(x)
    assert "chain_inference" in kernel_calls


@pytest.mark.parametrize("stride", [1, 2])
def test_a_single_value_per_channel_is_an_error(stride):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        block(8, 8, 16, 4, stride)(images(0, 1, 8, stride, 1))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 5, 8, 8), (4, 8, 8)])
def test_maps_of_the_wrong_shape_are_an_error_and_never_read(shape):
    for module in (block(4, 8, 8, 4, 1), fuse(ConvNorm(4, 8, 3, groups=2))):
        with pytest.raises((RuntimeError, ValueError)):
            module(torch.randn(shape))


def test_weights_on_other_devices_are_never_read(monkeypatch):
    kernel_calls = record_calls(monkeypatch)
    module = fuse(ConvNorm(8, 8, 3, groups=2))
    module.conv.to("meta")
    with contextlib.suppress(RuntimeError, NotImplementedError):  # errors of torch's layers
        module(images(0, 3, 8, 6, 6))
    assert kernel_calls == []


def test_weights_in_an_unusual_memory_layout_equal_torch():
    module = block(8, 8, 8, 4, 1)
    conv = module.transform.conv2.conv
    conv.weight = nn.Parameter(conv.weight.detach().transpose(2, 3).contiguous().transpose(2, 3))
    assert_same(module, [images(0, 3, 8, 6, 6)])


def test_nan_propagates():
    """Kernels must not hide a diverged training."""
    module = block(8, 8, 8, 4, 1)
    x = images(0, 3, 8, 6, 6)
    x[0, 0, 0, 0] = float("nan")
    assert module(x).isnan().any()
    module.train()(x).sum().backward()
    assert module.transform.conv1.conv.weight.grad.isnan().any()


def test_layers_of_a_block_can_be_replaced(monkeypatch):
    module, x = block(8, 8, 16, 4, 2), images(0, 3, 8, 6, 6)
    module(x)
    other = randomise_norms(ConvNorm(8, 8, 3, stride=2, groups=2), 1)
    reference = unfuse(copy.deepcopy(module))
    reference.transform.conv2 = other
    expected = reference(x)
    module.transform.conv2 = copy.deepcopy(other)
    kernel_calls = record_calls(monkeypatch)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)
    assert "pointwise_forward" not in kernel_calls
    module.transform.conv2.norm = nn.Identity()
    assert module(x).shape == (3, 16, 3, 3)
