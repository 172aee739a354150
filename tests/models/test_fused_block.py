"""Blocks and convolutions by the kernels of their own, beside torch's layers in float64."""

import contextlib
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fused import assert_same, assert_threads_change_nothing, counted, images, shaken
from torch import nn

from designspace.models import AnyNet, fuse, unfuse
from designspace.models.blocks import Block
from designspace.models.cpu.kernels import has_convolutions
from designspace.models.layers import ConvNorm
from designspace.networks.network import Network, Stage, Stem

pytestmark = pytest.mark.skipif(not has_convolutions(), reason="no C compiler here, or a processor without AVX2")

WIDTHS = (1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 33)


def block(in_width, inner, width, group, stride):
    network = Network(Stem("cifar", in_width), (Stage(1, width, stride, width / inner, group),))
    return fuse(shaken(Block(network, network.stages[0], in_width, first=True)))


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
    assert_same(block(in_width, group * groups, width, group, stride), [images(0, count, in_width, height, breadth)])


def test_a_block_whose_shape_stays_adds_its_input():
    assert_same(block(24, 12, 24, 4, 1), [images(0, 4, 24, 6, 5)])


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 9), st.sampled_from((1, 2, 4, 8)), st.integers(1, 5), st.sampled_from((1, 2)), st.integers(3, 11))
def test_a_convolution_with_narrow_groups_equals_torch(count, group, groups, stride, side):
    layer = shaken(ConvNorm(group * groups, group * groups, 3, stride=stride, groups=groups))
    assert_same(layer, [images(0, count, group * groups, side, side + 1)])


def test_narrow_groups_that_change_their_width_are_convolved_too():
    assert_same(shaken(ConvNorm(6, 10, 3, groups=2)), [images(0, 4, 6, 7, 5)])


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    first = block(20, 24, 40, 8, 2)
    x = images(0, 11, 20, 9, 7)

    def everything():
        module, maps = copy.deepcopy(first), x.clone().requires_grad_()
        y = module(maps)
        y.square().sum().backward()
        return [y.detach(), maps.grad, *(p.grad for p in module.parameters()), *module.buffers()]

    assert_threads_change_nothing(everything, threads)


def test_networks_of_plain_bottlenecks_run_block_by_block(monkeypatch):
    called = counted(monkeypatch)
    stages = (Stage(2, 16, 2, 1, 8), Stage(3, 24, 2, 1, 4))
    model = fuse(AnyNet(Network(Stem("imagenet", 8), stages)))
    model(images(0, 2, 3, 32, 32)).sum().backward()
    assert called.count("join_forward") == called.count("join_backward") == model.network.depth + 1  # and the stem
    assert not any(name.startswith("norm") for name in called)


@pytest.mark.parametrize("watched", ["block.transform.conv2", "block.transform.conv3.norm", "block.shortcut"])
def test_a_layer_that_is_watched_runs_by_itself(watched, monkeypatch):
    module = nn.ModuleDict({"block": block(8, 8, 16, 4, 2)})
    seen = []
    module.get_submodule(watched).register_forward_hook(lambda *_: seen.append(1))
    module["block"](images(0, 3, 8, 6, 6))
    assert seen == [1]


def test_a_frozen_or_traced_block_is_torchs(monkeypatch):
    called = counted(monkeypatch)
    module = block(8, 8, 16, 4, 2).eval()
    x = images(0, 3, 8, 6, 6)
    module(x)  # with gradients, in evaluation mode
    with torch.autocast("cpu", torch.bfloat16):
        module.train()(x)
    assert called == []
    with torch.no_grad():
        module.eval()(x)
    assert "spatial_forward" in called


@pytest.mark.parametrize("stride", [1, 2])
def test_a_single_value_has_no_variance(stride):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        block(8, 8, 16, 4, stride)(images(0, 1, 8, stride, 1))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 5, 8, 8), (4, 8, 8)])
def test_maps_that_do_not_fit_are_an_error_and_never_read(shape):
    for module in (block(4, 8, 8, 4, 1), fuse(ConvNorm(4, 8, 3, groups=2))):
        with pytest.raises((RuntimeError, ValueError)):
            module(torch.randn(shape))


def test_weights_elsewhere_are_never_read(monkeypatch):
    called = counted(monkeypatch)
    module = fuse(ConvNorm(8, 8, 3, groups=2))
    module.conv.to("meta")
    with contextlib.suppress(RuntimeError, NotImplementedError):  # whatever torch's layers make of it
        module(images(0, 3, 8, 6, 6))
    assert called == []


def test_weights_in_an_odd_order_are_convolved_too():
    module = block(8, 8, 8, 4, 1)
    conv = module.transform.conv2.conv
    conv.weight = nn.Parameter(conv.weight.detach().transpose(2, 3).contiguous().transpose(2, 3))
    assert_same(module, [images(0, 3, 8, 6, 6)])


def test_what_is_not_finite_stays_so():
    """Diverged training must not be hidden by a kernel."""
    module = block(8, 8, 8, 4, 1)
    x = images(0, 3, 8, 6, 6)
    x[0, 0, 0, 0] = float("nan")
    assert module(x).isnan().any()
    module.train()(x).sum().backward()
    assert module.transform.conv1.conv.weight.grad.isnan().any()


def test_layers_may_be_put_into_a_block_and_taken_out(monkeypatch):
    module, x = block(8, 8, 16, 4, 2), images(0, 3, 8, 6, 6)
    module(x)
    other = shaken(ConvNorm(8, 8, 3, stride=2, groups=2), 1)
    reference = unfuse(copy.deepcopy(module))
    reference.transform.conv2 = other
    expected = reference(x)
    module.transform.conv2 = copy.deepcopy(other)
    called = counted(monkeypatch)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)
    assert "pointwise_forward" not in called
    module.transform.conv2.norm = nn.Identity()
    assert module(x).shape == (3, 16, 3, 3)
