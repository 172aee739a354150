"""One step of a training: gradients of a batch, the weights' update, and the sums of an epoch."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from designspace.training.state import State
from designspace.trials.recipe import Recipe

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Step:
    """A step as a function of a batch. It makes nobody wait for a device, so that it can be captured.

    Args:
        state: what it changes.
        model: what it calls: the state's module, or what wraps it (see `Shard.parallel`).
        recipe: how it is done.
    """

    def __init__(self, state: State, model: nn.Module, recipe: Recipe) -> None:
        self.state, self._model, self._recipe = state, model, recipe
        self.loss = torch.zeros((), dtype=torch.float64, device=state.device)
        """Sum of the batches' mean losses since `begin`."""
        self.wrong = torch.zeros((), dtype=torch.int64, device=state.device)
        """Images since `begin` whose class was not the likeliest one."""

    def begin(self) -> None:
        """Begin an epoch: training mode, sums of 0."""
        self._model.train()
        self.loss.zero_()
        self.wrong.zero_()

    def __call__(self, images: Tensor, targets: Tensor) -> None:
        """Train on a batch.

        Its parts (see `Recipe.accumulate`) count by their sizes, so that without batch-norm the gradient is that of the
        whole batch.

        Args:
            images: float32, (N, C, H, W).
            targets: classes, (N,), or the probability of each, (N, num_classes).
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
        else:  # where a gradient is not finite, nothing changes but the scale
            self.state.scaler.step(self.state.optimiser)
            self.state.scaler.update()
        if self.state.average is not None:
            self.state.average.update()

    def _add_gradients(self, images: Tensor, targets: Tensor, share: float) -> None:
        """Add ``share`` of the gradients of images' mean loss."""
        with autocast(self.state.device, self._recipe):
            logits = self._model(images)
        if logits.dtype in _HALF.values():
            logits = logits.float()
        if targets.is_floating_point():
            targets = targets.to(logits.dtype)  # a module of one's own may compute in float64
        loss = functional.cross_entropy(logits, targets, label_smoothing=self._recipe.label_smoothing)
        if share < 1:
            loss = loss * share
        scaled = loss if self.state.scaler is None else self.state.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        self.loss.add_(loss.detach())
        self.wrong.add_(wrong(logits.detach(), targets))

    def _without_exchange(self) -> contextlib.AbstractContextManager[None]:
        """Gradients stay with the device until the batch's last part."""
        if isinstance(self._model, DistributedDataParallel):
            return self._model.no_sync()
        return contextlib.nullcontext()


def autocast(device: torch.device, recipe: Recipe) -> contextlib.AbstractContextManager[object]:
    """Compute in the recipe's precision what torch holds safe to be computed so.

    In float32, too, newer GPUs round what they multiply in convolutions to ten bits ("TF32"): that is torch's default,
    and it stays.
    """
    if recipe.precision == "float32":
        return contextlib.nullcontext()
    # Each weight is used once a step, so there is nothing to keep; and what is kept outlives a captured step.
    return torch.autocast(device.type, _HALF[recipe.precision], cache_enabled=False)


def wrong(logits: Tensor, targets: Tensor) -> Tensor:
    """Count the images whose likeliest class is not theirs: (N, num_classes), targets as for `Step` -> ().

    A mixed image is of the class that it has most of.
    """
    classes = targets if targets.dim() == 1 else targets.argmax(1)
    return (logits.argmax(1) != classes).sum()
