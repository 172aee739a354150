import math

import pytest
from torch import nn

from designspace.models import AnyNet
from designspace.networks.network import Network, Stage, Stem
from designspace.training.optimiser import learning_rate, make_optimiser
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
            weight = isinstance(module, (nn.Conv2d, nn.Linear)) and name == "weight"
            assert decay[id(parameter)] == (0.01 if weight else 0.0)
    for group in optimiser.param_groups:
        assert (group["lr"], group["momentum"], group["nesterov"]) == (0.3, 0.8, False)


def test_learning_rate_is_half_a_cosine_per_step():
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
