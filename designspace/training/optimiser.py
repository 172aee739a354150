"""The optimiser, SGD with Nesterov momentum or AdamW, and its learning rate: warm-up and a half-period cosine."""

from __future__ import annotations

import inspect
import math
from typing import Any, TypeVar

import torch
from torch import nn

from designspace.models.anynet import AnyNet
from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe

_Optimiser = TypeVar("_Optimiser", bound=torch.optim.Optimizer)


def _without_guards(kind: type[_Optimiser]) -> type[_Optimiser]:
    """Remove from an optimiser torch's guards for its compiler, since a step is captured or run without it.

    The guards import ``torch._dynamo``, which took 0.9 s of the 2.4 s that a worker needs before its first step.
    """
    kind.step = torch.no_grad()(inspect.unwrap(kind.step))  # type: ignore[method-assign]
    for name in ("zero_grad", "add_param_group", "state_dict", "load_state_dict"):
        setattr(kind, name, inspect.unwrap(getattr(kind, name)))
    return kind


@_without_guards
class SGD(torch.optim.SGD):
    """`torch.optim.SGD` without torch's guards for its compiler."""


@_without_guards
class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` without torch's guards for its compiler."""


MOMENTA = ("momentum_buffer", "exp_avg", "exp_avg_sq")
"""Names of the optimisers' state tensors that have the shape of their parameter."""


def make_optimiser(model: nn.Module, recipe: Recipe) -> SGD | AdamW:
    """Return the optimiser of a recipe, for the parameters that require a gradient.

    Weight decay is on the weights of convolutions and linear layers only. Each group has the key ``lr_scale``: its
    learning rate relative to that of the recipe (see `Recipe.layer_decay`).

    Raises:
        InputError: ``layer_decay`` is below 1 for a module that is not an `AnyNet`, whose parts are not known.
    """
    groups: list[dict[str, Any]] = []
    for part, scale in _scaled_parts(model, recipe):
        # Those are the parameters of two or more dimensions; biases and the weights of batch-norm have one.
        trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
        decayed = [parameter for parameter in trained if parameter.dim() >= 2]
        others = [parameter for parameter in trained if parameter.dim() < 2]
        rate = {"lr": recipe.lr * scale, "lr_scale": scale}
        groups += [
            {"params": decayed, "weight_decay": recipe.weight_decay, **rate},
            {"params": others, "weight_decay": 0.0, **rate},
        ]
    groups = [group for group in groups if group["params"]]
    # Fused means one call for all parameters, because there are hundreds of small ones.
    if recipe.optimiser == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)
    is_on_gpu = next(model.parameters()).is_cuda
    return AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, recipe.beta2), fused=True, capturable=is_on_gpu)


def prepare_state(optimiser: SGD | AdamW) -> None:
    """Create the state of all parameters as zeros, which torch otherwise does at their first gradients.

    The steps are the same. A captured step cannot have a special first one, nor can one that a loss scale may skip.
    """
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = optimiser.state[parameter]
            if isinstance(optimiser, SGD):
                if group["momentum"]:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                continue
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)


def _scaled_parts(model: nn.Module, recipe: Recipe) -> list[tuple[nn.Module, float]]:
    """Return the modules whose parameters have a common learning rate, each with that relative to the recipe's."""
    if recipe.layer_decay == 1:
        return [(model, 1.0)]
    if not isinstance(model, AnyNet):
        raise InputError("recipe: layer_decay below 1 is for an AnyNet, whose stem, stages and head are known")
    parts = model.parts()
    return [(part, recipe.layer_decay ** (len(parts) - 1 - number)) for number, part in enumerate(parts)]


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
