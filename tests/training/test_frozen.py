"""Frozen parts and layer-wise learning rates."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from designspace.models import AnyNet, cpu
from designspace.support.errors import InputError
from designspace.training import Interrupted, train, train_model
from designspace.training.frozen import frozen_parts
from designspace.training.optimiser import make_optimiser
from designspace.training.state import State
from designspace.training.step import Step
from designspace.trials.recipe import Recipe


def test_rates_fall_by_a_factor_from_part_to_part(network):
    model = AnyNet(network)
    optimiser = make_optimiser(model, Recipe(layer_decay=0.5))
    scales = {id(p): group["lr_scale"] for group in optimiser.param_groups for p in group["params"]}
    for part, expected in zip((model.stem, *model.stages, model.head), (1 / 8, 1 / 4, 1 / 2, 1), strict=True):
        assert {scales[id(parameter)] for parameter in part.parameters()} == {expected}
    assert len(scales) == len(list(model.parameters()))
    state = State(model, Recipe(layer_decay=0.5))
    state.set_learning_rate(0.8)
    assert [group["lr"] for group in state.optimiser.param_groups] == [
        0.8 * group["lr_scale"] for group in state.optimiser.param_groups
    ]


@pytest.mark.parametrize("fused", [False, True])
def test_steps_equal_those_of_a_plain_loop(network, fused):
    recipe = Recipe(batch_size=8, layer_decay=0.5, frozen_stages=2, lr=0.1, weight_decay=0.01)
    images = torch.rand(8, 2, 10, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(8) % 3
    ours, plain = (AnyNet(network, seed=1).to(memory_format=torch.channels_last) for _ in range(2))
    with frozen_parts(ours, recipe) as frozen:
        if fused:
            cpu.fuse(ours)
        step = Step(State(ours, recipe), ours, recipe, frozen)
        step.begin()
        for _ in range(3):
            step(images, targets)
        cpu.unfuse(ours)
    plain.train()
    plain.stem.eval().requires_grad_(False)
    plain.stages[0].eval().requires_grad_(False)
    groups = [
        {"params": [p for p in part.parameters() if (p.dim() > 1) == decays], "lr": rate, "weight_decay": decay}
        for part, rate in ((plain.stages[1], 0.05), (plain.head, 0.1))
        for decays, decay in ((True, 0.01), (False, 0.0))
    ]
    optimiser = torch.optim.SGD([group for group in groups if group["params"]], momentum=0.9, nesterov=True)
    for _ in range(3):
        optimiser.zero_grad()
        functional.cross_entropy(plain(images), targets).backward()
        optimiser.step()
    expected = plain.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_frozen_parts_are_unchanged_and_the_module_is_as_before(network, recipe, data):
    recipe = dataclasses.replace(recipe, epochs=2, frozen_stages=2, layer_decay=0.7)
    model = AnyNet(network, seed=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_model(model, recipe, data)
    for name, value in model.state_dict().items():
        is_frozen = name.startswith(("stem.", "stages.0."))
        assert torch.equal(value, before[name]) == is_frozen, name
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_an_interrupted_fine_tuning_resumes_to_the_same_bits(network, recipe, data, tmp_path):
    recipe = dataclasses.replace(recipe, epochs=3, frozen_stages=1, layer_decay=0.5, ema_decay=0.9)
    whole = AnyNet(network, seed=3)
    train_model(whole, recipe, data, checkpoint=tmp_path / "whole.pt")
    part, calls = AnyNet(network, seed=3), []
    with pytest.raises(Interrupted):
        train_model(
            part, recipe, data, checkpoint=tmp_path / "part.pt", should_stop=lambda: calls.append(1) or len(calls) > 7
        )
    resumed = AnyNet(network, seed=3)
    train_model(resumed, recipe, data, checkpoint=tmp_path / "part.pt")
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer_decay": 0}, "layer_decay must be above 0; frozen_stages chooses parts that are not trained"),
        ({"layer_decay": 1.1}, "layer_decay must be a number from 0 to 1, not 1.1"),
        ({"frozen_stages": -1}, "frozen_stages must be a whole number >= 0, not -1"),
    ],
)
def test_recipes_are_checked(values, message):
    with pytest.raises(InputError, match=message):
        Recipe(**values)


def test_networks_without_the_parts_are_rejected(network, recipe, data):
    with pytest.raises(InputError, match="frozen_stages must be at most 3 for this network, not 4"):
        train(network, dataclasses.replace(recipe, frozen_stages=4), data)
    other = nn.Sequential(nn.Flatten(), nn.Linear(180, 3))
    for option in ({"frozen_stages": 1}, {"layer_decay": 0.5}):
        with pytest.raises(InputError, match="is for an AnyNet"):
            train_model(other, dataclasses.replace(recipe, **option), data)
