"""Losses of trainings: the built-in ones, and your own as ``recipe.loss=package.module:name``.

Your own loss is a function, or a class that makes one without arguments, such as an `nn.Module`. It is called as
``loss(logits, labels)`` and returns the mean over a batch, a scalar tensor. Labels are those of the data set, on the
device of the logits. Logits of a class per pixel have been resized to the labels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.support.errors import InputError
from designspace.support.imported import import_object, is_import_name
from designspace.trials.recipe import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits and labels or targets (see `Step`) to their mean loss, a scalar."""

IGNORED = -100
"""Label that torch's cross-entropy leaves out."""


def loss_of(recipe: Recipe, device: torch.device) -> Loss:
    """Return the loss of a recipe for tensors on a device.

    Raises:
        InputError: the user's own loss cannot be imported or made, or is not a function.
    """
    if not is_import_name(recipe.loss):
        return _built_in(recipe)
    loss = imported_callable("recipe.loss", recipe.loss)
    return loss.to(device) if isinstance(loss, nn.Module) else loss


def imported_callable(what: str, name: str) -> Any:
    """Import a user's own object that can be called; if it is a class, return an instance, made without arguments.

    Raises:
        InputError: it cannot be imported, made or called.
    """
    imported = import_object(what, name)
    if inspect.isclass(imported):
        try:
            imported = imported()
        except Exception as error:  # a custom class may raise anything
            raise InputError(
                f"{what}: {name}() cannot be made ({type(error).__name__}: {error}); a class must need no arguments"
            ) from error
    if not callable(imported):
        raise InputError(f"{what}: {name} is of type {type(imported).__name__}, which cannot be called")
    return imported


def resized(logits: Tensor, labels: Tensor) -> Tensor:
    """Resize the logits of a class per pixel to the labels: (N, K, h, w), (N, H, W) -> (N, K, H, W), bilinearly.

    Other logits are returned as they are.
    """
    if logits.dim() != 4 or labels.dim() != 3 or logits.shape[2:] == labels.shape[1:]:
        return logits
    return functional.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)


def _built_in(recipe: Recipe) -> Loss:
    """Return a built-in loss."""
    if recipe.loss == "cross_entropy":
        return lambda logits, targets: _cross_entropy(logits, targets, recipe.label_smoothing)
    return {
        "binary_cross_entropy": lambda logits, labels: functional.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype)
        ),
        "mean_absolute_error": functional.l1_loss,
        "mean_squared_error": functional.mse_loss,
    }[recipe.loss]


def _cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Return the mean cross-entropy; pixels whose label is not a class, such as 255, are left out."""
    if targets.dim() == 3:
        is_class = (targets >= 0) & (targets < logits.shape[1])
        targets = targets.where(is_class, torch.full_like(targets, IGNORED))
    return functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
