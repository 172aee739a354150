"""The state of a training: weights, statistics, momentum, average and loss scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from designspace.training.average import WeightAverage
from designspace.training.optimiser import MOMENTA, make_optimiser, prepare_state
from designspace.trials.recipe import Recipe


class Layout(NamedTuple):
    """Memory format and choice of algorithms on a GPU. All layouts give the same numbers up to rounding."""

    channels_last: bool = True
    benchmark: bool = False
    """Whether cuDNN chooses its algorithms by benchmarking them instead of by a heuristic."""

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of activations."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def __str__(self) -> str:
        """Return the layout as text."""
        return f"{'channels last' if self.channels_last else 'channels first'}{', searched' if self.benchmark else ''}"


class State:
    """The state of a module's training. The module must be on the training device, channels last."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.optimiser = make_optimiser(model, recipe)
        self.average = WeightAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        self.scaler = self._new_scaler() if recipe.precision == "float16" else None
        self.layout = Layout()
        self.is_tuned = False
        """Whether the layout was chosen by measurement; otherwise it is the default."""
        self._rates: dict[float, Tensor] = {}
        """On a GPU, the learning rates by their scale; groups of one scale share one tensor."""
        if self.device.type == "cuda":
            # A captured step reads its learning rate from memory.
            for group in self.optimiser.param_groups:
                rate = torch.tensor(group["lr"], dtype=torch.float32, device=self.device)
                group["lr"] = self._rates.setdefault(group["lr_scale"], rate)
        # On a CPU, SGD keeps torch's own start, whose first step gives the same numbers in fewer operations.
        if recipe.optimiser != "sgd" or self.device.type == "cuda" or self.scaler is not None:
            prepare_state(self.optimiser)

    def _new_scaler(self) -> torch.amp.GradScaler:
        """Return a loss scale for float16 whose tensors already exist, because a captured step must not create them."""
        scaler = torch.amp.GradScaler(self.device.type)
        scaler.scale(torch.zeros((), device=self.device))
        return scaler

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next step, without synchronising with a GPU."""
        for scale, tensor in self._rates.items():
            tensor.fill_(rate * scale)
        if not self._rates:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["lr_scale"]

    def lay_out(self, layout: Layout) -> None:
        """Change all tensors to a layout. Their values are kept; the gradients are removed."""
        self.optimiser.zero_grad(set_to_none=True)
        if layout.channels_last != self.layout.channels_last:
            self.model.to(memory_format=layout.memory_format)  # type: ignore[call-overload]
            self._follow_parameters()
        self.layout = layout

    def _follow_parameters(self) -> None:
        """Give momentum and averages the layout of the parameters."""
        for parameter, state in self.optimiser.state.items():
            for name in MOMENTA:
                buffer = state.get(name)
                if buffer is not None and buffer.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter, requires_grad=False).copy_(buffer)
        if self.average is not None:
            self.average.find_tensors()

    def snapshot(self) -> tuple[list[Tensor], dict[str, Any]]:
        """Return copies of all tensors, for `restore`."""
        scale = self.scaler.state_dict() if self.scaler is not None else {}
        return [tensor.detach().clone() for tensor in self._tensors()], scale

    @torch.no_grad()
    def restore(self, snapshot: tuple[list[Tensor], dict[str, Any]], *, after_failure: bool = False) -> None:
        """Restore the values of a snapshot, in place because captured steps require that.

        ``after_failure`` means that a step may have been interrupted; steps captured before must not be used any more.
        """
        for tensor, value in zip(self._tensors(), snapshot[0], strict=True):
            tensor.copy_(value)
        if self.scaler is not None:
            if after_failure:  # the old scaler still expects the end of that step
                self.scaler = self._new_scaler()
            self.scaler.load_state_dict(snapshot[1])

    def _tensors(self) -> list[Tensor]:
        """Return all tensors that a step changes, except those of the loss scale."""
        states = [self.optimiser.state.get(parameter, {}) for parameter in self.model.parameters()]
        momenta = [state[name] for state in states for name in (*MOMENTA, "step") if state.get(name) is not None]
        averages = self.average.tensors if self.average is not None else []
        return [*self.model.parameters(), *self.model.buffers(), *momenta, *averages]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as tensors and plain values."""
        optimiser = self.optimiser.state_dict()
        for group in optimiser["param_groups"]:
            group["lr"] = float(group["lr"])
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimiser": optimiser}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        if self.is_tuned:
            state["layout"] = self.layout._asdict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a `state_dict` of the same module and recipe, which may be from another kind of device."""
        if "layout" in state and self.device.type == "cuda":
            self.lay_out(Layout(**state["layout"]))
            self.is_tuned = True
        self.model.load_state_dict(state["model"])
        # These belong to the device and the recipe, and earlier versions wrote no scale.
        names = ("lr", "lr_scale", "capturable")
        kept = [{name: group[name] for name in names if name in group} for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, values in zip(self.optimiser.param_groups, kept, strict=True):
            group.update(values)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self._follow_parameters()
