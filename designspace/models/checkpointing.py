"""Activation checkpointing: blocks keep only their inputs for the backward pass and recompute the rest."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from designspace.models.drop import find_generator, replay_generator
from designspace.models.norms import no_statistics_updates

_Contexts = tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]


class CheckpointedSequential(nn.Sequential):
    """A sequence of blocks that are checkpointed in training. The results are those of `nn.Sequential`."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks one after the other."""
        for block in self:
            if self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, context_fn=functools.partial(_contexts, block))
            else:
                x = block(x)
        return x


def _contexts(block: nn.Module) -> _Contexts:
    """Return the contexts of the block's first computation and of its recomputation in the backward pass."""
    generator = find_generator(block.modules())
    state = generator.get_state() if generator else None
    return contextlib.nullcontext(), _recomputation(block, generator, state)


@contextlib.contextmanager
def _recomputation(block: nn.Module, generator: torch.Generator | None, state: Tensor | None) -> Iterator[None]:
    """Make a block drop the same values as before and leave its running statistics unchanged."""
    with no_statistics_updates(block.modules()), replay_generator(generator, state):
        yield
