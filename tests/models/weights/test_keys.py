"""Comparison of key maps with the authors' own modules, and with lists generated from them."""

import hashlib
import json
from pathlib import Path

import originals
import pytest
import torch

from designspace.models import AnyNet
from designspace.models.weights import keys
from designspace.models.weights.keys import convert, detect, key_map, shapes
from designspace.networks import catalog
from designspace.support.errors import InputError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "weight_keys.json").read_text())
CASES = [(name, source) for name in catalog.names() for source in keys.sources(name)]
ORIGINALS = {
    "timm": originals.timm_model,
    "torchvision": originals.torchvision_model,
    "resnest": originals.official_resnest,
}
# Networks of which a source has no module.
ABSENT = {
    "timm": {
        "resnext152_32x4d",
        *(f"resnest50_fast_{variant}" for variant in ("1s1x64d", "2s1x64d", "4s1x64d", "1s2x40d", "2s2x40d")),
    },
    "torchvision": {
        *(f"regnetx_{size}" for size in ("200mf", "400mf", "600mf", "4_0gf", "6_4gf", "12gf")),
        *(f"regnety_{size}" for size in ("200mf", "600mf", "800mf", "4_0gf", "6_4gf", "8_0gf", "12gf")),
        "resnext101_32x4d",
        "resnext152_32x4d",
    },
    "resnest": set(),
}


def is_bgr(name, source):
    """Return whether the source's weights are for blue, green, red: pycls's, and RegNets that were made of them."""
    return source == "pycls" or (name.startswith("regnet") and source in ("mmdet", "detectron2"))


def as_source(name, source, counters=True):
    """Return a state dict with the source's keys; each tensor repeats a unique number without further memory."""
    state = {
        theirs: torch.tensor(float(number)).expand(shapes(name)[ours])
        for number, (ours, theirs) in enumerate(key_map(name, source).items())
        if counters or not ours.endswith("num_batches_tracked")
    }
    if is_bgr(name, source):
        stem = next(iter(state))
        colours = torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1)  # blue, green, red
        state[stem] = state[stem] + colours
    return state


@pytest.mark.parametrize(("name", "source"), CASES)
def test_each_key_gets_the_tensor_of_its_source_key(name, source):
    counters = source != "gluon"
    state = convert(as_source(name, source, counters), name=name, source=source)
    assert list(state) == list(shapes(name))
    assert {key: tuple(value.shape) for key, value in state.items()} == shapes(name)
    for number, (key, value) in enumerate(state.items()):
        if number == 0 and is_bgr(name, source):
            assert value[0, :, 0, 0].tolist() == pytest.approx([0.3, 0.2, 0.1])  # red, green, blue
        elif key.endswith("num_batches_tracked") and not counters:
            assert value.item() == 0
        else:
            assert value[(0,) * value.dim()] == number, key


@pytest.mark.parametrize("source", ORIGINALS)
def test_keys_and_shapes_match_the_original_modules(source):
    absent = set()
    for name in catalog.names():
        if source not in keys.sources(name):
            continue
        try:
            with torch.device("meta"):
                original = ORIGINALS[source](name)
        except KeyError:
            absent.add(name)
            continue
        theirs = {key: tuple(value.shape) for key, value in original.state_dict().items()}
        assert {key: shapes(name)[ours] for ours, key in key_map(name, source).items()} == theirs
    assert absent == ABSENT[source]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("regnetx_200mf", "timm"),
        ("regnety_200mf", "timm"),
        ("regnetx_400mf_tv", "timm"),
        ("regnetx_400mf_tv", "torchvision"),
        ("regnety_800mf_tv", "torchvision"),
        ("regnety_400mf", "torchvision"),
        ("resnet50", "timm"),
        ("resnet50", "torchvision"),
        ("resnext50_32x4d", "torchvision"),
        ("resnest14", "timm"),
        ("resnest26", "resnest"),
        ("resnest50_fast_1s4x24d", "resnest"),
        ("resnest50_fast_2s2x40d", "resnest"),
        ("resnest50_fast_4s2x40d", "timm"),
    ],
)
def test_logits_equal_those_of_the_original_modules(name, source):
    random = torch.Generator().manual_seed(1)
    original = ORIGINALS[source](name).double().eval()
    for key, tensor in original.state_dict().items():
        if tensor.dim() == 1:  # initial batch-norms and biases are 0 or 1, which would hide wrong maps
            tensor.copy_(torch.rand(tensor.shape, generator=random) + (0.5 if "bias" not in key else -0.5))
    model = AnyNet(catalog.get(name)).double().eval()
    model.load_state_dict(convert(original.state_dict(), name=name, source=source))
    images = torch.randn(2, 3, 75, 61, generator=random, dtype=torch.float64)
    with torch.no_grad():
        expected, logits = original(images), model(images)
    assert (logits - expected).norm() < 1e-10 * expected.norm()


def test_converted_pycls_weights_expect_red_green_blue_images():
    name = "regnetx_200mf"
    trained = AnyNet(catalog.get(name), seed=3).eval()  # as pycls: on blue, green, red images
    state = {theirs: trained.state_dict()[ours] for ours, theirs in key_map(name, "pycls").items()}
    model = AnyNet(catalog.get(name)).eval()
    model.load_state_dict(convert(state, name=name, source="pycls"))
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(images), trained(images.flip(1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", GOLDEN["modules"])
def test_regnet_keys_match_recorded_keys(model):
    name = catalog.canonical_name(model)
    sources = [key_map(name, source) for source in ("pycls", "timm", "torchvision")]
    rows = [" ".join(source[key].rsplit(".", 1)[0] for source in sources) for key in shapes(name)]
    assert set(rows) == set(GOLDEN["modules"][model])
    assert all(len({source[key].rsplit(".", 1)[1] for source in sources}) == 1 for key in shapes(name))


def gluon_lines(name):
    return [
        f"{theirs} {'x'.join(map(str, shapes(name)[ours]))}"
        for ours, theirs in key_map(name, "gluon").items()
        if not ours.endswith("num_batches_tracked")
    ]


def test_gluon_names_match_recorded_names():
    assert sorted(gluon_lines("resnest50")) == sorted(GOLDEN["gluon_resnest50"])


@pytest.mark.parametrize("name", GOLDEN["gluon_sha256"])
def test_gluon_names_of_all_models_match_recorded_digests(name):
    text = "\n".join(sorted(gluon_lines(name)))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN["gluon_sha256"][name]


def test_all_wrong_keys_are_listed():
    state = as_source("regnety_200mf", "pycls")
    state["s1.b1.f.d.weight"] = state.pop("s1.b1.f.a.weight")
    state["head.fc.weight"] = torch.zeros(10, 368)
    with pytest.raises(InputError) as caught:
        convert(state, name="regnety_200mf", source="pycls")
    assert str(caught.value) == (
        "these are not the weights of regnety_200mf from pycls: missing: s1.b1.f.a.weight; "
        "surplus: s1.b1.f.d.weight; wrong: head.fc.weight has shape (10, 368), not (1000, 368)"
    )


def test_the_first_of_many_wrong_keys_are_listed():
    with pytest.raises(InputError, match=r"missing: conv1\.weight, bn1\.weight, .* and 262 more$"):
        convert({}, name="resnet50", source="torchvision")
    with pytest.raises(InputError, match=r"wrong: fc\.bias is not a tensor but of type list$"):
        convert({**as_source("resnet50", "timm"), "fc.bias": [1.0]}, name="resnet50", source="timm")


def test_keys_that_are_not_text_are_surplus():
    with pytest.raises(InputError, match=r"from timm: surplus: 0$"):
        convert({**as_source("resnest14", "timm"), 0: torch.zeros(1)}, name="resnest14", source="timm")


def test_missing_counters_become_zero_and_surplus_ones_are_errors():
    state = as_source("resnet50", "torchvision")
    del state["bn1.num_batches_tracked"]
    assert convert(state, name="resnet50", source="torchvision")["stem.conv1.norm.num_batches_tracked"].item() == 0
    state = {**as_source("resnest14", "gluon", counters=False), "bn1.num_batches_tracked": torch.tensor(0)}
    with pytest.raises(InputError, match=r" from gluon: surplus: bn1\.num_batches_tracked$"):
        convert(state, name="resnest14", source="gluon")


def test_prefixes_of_data_parallel_are_removed():
    state = as_source("resnest14", "resnest")
    wrapped = {f"module.{key}": value for key, value in state.items()}
    assert detect(wrapped, "resnest14") == "resnest"
    converted = convert(wrapped, name="resnest14", source="resnest")
    assert converted.keys() == shapes("resnest14").keys()
    del wrapped["module.fc.bias"]
    wrapped["fc.bias"] = state["fc.bias"]
    with pytest.raises(InputError, match=r"from resnest: missing: fc\.bias$"):
        convert(wrapped, name="resnest14", source="resnest")


def test_convert_keeps_types_and_does_not_modify_its_input():
    state = {key: value.double() for key, value in as_source("regnetx_200mf", "pycls").items()}
    before = dict(state)
    converted = convert(state, name="RegNetX-200MF", source="pycls")
    assert {value.dtype for value in converted.values()} == {torch.float64}
    assert all(state[key] is before[key] for key in before)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("regnetx_200mf", "resnest", "resnest has no model of regnetx_200mf; choose from: pycls, timm, torchvision"),
        ("resnest50", "torchvision", "torchvision has no model of resnest50; choose from: resnest, gluon, timm"),
        ("resnet50", "keras", "unknown source of weights 'keras'; choose from: designspace, resnest, gluon, pycls"),
        ("alexnet", "timm", "unknown network 'alexnet'"),
    ],
)
def test_sources_without_the_model_are_errors(name, source, message):
    with pytest.raises(InputError, match=message):
        convert({}, name=name, source=source)


@pytest.mark.parametrize(
    ("actual_name", "source", "requested_name"),
    [
        ("regnetx_400mf_tv", "torchvision", "regnetx_400mf"),
        ("regnetx_400mf_tv", "timm", "regnetx_400mf"),
        ("regnety_8_0gf", "pycls", "regnety_8_0gf_tv"),
    ],
)
def test_confusing_torchvision_and_pycls_widths_gives_a_hint(actual_name, source, requested_name):
    with pytest.raises(InputError, match=f"has shape .*try {actual_name}$"):
        convert(as_source(actual_name, source), name=requested_name, source=source)


@pytest.mark.parametrize(("name", "source"), [case for case in CASES if case[0] in ("regnety_200mf", "resnest50")])
def test_the_source_is_detected(name, source):
    state = as_source(name, source, counters=source != "gluon")
    detected = detect(state, name)
    assert key_map(name, detected) == key_map(name, source)  # timm's ResNeSts have the authors' keys


def test_unknown_keys_are_compared_with_the_closest_source():
    state = as_source("resnet50", "pycls")
    state["head.fc2.bias"] = state.pop("head.fc.bias")
    with pytest.raises(InputError) as caught:
        detect(state, "resnet50")
    assert str(caught.value) == (
        "these are not the keys of resnet50 from any supported source (designspace, pycls, timm, torchvision, "
        "mmdet, detectron2). Closest is pycls: missing: head.fc.bias; surplus: head.fc2.bias"
    )
