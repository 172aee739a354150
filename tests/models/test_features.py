import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fused import randomise_norms
from torch import nn

from designspace.models import AnyNet
from designspace.models.features import Backbone
from designspace.models.norms import FrozenBatchNorm2d, freeze_norms
from designspace.networks import blocks, catalog
from designspace.networks.complexity import complexity
from designspace.networks.network import BLOCKS, STEMS, Network, Stage, Stem
from designspace.support.errors import InputError


def images(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def small(stem="deep", block="bottleneck", radix=2, shortcut="avg_pool", downsampling="avg_pool_after"):
    kind = blocks.BLOCKS[block]
    own = (("kernel_size", 5),) if any(parameter.name == "kernel_size" for parameter in kind.parameters) else ()
    group_width = 4 if "group_width" in kind.uses else 0
    stages = tuple(Stage(2, 8 * i, 2, 1, group_width or 8 * i, own) for i in (1, 2, 3))
    shared = {"radix": radix, "shortcut": shortcut, "downsampling": downsampling}
    return Network(
        Stem(stem, 8), stages, block=block, **{name: value for name, value in shared.items() if name in kind.uses}
    )


@pytest.mark.parametrize(
    "name", ["resnest50", "regnety_400mf", "resnet50", "resnext50_32x4d", "resnest50_fast_2s2x40d"]
)
def test_maps_match_feature_info(name):
    backbone = Backbone(AnyNet(catalog.get(name)).eval())
    info = backbone.feature_info
    assert info.reduction() == [2, 4, 8, 16, 32]
    assert info.channels()[1:] == [stage.width for stage in catalog.get(name).stages]
    with torch.no_grad():
        maps = backbone(images(1, 3, 97, 70, dtype=torch.float32))
    for feature_map, channels, reduction in zip(maps, info.channels(), info.reduction(), strict=True):
        assert feature_map.shape == (1, channels, -(-97 // reduction), -(-70 // reduction))


def test_selected_maps_equal_those_of_all_and_later_stages_are_left_out():
    model = AnyNet(small()).double().eval()
    all_maps = Backbone(model)(images(2, 3, 33, 30))
    backbone = Backbone(model, (1, -2))
    selected = backbone(images(2, 3, 33, 30))
    assert torch.equal(selected[0], all_maps[1])
    assert torch.equal(selected[1], all_maps[2])
    assert backbone.feature_info.get_dicts() == [
        {"index": 1, "num_chs": 8, "reduction": 8, "module": "stages.0"},
        {"index": 2, "num_chs": 16, "reduction": 16, "module": "stages.1"},
    ]
    assert not any(name.startswith(("stages.2", "head")) for name in backbone.state_dict())
    model_state = model.state_dict()
    assert all(torch.equal(value, model_state[name]) for name, value in backbone.state_dict().items())


def test_the_named_module_computes_the_map():
    for stem in STEMS:
        backbone = Backbone(AnyNet(small(stem)).double().eval())
        seen: dict[str, torch.Tensor] = {}
        for name in backbone.feature_info.module_name():
            backbone.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name, seen=seen: seen.update({name: output})
            )
        maps = backbone(images(1, 3, 32, 32))
        assert all(torch.equal(seen[n], m) for n, m in zip(backbone.feature_info.module_name(), maps, strict=True))


@pytest.mark.parametrize("indices", [(), (2, 1), (0, 0), (4,), (-5,), (1, -3)])
def test_invalid_out_indices_are_rejected(indices):
    with pytest.raises(InputError, match=r"out_indices must be indices from 0 to 3 in increasing order, not \["):
        Backbone(AnyNet(small()), indices)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([block for block in BLOCKS if block != "convnext"]),
    st.sampled_from(("imagenet", "cifar", "deep", "conv_pool")),
    st.sampled_from(("conv", "avg_pool")),
    st.sampled_from(("conv", "avg_pool_before", "avg_pool_after")),
    st.sampled_from((0, 1, 2)),
    st.integers(0, 3),
    st.integers(20, 41),
    st.integers(20, 41),
)
def test_a_dilated_network_equals_the_original_at_its_pixels(
    block, stem, shortcut, downsampling, radix, removed_strides, height, width
):
    network = small(stem, block, radix, shortcut, downsampling)
    original = randomise_norms(AnyNet(network)).double().eval()
    if network.radix:  # attention pools the whole map, which is larger in a dilated network, so it is made constant
        for module in original.modules():
            if hasattr(module, "attend"):
                nn.init.zeros_(module.squeeze.weight)
    strides = Backbone(original).feature_info.reduction()
    dilated = AnyNet(network, output_stride=strides[-1] // 2**removed_strides).double().eval()
    dilated.load_state_dict(original.state_dict())
    x = images(2, 3, height, width)
    backbone = Backbone(dilated)
    reductions = backbone.feature_info.reduction()
    assert reductions[-1] == strides[-1] // 2**removed_strides
    all_maps = zip(Backbone(original)(x), backbone(x), strides, reductions, strict=True)
    for original_map, dilated_map, stride, reduction in all_maps:
        factor = stride // reduction
        torch.testing.assert_close(dilated_map[:, :, ::factor, ::factor], original_map, rtol=1e-9, atol=1e-9)
        assert dilated_map.shape[2:] == (-(-height // reduction), -(-width // reduction))


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["resnest50", "regnetx_400mf", "resnet50"])
def test_output_strides_of_published_networks(name, stride):
    model = AnyNet(catalog.get(name), output_stride=stride).eval()
    assert list(model.state_dict()) == list(AnyNet(catalog.get(name)).state_dict())
    with torch.no_grad():
        assert Backbone(model, (4,))(images(1, 3, 65, 96, dtype=torch.float32))[0].shape[2:] == (
            -(-65 // stride),
            96 // stride,
        )
        assert model(images(1, 3, 65, 96, dtype=torch.float32)).shape == (1, 1000)


def test_impossible_output_strides_are_rejected():
    with pytest.raises(
        InputError, match="output_stride=12 is not possible for this network; choose from: 2, 4, 8, 16, 32"
    ):
        AnyNet(catalog.get("regnetx_400mf"), output_stride=12)
    with pytest.raises(InputError, match="choose from: 4, 8, 16, 32"):
        AnyNet(catalog.get("resnest50"), output_stride=2)


def test_blocks_whose_strides_are_those_of_patches_cannot_be_dilated():
    with pytest.raises(InputError, match="output_stride is not possible for convnext blocks"):
        AnyNet(small("imagenet", "convnext"), output_stride=4)
    assert AnyNet(small("imagenet", "convnext"), output_stride=16)  # the stride that it has


def test_frozen_norms_are_constant():
    model = randomise_norms(AnyNet(small())).double()
    expected = model.eval()(images(2, 3, 32, 32)).detach()
    names = list(model.state_dict())
    freeze_norms(model.train())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert sorted(model.state_dict()) == sorted(names)
    output = model(images(2, 3, 32, 32))
    torch.testing.assert_close(output, expected)
    before = {name: value.clone() for name, value in model.named_buffers()}
    output.sum().backward()
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    learned = {name for name, _ in model.named_parameters()}
    assert not any(".norm." in name for name in learned)
    assert isinstance(model.stem.conv1.norm, FrozenBatchNorm2d)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"drop_path": 0.3, "drop_block": 0.1}])
def test_checkpointing_changes_no_gradient(dtype, options):
    network = small()
    results = []
    for checkpointing in (False, True):
        model = AnyNet(network, checkpointing=checkpointing, **options).to(dtype)
        backbone = Backbone(AnyNet(network, checkpointing=checkpointing, **options).to(dtype), (1, 3))
        torch.manual_seed(0)
        for _ in range(2):
            model(images(4, 3, 32, 32, dtype=dtype)).square().sum().backward()
            maps = backbone(images(4, 3, 32, 32, dtype=dtype))
            sum(feature_map.square().sum() for feature_map in maps).backward()
        results.append(
            [tensor for m in (model, backbone) for tensor in (*(p.grad for p in m.parameters()), *m.buffers())]
        )
    for plain, repeated in zip(*results, strict=True):
        assert (plain is None and repeated is None) or torch.equal(plain, repeated)


def test_checkpointing_saves_fewer_values():
    def count_saved_values(checkpointing):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        model = AnyNet(catalog.get("regnetx_200mf"), checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(images(2, 3, 64, 64, dtype=torch.float32))
        return total

    assert count_saved_values(True) < 0.7 * count_saved_values(False)


@pytest.mark.parametrize("name", ["regnetx_400mf", "regnety_400mf", "resnest50", "efficientnet_b0", "convnext_tiny"])
def test_cost_of_a_backbone_is_that_of_the_network_without_head(name):
    network = catalog.get(name)
    without_head = complexity(network, 97, features=True)
    backbone = Backbone(AnyNet(network))
    assert backbone.complexity(97) == without_head
    assert without_head.params == sum(weight.numel() for weight in backbone.parameters())
    assert without_head.flops < complexity(network, 97).flops


def test_cost_of_a_backbone_counts_its_stages_its_dilation_and_learned_weights_only():
    network = small(shortcut="conv", downsampling="conv")
    first = dataclasses.replace(network, stages=network.stages[:1])
    assert Backbone(AnyNet(network), (1,)).complexity(64) == complexity(first, 64, features=True)
    stages = (*network.stages[:2], dataclasses.replace(network.stages[2], stride=1))
    dilated = Backbone(AnyNet(network, output_stride=16))
    assert dilated.complexity(64) == complexity(dataclasses.replace(network, stages=stages), 64, features=True)
    frozen = Backbone(freeze_norms(AnyNet(network)))
    norms = 2 * sum(m.num_features for m in AnyNet(network).modules() if isinstance(m, nn.BatchNorm2d))
    cost, whole = frozen.complexity(64), Backbone(AnyNet(network)).complexity(64)
    assert (cost.flops, cost.params, cost.activations) == (whole.flops, whole.params - norms, whole.activations)
    with pytest.raises(InputError, match="resolution must be"):
        frozen.complexity(0)
