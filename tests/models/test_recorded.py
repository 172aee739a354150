"""Recorded training steps give the same bits as steps that run the modules one by one."""

import copy
import dataclasses

import pytest
import torch
from kinds import EVERYTHING, images
from stripes import stripes
from torch import nn
from torch.nn import functional

from designspace.models import AnyNet, fuse
from designspace.models.cpu import RecordedModel, kernels
from designspace.models.cpu import recorded as recorded_module
from designspace.models.cpu.calls import repeat
from designspace.models.cpu.memory import Pool, allocating_from, empty, empty_like, new_map
from designspace.networks.network import Network, Stage, Stem
from designspace.spaces import catalog
from designspace.training import train
from designspace.training.optimiser import make_optimiser
from designspace.training.state import State
from designspace.training.step import Step
from designspace.trials.recipe import Recipe

NETWORK = Network(Stem("cifar", 8), (Stage(2, 16, 2, 1, 8), Stage(2, 24, 2, 2, 4)), num_classes=5, se_ratio=0.25)
SPACES = [("AnyNetXA", 0), ("AnyNetYA", 0), ("AnyNetXA", 2), ("AnyNetYA", 1)]
WITHOUT_KERNELS = (
    *("efficientnet_b0", "convnext_tiny", "shufflenet_v2_x1_0", "dense head"),
    "linear, radix 1, average pool of stride 3, head",
)


@pytest.fixture(autouse=True)
def _compiled_and_on_one_thread(one_thread):
    assert kernels.has_convolutions()


def new_model(network):
    """Return a fused model in training mode."""
    return fuse(AnyNet(network, seed=1).to(memory_format=torch.channels_last).train())


def batch(network, number, shape=(4, 20, 15)):
    """Return images and labels."""
    generator = torch.Generator().manual_seed(number)
    return images(network, shape) * (1 + number), torch.randint(5, (shape[0],), generator=generator)


def train_for(model, forward, batches):
    """Train a model by a function that runs it; return the losses."""
    optimiser = make_optimiser(model, Recipe(lr=0.05))
    losses = []
    for x, labels in batches:
        optimiser.zero_grad(set_to_none=True)
        logits = forward(x)
        loss = functional.cross_entropy(logits.mean((2, 3)) if logits.dim() == 4 else logits, labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def assert_same_training(network, batches, recorded_parts=True):
    """Assert that a recorded training and one by modules have the same losses, weights, statistics and gradients."""
    by_modules, model = new_model(network), new_model(network)
    recorded = RecordedModel.of(model)
    assert (recorded is not None) == recorded_parts
    expected = train_for(by_modules, by_modules, batches)
    assert train_for(model, recorded or model, batches) == expected
    for name, value in by_modules.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    for (name, parameter), other in zip(by_modules.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad), name
        assert parameter.grad.stride() == other.grad.stride()


@pytest.mark.parametrize("name", EVERYTHING)
def test_networks_of_every_kind(name):
    network = EVERYTHING[name]
    has_kernels = name not in WITHOUT_KERNELS
    assert_same_training(network, [batch(network, number, (4, 33, 37)) for number in range(4)], has_kernels)


@pytest.mark.parametrize(("space", "radix"), SPACES)
def test_networks_of_spaces(space, radix):
    drawn = catalog.space(space, radix=[radix], in_channels=1, num_classes=5)
    for network in drawn.sample(3, seed=4):
        assert_same_training(network, [batch(network, number) for number in range(4)])


@pytest.mark.parametrize(("stride", "before_strides"), [(1, 0), (2, 1)])
def test_ends_of_blocks_run_backward_in_the_kernels_of_the_next_blocks(stride, before_strides):
    network = Network(Stem("cifar", 8), (Stage(3, 16, 2, 1, 8), Stage(2, 24, stride, 2, 4)), num_classes=5)
    batches = [batch(network, number, (4, 37, 23)) for number in range(3)]
    assert_same_training(network, batches)
    recorded = RecordedModel.of(new_model(network))
    recorded(batches[0][0]).sum().backward()
    segments = [run for run in recorded._runs if isinstance(run, recorded_module._Segment)]
    names = [call.name for segment in segments for call in segment._backward_calls]
    assert names.count("join_backward") == len(["stem", "last block"]) + before_strides


def test_other_shapes_are_recorded_again():
    shapes = [(4, 20, 15), (4, 20, 15), (3, 20, 15), (1, 20, 15), (4, 16, 16), (4, 20, 15), (4, 20, 15)]
    assert_same_training(NETWORK, [batch(NETWORK, number, shape) for number, shape in enumerate(shapes)])


def test_recorded_memory_is_kept_by_no_one_else():
    """Tensors that are allocated between steps must not get memory that recorded calls write."""
    by_modules, model = new_model(NETWORK), new_model(NETWORK)
    recorded = RecordedModel.of(model)
    others = []

    def forward(x):
        others.append((new := torch.full((1 << 16,), 7.0), new.clone()))
        return recorded(x)

    batches = [batch(NETWORK, number) for number in range(4)]
    assert train_for(model, forward, batches) == train_for(by_modules, by_modules, batches)
    assert all(torch.equal(value, original) for value, original in others)


def test_gradients_of_images():
    model, by_modules = new_model(NETWORK), new_model(NETWORK)
    recorded = RecordedModel.of(model)
    for number in range(3):
        x = batch(NETWORK, number)[0].requires_grad_()
        other = x.detach().clone().requires_grad_()
        recorded(x).square().sum().backward()
        by_modules(other).square().sum().backward()
        assert torch.equal(x.grad, other.grad)
        model.zero_grad(set_to_none=True)


def test_evaluation_and_autocast_run_the_modules():
    model = new_model(NETWORK)
    recorded = RecordedModel.of(model)
    x = batch(NETWORK, 0)[0]
    recorded(x).sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        assert recorded(x).dtype is torch.bfloat16
    model.eval()
    with torch.no_grad():
        assert torch.equal(recorded(x), model(x))


def replace_parameter(model):
    model.stages[0][0].transform[0].norm.weight = nn.Parameter(torch.ones(16))


CHANGES = {
    "evaluation": AnyNet.eval,
    "a frozen parameter": lambda model: model.stem.conv.weight.requires_grad_(False),
    "a new parameter": replace_parameter,
    "a hook on a block": lambda model: model.stages[0][0].register_forward_hook(lambda *_: None),
    "a hook on a layer": lambda model: model.stages[1][0].transform[0].conv.register_forward_hook(lambda *_: None),
    "a hook on a stage": lambda model: model.stages[1].register_forward_hook(lambda *_: None),
    "a hook on the stem": lambda model: model.stem.register_forward_pre_hook(lambda *_: None),
    "another activation": lambda model: setattr(model.stages[0][1], "relu", nn.SiLU()),
    "another momentum": lambda model: setattr(model.stem.norm, "momentum", 0.2),
    "another block": lambda model: model.stages[0].append(nn.Identity()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_are_detected(change):
    model = new_model(NETWORK)
    recorded = RecordedModel.of(model)
    assert recorded.is_valid()
    change(model)
    assert not recorded.is_valid()


def test_overwritten_maps_raise_an_error():
    model = new_model(NETWORK)
    recorded = RecordedModel.of(model)
    x = batch(NETWORK, 0)[0]
    first, second = recorded(x).sum(), recorded(x).sum()
    with pytest.raises(RuntimeError, match="overwritten"):
        first.backward()
    second.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="run each backward pass once"):
        second.backward()


def test_weights_may_be_moved_and_changed_in_place():
    model, by_modules = new_model(NETWORK), new_model(NETWORK)
    recorded = RecordedModel.of(model)
    batches = [batch(NETWORK, number) for number in range(2)]
    assert train_for(model, recorded, batches) == train_for(by_modules, by_modules, batches)
    for module in (model, by_modules):
        for parameter in module.parameters():
            parameter.data = parameter.data.clone() * 1.5
    assert train_for(model, recorded, batches) == train_for(by_modules, by_modules, batches)


def test_other_modules_are_not_recorded(monkeypatch):
    assert RecordedModel.of(nn.Linear(2, 2)) is None
    assert RecordedModel.of(AnyNet(NETWORK)) is None
    assert RecordedModel.of(fuse(AnyNet(NETWORK, checkpointing=True))) is None
    model = fuse(AnyNet(NETWORK))
    model.stages[0].register_forward_hook(lambda *_: None)
    assert RecordedModel.of(model) is None


def test_a_copy_of_a_recorded_model_trains_on_its_own():
    model = new_model(NETWORK)
    batches = [batch(NETWORK, number) for number in range(2)]
    train_for(model, RecordedModel.of(model), batches)
    other = copy.deepcopy(model)
    assert train_for(other, RecordedModel.of(other), batches) == train_for(model, model, batches)


def test_a_pool_reuses_memory_of_tensors_that_no_longer_exist():
    pool = Pool()
    with allocating_from(pool):
        first, second = empty((3, 5)), new_map(2, 3, 4, 5)
        addresses = first.data_ptr(), second.data_ptr()
        assert second.is_contiguous(memory_format=torch.channels_last)
        del second
        assert new_map(2, 3, 4, 5).data_ptr() == addresses[1]
        smaller = empty((40,), torch.float64)
        assert smaller.data_ptr() == addresses[1]
        assert empty((3, 5)).data_ptr() not in addresses
        weight = torch.empty(6, 2, 3, 3, memory_format=torch.channels_last)
        assert empty_like(weight).stride() == weight.stride()
    assert empty((40,), torch.float64).data_ptr() != smaller.data_ptr()


def test_trainings_are_recorded_and_give_the_same_numbers(monkeypatch):
    recipe = Recipe(data="stripes", epochs=2, batch_size=16, lr=0.1, ema_decay=0.9, mixup=0.2)
    network = dataclasses.replace(NETWORK, in_channels=2, num_classes=3)
    repeated = []
    monkeypatch.setattr(recorded_module, "repeat", lambda calls: (repeated.append(len(calls)), repeat(calls)))
    results = [train(network, recipe, stripes())]
    assert repeated
    repeated.clear()
    monkeypatch.setattr(RecordedModel, "of", lambda model: None)
    results.append(train(network, recipe, stripes()))
    assert not repeated
    assert results[0] == dataclasses.replace(results[1], train_s=results[0].train_s)


def test_steps_that_add_up_gradients_are_not_recorded():
    model = new_model(NETWORK)
    for recipe, records in ((Recipe(), True), (Recipe(accumulate=2), False)):
        assert (Step(State(model, recipe), model, recipe)._recorded is not None) == records
