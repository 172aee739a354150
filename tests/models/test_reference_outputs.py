"""Outputs of the authors' own code, with weights that are generated from the names of their state dict."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from designspace.models import AnyNet
from designspace.models.blocks import Block
from designspace.models.split_attention import SplitAttention
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem

GOLDEN = Path(__file__).parents[1] / "golden"
SPLIT_ATTENTION = json.loads((GOLDEN / "split_attention.json").read_text())
LOGITS = json.loads((GOLDEN / "published_logits.json").read_text())["models"]

# Patterns that translate our names, one after the other, to those of the official ResNeSt code and of pycls.
OFFICIAL_SPLIT_ATTENTION = (
    (r"^splits\.conv\.", "conv."),
    (r"^splits\.norm\.", "bn0."),
    (r"^squeeze\.", "fc1."),
    (r"^norm\.", "bn1."),
    (r"^attend\.", "fc2."),
)
OFFICIAL_BLOCK = (
    (r"transform\.conv([13])\.conv\.", r"conv\1."),
    (r"transform\.conv([13])\.norm\.", r"bn\1."),
    (r"transform\.conv2\.splits\.conv\.", "conv2.conv."),
    (r"transform\.conv2\.splits\.norm\.", "conv2.bn0."),
    (r"transform\.conv2\.squeeze\.", "conv2.fc1."),
    (r"transform\.conv2\.norm\.", "conv2.bn1."),
    (r"transform\.conv2\.attend\.", "conv2.fc2."),
    (r"shortcut\.project\.conv\.", "downsample.1."),
    (r"shortcut\.project\.norm\.", "downsample.2."),
)
OFFICIAL_PLAIN_BLOCK = (
    (r"transform\.conv2\.conv\.", "conv2."),
    (r"transform\.conv2\.norm\.", "bn2."),
    *OFFICIAL_BLOCK,
)
OFFICIAL_RESNEST = (
    (r"^stem\.conv1\.conv\.", "conv1.0."),
    (r"^stem\.conv1\.norm\.", "conv1.1."),
    (r"^stem\.conv2\.conv\.", "conv1.3."),
    (r"^stem\.conv2\.norm\.", "conv1.4."),
    (r"^stem\.conv3\.conv\.", "conv1.6."),
    (r"^stem\.conv3\.norm\.", "bn1."),
    (r"^stages\.(\d+)\.(\d+)\.", lambda match: f"layer{int(match[1]) + 1}.{match[2]}."),
    (r"^head\.classifier\.", "fc."),
    *OFFICIAL_BLOCK,
)
PYCLS = (
    (r"^stem\.norm\.", "stem.bn."),
    (r"^stages\.(\d+)\.(\d+)\.", lambda match: f"s{int(match[1]) + 1}.b{int(match[2]) + 1}."),
    (r"^head\.classifier\.", "head.fc."),
    (r"transform\.conv(\d)\.(conv|norm)\.", lambda m: f"f.{'abc'[int(m[1]) - 1]}{'_bn' if m[2] == 'norm' else ''}."),
    (r"transform\.se\.squeeze\.", "f.se.f_ex.0."),
    (r"transform\.se\.excite\.", "f.se.f_ex.2."),
    (r"shortcut\.conv\.", "proj."),
    (r"shortcut\.norm\.", "bn."),
)


def unit(name, count):
    """Return numbers in [0, 1) generated from a name: SplitMix64 seeded with its CRC-32."""
    with np.errstate(over="ignore"):
        z = np.uint64(zlib.crc32(name.encode()) << 32) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def fill_weights(module: nn.Module, names) -> nn.Module:
    """Set every weight to the value generated from its name in the reference code."""
    module = module.double().eval()
    used_names = set()
    for key, tensor in module.state_dict().items():
        name = key
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        assert name not in used_names
        used_names.add(name)
        u = unit(name, tensor.numel()).reshape(tensor.shape)
        leaf = name.rsplit(".", 1)[-1]
        if leaf == "num_batches_tracked":
            value = np.zeros(())
        elif tensor.dim() >= 2:
            value = (2 * u - 1) * np.sqrt(3 / (tensor.numel() // tensor.shape[0]))
        elif leaf in ("weight", "running_var"):
            value = 0.75 + 0.5 * u
        else:
            value = 0.1 * (2 * u - 1)
        tensor.copy_(torch.from_numpy(value))
    return module


def symmetric_values(name, shape):
    return torch.from_numpy(2 * unit(name, int(np.prod(shape))) - 1).reshape(shape)


def assert_output(output, case):
    assert list(output.shape) == case["output_shape"]
    assert output.norm().item() == pytest.approx(case["output_l2"], rel=1e-10)
    values = output.detach().flatten()[:: case["output_step"]].numpy()
    np.testing.assert_allclose(values, case["output"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "case", SPLIT_ATTENTION["split_attention"], ids=lambda case: f"r{case['radix']}w{case['width']}"
)
def test_split_attention_equals_the_authors(case):
    attention = SplitAttention(
        case["width"], radix=case["radix"], cardinality=case["cardinality"], stride=case["stride"]
    )
    fill_weights(attention, OFFICIAL_SPLIT_ATTENTION)
    assert sum(parameter.numel() for parameter in attention.parameters()) == case["params"]
    x = symmetric_values("input", case["input_shape"]).requires_grad_()
    output = attention(x)
    assert_output(output, case)

    (output * symmetric_values("probe", case["output_shape"])).sum().backward()
    assert x.grad.norm().item() == pytest.approx(case["grad_input_l2"], rel=1e-10)
    for key, parameter in attention.named_parameters():
        for pattern, replacement in OFFICIAL_SPLIT_ATTENTION:
            key = re.sub(pattern, replacement, key)
        assert parameter.grad.norm().item() == pytest.approx(case["grad_l2"][key], rel=1e-9)

    trained = attention.train()(x)
    assert trained.norm().item() == pytest.approx(case["train_output_l2"], rel=1e-10)
    np.testing.assert_allclose(trained.flatten()[:16].detach(), case["train_output_first16"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", SPLIT_ATTENTION["bottleneck"], ids=lambda case: f"r{case['radix']}s{case['stride']}")
def test_bottleneck_equals_the_authors(case):
    width = 4 * case["planes"]
    inner = case["planes"] * case["bottleneck_width"] // 64 * case["cardinality"]
    stage = Stage(2, width, case["stride"], width / inner, inner // case["cardinality"])
    downsampling = ("avg_pool_before" if case["avd_first"] else "avg_pool_after") if case["avd"] else "conv"
    network = Network(Stem(), (stage,), radix=case["radix"], shortcut="avg_pool", downsampling=downsampling)
    block = Block(network, stage, case["inplanes"], first=case["is_first"])
    fill_weights(block, OFFICIAL_BLOCK if case["radix"] else OFFICIAL_PLAIN_BLOCK)
    assert sum(parameter.numel() for parameter in block.parameters()) == case["params"]
    with torch.no_grad():
        assert_output(block(symmetric_values("input", case["input_shape"])), case)


@pytest.mark.parametrize("name", LOGITS)
def test_logits_of_published_models_equal_the_authors(name):
    expected = LOGITS[name]
    model = fill_weights(AnyNet(catalog.get(name)), PYCLS if name.startswith("regnet") else OFFICIAL_RESNEST)
    assert len(model.state_dict()) == expected["n_keys"]
    with torch.no_grad():
        logits = model(symmetric_values("input", expected["input_shape"]))
    assert logits.shape == (1, 1000)
    assert logits.argmax().item() == expected["argmax"]
    assert logits.norm().item() == pytest.approx(expected["output_l2"], rel=1e-10)
    assert logits.sum().item() == pytest.approx(expected["output_sum"], rel=1e-8)
    np.testing.assert_allclose(logits[0, :16], expected["logits_first16"], rtol=1e-10, atol=1e-12)
