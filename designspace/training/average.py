"""A moving average of a module's weights, which is measured and kept in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class Average:
    """The exponential moving average of all that a module's state dict holds.

    It begins with the module's first values, and each step takes in 1 - ``decay`` of the values after it; so after n
    steps the first values still count ``decay`` ** n. The running statistics of batch-norms are averaged as the weights
    are (as timm does), for they belong to weights of the same age; whole numbers, which count batches, are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._lives: list[Tensor] = []
        self.tensors: list[Tensor] = []
        """The averages."""
        self.gather()

    def gather(self) -> None:
        """Find the module's tensors; again after the module was laid out anew, which gives it other ones."""
        # Tied weights have several names, and are one.
        self._lives = list({id(live): live for live in self._model.state_dict(keep_vars=True).values()}.values())
        held = self.tensors or self._lives
        with torch.no_grad():
            # As strided as the weights are: so one kernel on a GPU can take all of them.
            self.tensors = [
                torch.empty_like(live, requires_grad=False).copy_(value)
                for live, value in zip(self._lives, held, strict=True)
            ]
        pairs = list(zip(self.tensors, self._lives, strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's values after a step."""
        # A call for all of them: a network has hundreds.
        if self._averaged:
            averages, lives = map(list, zip(*self._averaged, strict=True))
            torch._foreach_lerp_(averages, lives, 1 - self._decay)
        if self._counts:
            copies, counts = map(list, zip(*self._counts, strict=True))
            torch._foreach_copy_(copies, counts)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the module hold the averages for the length of a block; the tensors stay the same, as graphs need."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, live in zip(self.tensors, self._lives, strict=True):
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)

    @torch.no_grad()
    def give(self) -> None:
        """Put the averages into the module, for good."""
        for average, live in zip(self.tensors, self._lives, strict=True):
            live.copy_(average)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by the names of the module's state dict."""
        of_live = {id(live): average for live, average in zip(self._lives, self.tensors, strict=True)}
        return {name: of_live[id(live)] for name, live in self._model.state_dict(keep_vars=True).items()}

    @torch.no_grad()
    def load_state_dict(self, values: Mapping[str, Tensor]) -> None:
        """Go on from the averages of a `state_dict` of the same module."""
        for name, average in self.state_dict().items():
            average.copy_(values[name])
