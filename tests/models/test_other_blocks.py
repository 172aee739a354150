"""EfficientNet, ConvNeXt and ShuffleNetV2 compute what torchvision's modules compute."""

import originals
import pytest
import torch
from torch import nn
from torch.nn import functional

from designspace.models import AnyNet
from designspace.models.layers import PatchConv
from designspace.networks import catalog
from designspace.networks.complexity import complexity

PARAMETERS = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "shufflenet_v2_x1_0": 2_278_604,
}
"""Parameters in torchvision's documentation."""


def varied(model):
    """Return a module whose scales, shifts and statistics differ, so that none can be lost or exchanged."""
    generator = torch.Generator().manual_seed(1)
    for key, tensor in model.state_dict().items():
        if key.endswith("layer_scale") or (tensor.dim() == 1 and not key.endswith("bias")):
            tensor.uniform_(0.3, 1.0, generator=generator)
        elif tensor.dim() == 1:
            tensor.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def in_our_order(theirs):
    """Return the tensors of a module of torchvision; layer scales are the first of a block there, the last in ours."""
    keys = [key for key in theirs.state_dict() if not key.endswith("layer_scale")]
    for key in [key for key in theirs.state_dict() if key.endswith("layer_scale")]:
        keys.insert(keys.index(key.replace("layer_scale", "block.5.bias")) + 1, key)
    return [theirs.state_dict()[key] for key in keys]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("efficientnet_b0", (64, 64)),
        ("efficientnet_b0", (75, 61)),
        ("convnext_tiny", (64, 96)),
        ("shufflenet_v2_x1_0", (64, 64)),
        ("shufflenet_v2_x1_0", (75, 61)),
    ],
)
def test_logits_equal_those_of_torchvision(name, size):
    theirs = varied(originals.torchvision_model(name).double())
    ours = AnyNet(catalog.get(name)).double().eval()
    state = ours.state_dict()
    tensors = zip(state.items(), in_our_order(theirs), strict=True)
    ours.load_state_dict({key: tensor.reshape(value.shape) for (key, value), tensor in tensors})
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5  # torchvision has 1e-3 in some EfficientNets, as their authors
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        expected, logits = theirs(x), ours(x)
    assert (logits - expected).norm() < 1e-10 * expected.norm()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_equal_those_of_torchvision(name):
    assert complexity(catalog.get(name)).params == PARAMETERS[name]


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (4, 8), (5, 7), (9, 6)])
def test_patches_at_the_border_are_padded_with_zeros(side, size):
    layer = PatchConv(3, 5, side).double()
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    height, width = (-(-n // side) * side for n in size)
    padded = functional.pad(x, (0, width - size[1], 0, height - size[0]))
    torch.testing.assert_close(layer(x), nn.Conv2d.forward(layer, padded))
