"""Memory in closed form, against what torch allocates."""

import dataclasses
import importlib

import numpy as np
import pytest
import torch
from custom_source import SOURCE
from kinds import EVERYTHING
from torch.profiler import ProfilerActivity, profile

from designspace.models import AnyNet
from designspace.models.allocations import Allocations
from designspace.networks import catalog
from designspace.networks.columns import NetworkColumns
from designspace.networks.counting import count
from designspace.networks.memory import memory, peak_memory
from designspace.networks.network import Network, Stage, Stem
from designspace.spaces import catalog as spaces
from designspace.support.errors import InputError

PUBLISHED = (
    *("regnetx_400mf", "regnety_400mf", "resnest50", "resnet50", "efficientnet_b0", "convnext_tiny"),
    "shufflenet_v2_x1_0",
)


def allocated(network, side, batch=2, dtype="float32", device="meta"):
    """Return the most bytes alive in inference and in training."""
    with torch.device(device):
        model = AnyNet(network).to(getattr(torch, dtype))
        images = torch.zeros(batch, network.in_channels, side, side, dtype=getattr(torch, dtype))
    weights = list(model.parameters())
    inference, training = (Allocations([*weights, *model.buffers()]) for _ in range(2))
    for recorded in (inference, training):
        recorded.watch(images)
    with torch.no_grad(), inference:
        model.eval()(images)
    with training:
        logits = model.train()(images)
        gradients = torch.autograd.grad(logits, weights, torch.ones_like(logits))
    return inference.peak(), training.peak(without=gradients)


def counted(network, side, batch=2, dtype="float32"):
    return memory(network, side, batch=batch, dtype=dtype)[1:]


@pytest.mark.parametrize("name", EVERYTHING)
def test_memory_of_every_kind_is_what_torch_allocates(name):
    for side in (17, 64):
        assert counted(EVERYTHING[name], side) == allocated(EVERYTHING[name], side)


@pytest.mark.parametrize("name", PUBLISHED)
def test_memory_of_published_networks_is_what_torch_allocates(name):
    network = catalog.get(name)
    assert counted(network, 224, batch=3) == allocated(network, 224, batch=3)


STEMS = ("imagenet", "cifar", "resnet", "deep", "conv_pool", "patch")


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("head", ["linear", "layer_norm", "dense"])
def test_memory_of_stems_and_heads(stem, head):
    """The maps of the stem or the head are the largest ones."""
    for block, activation in (("mbconv", "silu"), ("mbconv", "relu"), ("basic", None)):
        network = Network(
            Stem(stem, 24 if stem != "patch" else 96),
            (Stage(1, 6, 1, 1, 6),),
            block=block,
            head=head,
            head_width=0 if head == "layer_norm" else 50,
            num_classes=100,
            parameters=(("activation", activation),) if activation == "relu" else (),
        )
        assert counted(network, 31) == allocated(network, 31)


SPACES = {
    "AnyNetXA": {},
    "AnyNetYB": {"resolution": 63},
    "AnyNeSt": {},
    "RegNeSt": {"block": "bottleneck_linear", "se_ratio": 0.1},
    "RegNetX": {"stem": "cifar", "resolution": 30},
    "ResNeXt-A": {"resolution": 32},
    "Vanilla": {"resolution": 33},
    "MBConv": {"resolution": 65},
    "ConvNeXt": {"resolution": 50},
    "AnyNetXC": {"block": "shufflenet", "strides": [1, 2, 3, 2], "resolution": 40},
}


@pytest.mark.parametrize("name", SPACES)
def test_memory_of_a_population_is_that_of_its_networks(name):
    """As columns, as single networks, and as torch allocates it."""
    population = spaces.space(name, **SPACES[name]).sample(20, seed=1)
    side = population.space.template.resolution
    columns = np.stack([population.quantity(name) for name in ("weight_bytes", "peak_memory", "training_memory")], 1)
    assert columns.dtype == np.int64
    assert columns.tolist() == [list(memory(network, side)) for network in population]
    network = min(population, key=lambda network: network.depth)  # torch takes a millisecond per layer
    assert counted(network, side) == allocated(network, side)


def test_memory_grows_with_the_batch_and_the_bytes_per_value():
    for network in (EVERYTHING["basic"], dataclasses.replace(EVERYTHING["resnet50"], num_classes=0)):
        one, many, half = memory(network, 50), memory(network, 50, batch=7), memory(network, 50, dtype="float16")
        assert many == (one.weight_bytes, 7 * one.peak_memory, 7 * one.training_memory)
        assert half.weight_bytes == one.weight_bytes / 2
        assert (network.stem.kind == "cifar") == (half[1:] == tuple(value / 2 for value in one[1:]))
        # The indices of a max pool have 8 bytes each in any type.
        assert counted(network, 50, dtype="float16") == allocated(network, 50, dtype="float16")


@pytest.mark.parametrize("kind", ["efficientnet_b0", "convnext_tiny", "resnest50"])
def test_memory_in_float16_is_what_torch_allocates(kind):
    network = EVERYTHING[kind]
    assert counted(network, 41, dtype="float16") == allocated(network, 41, dtype="float16")


def test_weight_bytes_are_those_of_weights_and_running_statistics():
    for name in PUBLISHED:
        network = catalog.get(name)
        with torch.device("meta"):
            model = AnyNet(network)
        tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
        assert memory(network).weight_bytes == sum(tensor.nbytes for tensor in tensors)


def profiled_peak(run):
    """Return the most bytes that torch's allocator gives out at once beside what is allocated before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(max(np.cumsum([event.nbytes() for event in events])))


def test_memory_is_that_of_the_allocator(monkeypatch):
    """With kernels that need no scratch memory: torch's own ones for depthwise and 1x1 convolutions."""
    network = EVERYTHING["efficientnet_b0"]
    model, images = AnyNet(network).eval(), torch.zeros(2, 3, 40, 40)
    inference, training = counted(network, 40)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    with torch.inference_mode():
        assert profiled_peak(lambda: model(images)) + images.nbytes == pytest.approx(inference, rel=0.02)

    def train():
        logits = model(images)
        logits.backward(torch.ones_like(logits))

    model.train()
    weights = sum(weight.nbytes for weight in model.parameters())
    peak = profiled_peak(train) + images.nbytes
    assert training <= peak <= 1.02 * (training + weights)  # their gradients may be alive at the peak, or not


def test_folded_memory_is_that_of_an_inference_runtime():
    """A 3x3 stem 1 -> 8 at 8 pixels, and a block 8 -> 16 of stride 2 with b = 1, whose largest map is the first one."""
    network = NetworkColumns.of(Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 16),), num_classes=3, in_channels=1))
    image, stem, widened, narrowed = 64, 8 * 64, 16 * 64, 16 * 16
    assert peak_memory(network, 8, folded=True, dtype="int8").tolist() == [stem + widened + narrowed]
    assert count(network, 8, ["int8_memory"])["int8_memory"].tolist() == [stem + widened + narrowed]
    assert peak_memory(network, 8).tolist() == [4 * (image + stem + 2 * widened)]


@pytest.fixture(scope="module")
def custom(tmp_path_factory):
    """Make a file of a user's classes, which Python can import; return its name."""
    folder = tmp_path_factory.mktemp("custom")
    (folder / "memory_parts.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield "memory_parts"


@pytest.mark.parametrize("block", ["Block", "Functional", "Listed", "Grouped", "NeedsNumbers"])
def test_memory_of_custom_classes_is_found_by_running_them(custom, block):
    network = Network(
        Stem(f"{custom}:Stem", 8),
        (Stage(3, 8, 2, 1, 8), Stage(2, 12, 1, 1, 12)),
        block=f"{custom}:{block}",
        head=f"{custom}:Head",
        num_classes=4,
    )
    device = "cpu" if block == "NeedsNumbers" else "meta"
    assert counted(network, 40) == pytest.approx(allocated(network, 40, device=device), rel=0.02)


def test_memory_of_a_class_that_cannot_be_run_says_why(custom):
    network = Network(Stem("cifar", 8), (Stage(1, 8, 2, 1, 8),), block=f"{custom}:FailsToRun")
    with pytest.raises(InputError, match=r"memory_parts:FailsToRun\(.*\) fails for an input of shape \(., 8, 32, 32\)"):
        memory(network, 32)
    with pytest.raises(InputError, match="not with norms folded into convolutions"):
        peak_memory(NetworkColumns.of(network), 32, folded=True)


def test_unknown_types_and_numbers_are_refused():
    network = catalog.get("resnet50")
    with pytest.raises(InputError, match="dtype"):
        memory(network, dtype="float8")
    for given in ({"resolution": 0}, {"batch": 0}):
        with pytest.raises(InputError, match="must be a whole number >= 1"):
            memory(network, **given)
