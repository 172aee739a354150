import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from designspace.models import AnyNet
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError
from designspace.training.optimiser import SGD, AdamW, learning_rate, make_optimiser, prepare_state
from designspace.trials.recipe import Recipe


def test_only_weights_of_convolutions_and_linear_layers_decay():
    network = Network(Stem("cifar", 8), (Stage(1, 8, 2, 1, 4),), se_ratio=0.5, radix=2)
    model = AnyNet(network)
    recipe = Recipe(lr=0.3, momentum=0.8, nesterov=False, weight_decay=0.01)
    optimiser = make_optimiser(model, recipe)
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_decayed = isinstance(module, (nn.Conv2d, nn.Linear)) and name == "weight"
            assert decay[id(parameter)] == (0.01 if is_decayed else 0.0)
    for group in optimiser.param_groups:
        assert (group["lr"], group["momentum"], group["nesterov"]) == (0.3, 0.8, False)


def test_learning_rate_follows_half_a_cosine_per_step():
    recipe = Recipe(epochs=4, lr=0.2)
    rates = [learning_rate(recipe, step, 5) for step in range(20)]
    assert rates[0] == 0.2
    assert rates[10] == pytest.approx(0.1)
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 20)) for step in range(20)])
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.002


def test_learning_rate_warms_up_in_equal_steps():
    recipe = Recipe(epochs=4, lr=0.2, warmup_epochs=1.6)
    rates = [learning_rate(recipe, step, 5) for step in range(20)]
    assert rates[:8] == pytest.approx([0.025 * (step + 1) for step in range(8)])
    assert rates[8] == 0.2
    assert rates[14] == pytest.approx(0.1)


def test_warm_up_may_last_to_the_end():
    recipe = Recipe(epochs=2, lr=1.0, warmup_epochs=2)
    assert [learning_rate(recipe, step, 2) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("prepared", [False, True])
def test_steps_of_adamw_equal_those_of_torch(prepared):
    layers = [nn.Linear(8, 8), nn.Linear(8, 8)]
    layers[1].load_state_dict(layers[0].state_dict())
    options = {"lr": 0.1, "betas": (0.8, 0.99), "weight_decay": 0.01}
    ours, theirs = (
        AdamW(layers[0].parameters(), **options, fused=True),
        torch.optim.AdamW(layers[1].parameters(), **options),
    )
    if prepared:
        prepare_state(ours)
    for step in range(4):
        for layer, optimiser in zip(layers, (ours, theirs), strict=True):
            optimiser.zero_grad()
            layer(torch.full((4, 8), float(step + 1))).square().sum().backward()
            optimiser.step()
    for a, b in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_recipes_choose_adamw():
    model = AnyNet(Network(Stem("cifar", 8), (Stage(1, 8, 2, 1, 4),)))
    optimiser = make_optimiser(model, Recipe(optimiser="adamw", momentum=0.8, beta2=0.95, lr=0.01, weight_decay=0.1))
    assert isinstance(optimiser, AdamW)
    assert {group["betas"] for group in optimiser.param_groups} == {(0.8, 0.95)}
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.1, 0.0]
    with pytest.raises(InputError, match="optimiser must be one of sgd, adamw, not 'adam'"):
        Recipe(optimiser="adam")
    assert Recipe(optimiser="adamw", momentum=0.0).momentum == 0


def test_steps_equal_those_of_torch():
    layers = [nn.Linear(8, 8), nn.Linear(8, 8)]
    layers[1].load_state_dict(layers[0].state_dict())
    for kind, layer in zip((SGD, torch.optim.SGD), layers, strict=True):
        optimiser = kind(layer.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, fused=True)
        for step in range(3):
            optimiser.zero_grad()
            layer(torch.full((4, 8), float(step))).square().sum().backward()
            optimiser.step()
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert not torch.equal(layers[0].weight, nn.Linear(8, 8).weight)


def test_training_does_not_load_torchs_compiler():
    code = (
        "import sys, torch; from designspace.training.optimiser import SGD\n"
        "layer = torch.nn.Linear(8, 8)\n"
        "optimiser = SGD(layer.parameters(), lr=0.1, momentum=0.9, fused=True)\n"
        "layer(torch.ones(2, 8)).sum().backward(); optimiser.step(); optimiser.zero_grad()\n"
        "optimiser.load_state_dict(optimiser.state_dict())\n"
        "print('torch._dynamo' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"
