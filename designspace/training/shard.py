"""One of the devices that share a training: its part of each batch, and what all of them must agree on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Shard:
    """Device number ``rank`` of ``world``. With more than one, torch's default process group must be set up."""

    rank: int = 0
    world: int = 1

    def part(self, count: int) -> slice:
        """Which of ``count`` things are this device's: of all devices each thing is with exactly one."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def parallel(self, model: nn.Module) -> nn.Module:
        """Wrap a module so that backward gives the mean of all devices' gradients; all begin with rank 0's weights.

        Every call of the wrapper is one of all devices: evaluate the module itself.
        """
        if self.world == 1:
            return model
        # By default the gradients are grouped anew after the first step, and with the groups the order changes in which
        # more than two devices are summed: a resumed training would differ in the last bits. Looking for unused
        # parameters (there are none, which torch remarks on once) forgoes that. On a GPU sums are in no fixed order
        # anyway, and the cost of the search is saved.
        keep_groups = self.world > 2 and next(model.parameters()).device.type == "cpu"
        return DistributedDataParallel(model, find_unused_parameters=keep_groups)

    def total(self, value: Tensor) -> Tensor:
        """Sum a tensor over all devices, in place; all have the same sum."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def share_buffers(self, model: nn.Module) -> None:
        """Give all devices rank 0's buffers: the statistics of batch-norm, as they are after the last step."""
        if self.world > 1:
            with torch.no_grad():
                for buffer in model.buffers():
                    dist.broadcast(buffer, 0)


ALONE = Shard()
"""The only device of a training."""
