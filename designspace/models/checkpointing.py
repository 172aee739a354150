"""Blocks that keep only their inputs for the backward pass, and compute the rest once more there."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from designspace.models.drop import draws_from, generator_of
from designspace.models.norms import statistics_untouched

_Contexts = tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]


class CheckpointedSequential(nn.Sequential):
    """A sequence of blocks that are checkpointed in training. The numbers are those of `nn.Sequential`."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks one after the other."""
        for block in self:
            if self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, context_fn=functools.partial(_contexts, block))
            else:
                x = block(x)
        return x


def _contexts(block: nn.Module) -> _Contexts:
    """Return what surrounds the block's first computation, and the one in the backward pass."""
    generator = generator_of(block.modules())
    state = generator.get_state() if generator else None
    return contextlib.nullcontext(), _once_more(block, generator, state)


@contextlib.contextmanager
def _once_more(block: nn.Module, generator: torch.Generator | None, state: Tensor | None) -> Iterator[None]:
    """Let a block compute what it did before: it drops the same, and its statistics take in nothing."""
    with statistics_untouched(block.modules()), draws_from(generator, state):
        yield
