"""The optimiser and its learning rate: SGD with Nesterov momentum, warm-up and a half-period cosine."""

from __future__ import annotations

import inspect
import math

import torch
from torch import nn

from designspace.trials.recipe import Recipe


class SGD(torch.optim.SGD):
    """`torch.optim.SGD` without its guards for torch's compiler, since a step is captured or run without it.

    The guards import ``torch._dynamo``, which took 0.9 s of the 2.4 s that a worker needs before its first step.
    """

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))
    zero_grad = inspect.unwrap(torch.optim.SGD.zero_grad)
    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)
    state_dict = inspect.unwrap(torch.optim.SGD.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.SGD.load_state_dict)


def make_optimiser(model: nn.Module, recipe: Recipe) -> SGD:
    """Return the SGD of a recipe, with weight decay on the weights of convolutions and linear layers only."""
    # Those are the parameters of two or more dimensions; biases and the weights of batch-norm have one.
    decayed = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=True,  # one call for all parameters, because there are hundreds of small ones
    )


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0 over the whole training.

    It rises in equal steps to ``recipe.lr`` over the warm-up, and then falls along half a period of a cosine, which
    would reach 0 at the step after the last ("Designing Network Design Spaces", section 3.1; per step, not per epoch).
    """
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    total = recipe.epochs * steps_per_epoch
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
