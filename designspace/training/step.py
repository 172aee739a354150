"""One step of a training: gradients of a batch, the update of the weights, and the sums of an epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from designspace.models.cpu import RecordedModel
from designspace.training.losses import loss_of, resized
from designspace.training.state import State
from designspace.trials.metric import DEFAULT_METRIC
from designspace.trials.recipe import Recipe

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Step:
    """A training step as a function of a batch. It never synchronises with a GPU, so that it can be captured.

    Args:
        state: the state that the step changes.
        model: the state's module, or its wrapper (see `Shard.parallel`).
        recipe: the recipe.
        frozen: parts of the module that stay in evaluation mode (see `training.frozen`).
    """

    def __init__(self, state: State, model: nn.Module, recipe: Recipe, frozen: Sequence[nn.Module] = ()) -> None:
        self.state, self._model, self._recipe, self._frozen = state, model, recipe, frozen
        self.loss = torch.zeros((), dtype=torch.float64, device=state.device)
        """Sum of the batches' mean losses since `begin`."""
        self.wrong = torch.zeros((), dtype=torch.int64, device=state.device)
        """Number of images since `begin` whose class was not the likeliest one, if the metric is the default one."""
        self._mean_loss = loss_of(recipe, state.device)
        self._counts_wrong = recipe.metric == DEFAULT_METRIC
        # Recorded kernels overwrite gradients, so the parts of a batch could not be added up.
        can_record = state.device.type == "cpu" and recipe.accumulate == 1
        self._recorded = RecordedModel.of(model) if can_record else None

    def begin(self) -> None:
        """Begin an epoch: set training mode and reset the sums."""
        self._model.train()
        for part in self._frozen:
            part.eval()
        if self._recorded is not None and not self._recorded.is_valid():
            self._recorded = None
        self.loss.zero_()
        self.wrong.zero_()

    def __call__(self, images: Tensor, targets: Tensor) -> None:
        """Train on a batch.

        Its parts (see `Recipe.accumulate`) are weighted by their sizes, so that without batch-norm the gradient is that
        of the whole batch.

        Args:
            images: float32, (N, C, H, W).
            targets: classes, (N,), or the probability of each, (N, num_classes); or the labels of other data sets.
        """
        self.state.optimiser.zero_grad(set_to_none=True)
        count = len(images)
        parts = min(self._recipe.accumulate, count)
        for number in range(parts):
            part = slice(number * count // parts, (number + 1) * count // parts)
            with self._without_exchange() if number < parts - 1 else contextlib.nullcontext():
                self._add_gradients(images[part], targets[part], (part.stop - part.start) / count)
        if self.state.scaler is None:
            self.state.optimiser.step()
        else:  # if a gradient is not finite, nothing but the scale changes
            self.state.scaler.step(self.state.optimiser)
            self.state.scaler.update()
        if self.state.average is not None:
            self.state.average.update()

    def _add_gradients(self, images: Tensor, targets: Tensor, share: float) -> None:
        """Add the gradients of the images' mean loss, multiplied by ``share``."""
        with autocast(self.state.device, self._recipe):
            logits = (self._recorded or self._model)(images)
        if logits.dtype in _HALF.values():
            logits = logits.float()
        if targets.is_floating_point():
            targets = targets.to(logits.dtype)  # a custom module may compute in float64
        loss = self._mean_loss(resized(logits, targets), targets)
        if share < 1:
            loss = loss * share
        scaled = loss if self.state.scaler is None else self.state.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        self.loss.add_(loss.detach())
        if self._counts_wrong:
            self.wrong.add_(count_wrong(logits.detach(), targets))

    def _without_exchange(self) -> contextlib.AbstractContextManager[None]:
        """Keep gradients on the device, until the last part of a batch."""
        if isinstance(self._model, DistributedDataParallel):
            return self._model.no_sync()
        return contextlib.nullcontext()


def autocast(device: torch.device, recipe: Recipe) -> contextlib.AbstractContextManager[object]:
    """Compute in the recipe's precision what torch considers safe, while a block runs.

    Even in float32, newer GPUs round the factors of convolutions to ten bits ("TF32"), which is torch's default and is
    not changed.
    """
    if recipe.precision == "float32":
        return contextlib.nullcontext()
    # Each weight is used once per step, so a cache is useless, and it would outlive a captured step.
    return torch.autocast(device.type, _HALF[recipe.precision], cache_enabled=False)


def count_wrong(logits: Tensor, targets: Tensor) -> Tensor:
    """Count the wrongly classified images: (N, num_classes), targets as for `Step` -> ().

    The class of a mixed image is the one with the highest probability.
    """
    classes = targets if targets.dim() == 1 else targets.argmax(1)
    return (logits.argmax(1) != classes).sum()
