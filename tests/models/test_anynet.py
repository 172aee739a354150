import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from designspace.models import AnyNet
from designspace.models.blocks import Block
from designspace.models.layers import SqueezeExcitation
from designspace.networks import catalog
from designspace.networks.blocks.plain import CONVS as PLAIN_CONVS
from designspace.networks.columns import NetworkColumns, network_parts
from designspace.networks.complexity import Complexity, complexity
from designspace.networks.network import BLOCKS, DOWNSAMPLINGS, SHORTCUTS, STEMS, Network, Stage, Stem

SMALL = Network(
    Stem("cifar", 8), (Stage(2, 16, 2, 1, 8), Stage(1, 24, 2, 2, 4)), se_ratio=0.25, num_classes=10, in_channels=1
)


@st.composite
def networks(draw):
    """Draw small networks of every kind."""
    block = draw(st.sampled_from(BLOCKS))
    plain = block in PLAIN_CONVS
    radix = 0 if plain else draw(st.sampled_from((0, 1, 2, 4)))
    stages = []
    for _ in range(draw(st.integers(1, 3))):
        depth, stride = draw(st.integers(1, 2)), draw(st.integers(1, 3))
        if plain:
            width = draw(st.integers(1, 24))
            stages.append(Stage(depth, width, stride, 1, width))
            continue
        ratio = draw(st.sampled_from((0.5, 1, 2, 4)))
        group_width = draw(st.sampled_from((1, 2, 3, 4, 8))) * max(radix, 1)
        inner = group_width * draw(st.integers(1, 4)) * (2 if ratio == 0.5 else 1)
        stages.append(Stage(depth, round(inner * ratio), stride, ratio, group_width))
    return Network(
        Stem(draw(st.sampled_from(STEMS)), 2 * draw(st.integers(1, 8))),
        tuple(stages),
        block=block,
        se_ratio=0 if plain else draw(st.sampled_from((0, 0.01, 0.25, 1))),
        radix=radix,
        shortcut=draw(st.sampled_from(SHORTCUTS)),
        downsampling="conv" if plain else draw(st.sampled_from(DOWNSAMPLINGS)),
        head_width=draw(st.sampled_from((0, 5))),
        num_classes=draw(st.integers(1, 7)),
        in_channels=draw(st.sampled_from((1, 3))),
    )


def measure(model, resolution):
    """Measure multiply-adds, parameters and activations with hooks, in pycls's convention."""
    flops = activations = 0

    def count(layer, inputs, output):
        nonlocal flops, activations
        activations += output.numel()
        if not isinstance(layer, nn.MaxPool2d):
            flops += output.numel() * (layer.weight[0].numel() + (layer.bias is not None))

    handles = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.MaxPool2d))
    ]
    with torch.no_grad():
        output = model.eval()(torch.zeros(1, model.network.in_channels, resolution, resolution))
    for handle in handles:
        handle.remove()
    assert output.shape == (1, model.network.num_classes)
    return Complexity(flops, sum(parameter.numel() for parameter in model.parameters()), activations)


@settings(max_examples=120, deadline=None)
@given(networks(), st.integers(1, 41))
def test_complexity_of_every_network_matches_the_closed_form(network, resolution):
    assert measure(AnyNet(network), resolution) == complexity(network, resolution)


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "regnety_200mf", "resnest50_fast_1s4x24d"])
def test_complexity_of_published_networks_matches_the_closed_form(name):
    assert measure(AnyNet(catalog.get(name)), 65) == complexity(catalog.get(name), 65)


def gradients(network, x):
    """Return the gradient of each parameter; biases keep the ReLUs of squeeze-and-excitation active."""
    model = AnyNet(network, seed=1)
    for module in model.modules():
        if isinstance(module, SqueezeExcitation):
            nn.init.constant_(module.squeeze.bias, 3.0)
    model(x).square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@settings(max_examples=40, deadline=None)
@given(networks(), st.integers(5, 13))
def test_every_parameter_gets_a_finite_gradient(network, size):
    x = torch.randn(3, network.in_channels, size, size + 3, generator=torch.Generator().manual_seed(size))
    for name, gradient in gradients(network, x).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name


@pytest.mark.parametrize("block", BLOCKS)
def test_every_parameter_has_a_nonzero_gradient(block):
    plain = block in PLAIN_CONVS
    stages = (Stage(2, 16, 2, 1, 16 if plain else 8), Stage(1, 24, 2, 1, 24 if plain else 4))
    network = dataclasses.replace(
        SMALL, stages=stages, block=block, radix=0 if plain else 2, se_ratio=0 if plain else 0.25, head_width=16
    )
    x = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for name, gradient in gradients(network, x).items():
        assert gradient.abs().sum() > 0, name


def test_only_the_seed_determines_the_weights():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = AnyNet(SMALL, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    again, other = AnyNet(SMALL, seed=3), AnyNet(SMALL, seed=4)
    for (name, weight), same in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(weight, same), name
    assert not torch.equal(model.stem.conv.weight, other.stem.conv.weight)


def test_initial_weights_have_the_documented_distribution():
    model = AnyNet(catalog.get("regnety_400mf"), seed=0)
    conv = model.stages[3][2].transform.conv2.conv  # grouped: the fan-out counts all output channels
    assert conv.weight.std().item() == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.02)
    assert model.head.classifier.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert model.stages[3][2].transform.se.squeeze.bias.abs().sum() == 0
    norm = model.stem.norm
    assert norm.weight.min() == norm.weight.max() == norm.running_var.max() == 1
    assert norm.bias.abs().sum() == norm.running_mean.abs().sum() == 0


def test_linear_bottleneck_has_a_shortcut_only_for_equal_shapes_and_no_final_relu():
    stage = Stage(2, 8, 2, 0.5, 1)
    network = Network(Stem("cifar", 8), (stage,), block="bottleneck_linear")
    first, second = Block(network, stage, 8, first=True), Block(network, stage, 8, first=False)
    assert not first.has_shortcut
    assert second.has_shortcut
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(second(x), second.transform(x) + x)
    assert second(x).min() < 0


def test_blocks_do_not_modify_their_input():
    for block in BLOCKS:
        stage = Stage(1, 8, 1, 1, 8)
        network = Network(Stem("cifar", 8), (stage,), block=block)
        x = torch.randn(2, 8, 6, 6)
        original = x.clone()
        Block(network, stage, 8, first=True)(x)
        assert torch.equal(x, original), block


def test_memory_format_does_not_change_the_output():
    network = dataclasses.replace(SMALL, radix=2, shortcut="avg_pool", downsampling="avg_pool_after")
    model = AnyNet(network).double().eval()
    x = torch.randn(2, 1, 15, 15, dtype=torch.float64)
    expected = model(x)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last)(x), expected)


@pytest.mark.parametrize("radix", [1, 2])
def test_networks_can_be_exported(radix):
    model = AnyNet(dataclasses.replace(SMALL, radix=radix)).eval()
    x = torch.randn(2, 1, 28, 28)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    torch.testing.assert_close(exported.module()(x[:2]), model(x[:2]))


@pytest.mark.parametrize("name", ["regnety_400mf", "resnest50", "resnet50"])
def test_layer_counts_match_the_module(name):
    network = catalog.get(name)
    with torch.device("meta"):
        modules = [type(module).__name__ for module in AnyNet(network).modules()]
    counted = {"conv": 0, "batch_norm": 0, "max_pool": 0}
    for part in network_parts(NetworkColumns.of(network), 224):
        for layer in part.layers:
            counted[layer.kind] += int((layer.out_width[0] > 0) * part.repeats[0])
    assert counted == {
        "conv": modules.count("Conv2d") + modules.count("Linear"),
        "batch_norm": modules.count("BatchNorm2d"),
        "max_pool": modules.count("MaxPool2d"),
    }
