"""One of the devices that share a training: its part of each batch, and its exchange with the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """Device number ``rank`` of ``world``. With more than one, torch's default process group must be set up."""

    rank: int = 0
    world: int = 1

    def part(self, count: int) -> slice:
        """Return this device's part of ``count`` items; every item belongs to exactly one device."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def parallel(self, model: nn.Module) -> nn.Module:
        """Wrap a module so that backward yields the mean of all devices' gradients; all start with rank 0's weights.

        All devices must call the wrapper together, so evaluate the module itself instead.
        """
        if self.world == 1:
            return model
        # By default the gradients are regrouped after the first step, which changes the order in which more than two
        # devices are summed, so that a resumed training would differ in the last bits. Searching for unused parameters
        # (there are none, which torch warns about once) prevents this. On a GPU sums have no fixed order anyway, so the
        # cost of the search is saved.
        keep_groups = self.world > 2 and next(model.parameters()).device.type == "cpu"
        return DistributedDataParallel(model, find_unused_parameters=keep_groups)

    def total(self, value: Tensor) -> Tensor:
        """Sum a tensor over all devices, in place, and return it; all devices get the same sum."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def gather(self, value: T) -> list[T]:
        """Return the values of all devices, in the order of their ranks; all devices get the same list."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def share_buffers(self, model: nn.Module) -> None:
        """Copy rank 0's buffers, the statistics of batch-norm after the last step, to all devices."""
        if self.world > 1:
            with torch.no_grad():
                for buffer in model.buffers():
                    dist.broadcast(buffer, 0)


ALONE = Shard()
"""The shard of a training with a single device."""
