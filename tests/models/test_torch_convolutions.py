"""Convolutions by torch, or by its matrix product, compared with convolutions in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from designspace.models.cpu import torch_convolutions
from designspace.models.cpu.torch_convolutions import Geometry, convolve, convolve_backward, prepared

KINDS = {
    "1x1": (12, 20, {"kernel_size": 1}),
    "1x1 to fewer channels": (20, 12, {"kernel_size": 1}),
    "1x1 with a stride": (12, 20, {"kernel_size": 1, "stride": 2}),
    "1x1 with a border": (12, 20, {"kernel_size": 1, "padding": 1}),
    "1x1 in groups": (12, 20, {"kernel_size": 1, "groups": 4}),
    "3x3": (12, 20, {"kernel_size": 3, "padding": 1}),
    "3x3 in groups, with a stride": (12, 24, {"kernel_size": 3, "padding": 1, "stride": 2, "groups": 3}),
    "3x3, spread out": (12, 20, {"kernel_size": 3, "padding": 2, "dilation": 2}),
}


@pytest.mark.parametrize("rows", [0, 10**6], ids=["as a convolution", "as a product"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_a_convolution(kind, rows, monkeypatch):
    for name in ("_FORWARD_ROWS", "_BACKWARD_ROWS"):
        monkeypatch.setattr(torch_convolutions, name, rows)
    width, out_width, options = KINDS[kind]
    random = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(width, out_width, bias=False, **options)
    weight = torch.randn(conv.weight.shape, generator=random)
    x = torch.randn(3, width, 9, 7, generator=random).contiguous(memory_format=torch.channels_last)
    exact = [x.double().requires_grad_(), weight.double().requires_grad_()]
    expected = functional.conv2d(*exact, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    gradient = torch.randn(expected.shape, generator=random).contiguous(memory_format=torch.channels_last)
    expected.backward(gradient.double())

    geometry = Geometry.of(conv)
    y = convolve(x, prepared(weight), geometry)
    gradients = convolve_backward(gradient, x, prepared(weight), geometry, (True, True))
    assert y.is_contiguous(memory_format=torch.channels_last)
    for actual, tensor in zip((y, *gradients), (expected, *(each.grad for each in exact)), strict=True):
        torch.testing.assert_close(actual.double(), tensor, rtol=1e-5, atol=1e-4)
    assert convolve_backward(gradient, x, prepared(weight), geometry, (False, False)) == (None, None)
    only_x, no_weight = convolve_backward(gradient, x, prepared(weight), geometry, (True, False))
    assert torch.equal(only_x, gradients[0])
    assert no_weight is None


@pytest.mark.parametrize(("width", "out_width", "largest"), [(64, 64, 1024), (64, 256, 4096), (256, 64, 1024)])
def test_small_maps_are_multiplied(width, out_width, largest, monkeypatch):
    convolved = []
    monkeypatch.setattr(functional, "conv2d", lambda x, *_: convolved.append(len(x)) or x)
    geometry = Geometry.of(nn.Conv2d(width, out_width, 1, bias=False))
    for rows in (largest, largest + 1):
        x = torch.zeros(rows, width, 1, 1)
        convolve(x, torch.zeros(out_width, width, 1, 1), geometry)
    assert convolved == [largest + 1]
