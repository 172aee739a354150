"""A moving average of a module's weights, which is evaluated and kept instead of the weights themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of all tensors in a module's state dict.

    It starts with the module's values, and each update gives the new values a weight of 1 - ``decay``; after n steps
    the initial values have a weight of ``decay`` ** n. The running statistics of batch-norms are averaged like the
    weights (as in timm), because they belong together; integers, which count batches, are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._live_tensors: list[Tensor] = []
        self.tensors: list[Tensor] = []
        """The averages."""
        self.find_tensors()

    def find_tensors(self) -> None:
        """Find the module's tensors; to be called again when a change of memory layout has replaced them."""
        # Tied weights have several names but are one tensor.
        self._live_tensors = list({id(live): live for live in self._model.state_dict(keep_vars=True).values()}.values())
        values = self.tensors or self._live_tensors
        with torch.no_grad():
            # The strides are those of the weights so that one kernel on a GPU can process all tensors.
            self.tensors = [
                torch.empty_like(live, requires_grad=False).copy_(value)
                for live, value in zip(self._live_tensors, values, strict=True)
            ]
        pairs = list(zip(self.tensors, self._live_tensors, strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Update the averages with the module's values after a step."""
        # One call for all tensors, because a network has hundreds.
        if self._averaged:
            averages, live_tensors = map(list, zip(*self._averaged, strict=True))
            torch._foreach_lerp_(averages, live_tensors, 1 - self._decay)
        if self._counts:
            copies, counts = map(list, zip(*self._counts, strict=True))
            torch._foreach_copy_(copies, counts)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Swap the averages into the module while a block runs, in place because CUDA graphs require that."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, live in zip(self.tensors, self._live_tensors, strict=True):
            previous = live.clone()
            live.copy_(average)
            average.copy_(previous)

    @torch.no_grad()
    def copy_to_module(self) -> None:
        """Copy the averages to the module permanently."""
        for average, live in zip(self.tensors, self._live_tensors, strict=True):
            live.copy_(average)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by the names of the module's state dict."""
        average_of = {id(live): average for live, average in zip(self._live_tensors, self.tensors, strict=True)}
        return {name: average_of[id(live)] for name, live in self._model.state_dict(keep_vars=True).items()}

    @torch.no_grad()
    def load_state_dict(self, values: Mapping[str, Tensor]) -> None:
        """Load the averages of a `state_dict` of the same module."""
        for name, average in self.state_dict().items():
            average.copy_(values[name])
