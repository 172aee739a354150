"""Check of a user's own loss and metric on made-up outputs, before any trial is trained.

As a program, it reads a question as JSON from its first argument and prints the description of the metric, or the
error. A launch runs it in a process of its own, which imports the user's modules as workers do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from designspace.support.errors import InputError
from designspace.support.imported import is_import_name, search_working_folder
from designspace.support.text import shown
from designspace.training.losses import imported_callable, loss_of
from designspace.training.scoring import checked_value, described
from designspace.trials.metric import Metric, Target
from designspace.trials.recipe import Recipe

_LEAST_IMAGES = 8


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of a network and the labels of a data set, as far as their shapes go."""

    target: Target
    num_classes: int
    size: Sequence[int] = ()
    """Height and width of the labels, if they are a class per pixel."""

    def made_up(self) -> tuple[Tensor, Tensor]:
        """Return logits (N, K) or (N, K, H, W), drawn at random, and labels in which every class occurs."""
        generator = torch.Generator().manual_seed(0)
        classes = self.num_classes
        count = _LEAST_IMAGES if self.target == "dense" else max(2 * classes, _LEAST_IMAGES)
        shape = (count, *self.size) if self.target == "dense" else (count, classes)
        logits = torch.randn((count, classes, *self.size), generator=generator)
        if self.target == "regression":
            return logits, torch.randn(shape, generator=generator)
        if self.target == "multilabel":  # every class occurs in some images and lacks in others
            return logits, ((torch.arange(count)[:, None] + torch.arange(classes)) % 2).to(torch.uint8)
        numbers = torch.arange(count if self.target == "class" else count * self.size[0] * self.size[1]) % classes
        return logits, numbers if self.target == "class" else numbers.view(shape)


def check_objective(loss: str, metric: str, outputs: Outputs) -> Metric | None:
    """Raise unless a user's own loss and metric work on made-up outputs; return the description of the metric.

    Built-in ones are not checked, and None is returned for a built-in metric.

    Raises:
        InputError: one of them cannot be imported, raises an error, or returns something other than one number.
    """
    logits, labels = outputs.made_up()
    if is_import_name(loss):
        _check_loss(loss, logits, labels)
    if not is_import_name(metric):
        return None
    function = imported_callable("recipe.metric", metric)
    description = described(function, metric, outputs.num_classes)
    value = checked_value(_called("recipe.metric", metric, function, logits, labels), metric)
    try:
        description.check("its value", value)
    except InputError as error:
        raise InputError(f"recipe.metric: {metric}: {error}") from error
    return description


def _check_loss(name: str, logits: Tensor, labels: Tensor) -> None:
    """Raise unless a user's own loss returns a scalar tensor that depends on the logits."""
    logits = logits.clone().requires_grad_()
    loss = _called("recipe.loss", name, loss_of(Recipe(loss=name), logits.device), logits, labels)
    must = "but a loss must return the mean over a batch as a tensor with a single finite number"
    if not isinstance(loss, Tensor) or loss.shape != ():
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else shown(loss)
        raise InputError(f"recipe.loss: {name} returned {what}, {must}")
    if not loss.isfinite():
        raise InputError(f"recipe.loss: {name} returned {loss.item()}, {must}")
    if not loss.requires_grad:
        raise InputError(
            f"recipe.loss: {name} returned a number that does not depend on the logits, so it cannot be minimised; "
            "compute it with torch, without detach, item or numpy"
        )


def _called(what: str, name: str, function: Callable[[Tensor, Tensor], Any], logits: Tensor, labels: Tensor) -> Any:
    """Return what a user's own function returns for logits and labels."""
    try:
        return function(logits, labels)
    except Exception as error:  # a custom function may raise anything
        shapes = f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)}, {labels.dtype}"
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{what}: {name} raised {type(error).__name__} for {shapes}: {line}") from error


def main(question: str) -> None:
    """Answer a question in one line of JSON: {"metric": ...} or {"error": ...}."""
    search_working_folder()
    fields = json.loads(question)
    try:
        metric = check_objective(fields["loss"], fields["metric"], Outputs(**fields["outputs"]))
        answer: dict[str, Any] = {"metric": metric.to_dict() if metric else None}
    except InputError as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
