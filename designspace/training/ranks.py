"""The processes that train one network together, one per device, on one machine or several.

A training starts them itself (see `designspace.training.distributed`), or torchrun did: then each process runs the same
command and learns from its environment which one it is. Rank 0 alone writes and speaks, except of what goes wrong in
another one only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import distributed as dist

from designspace.support.errors import InputError, RunError
from designspace.training.devices import check_devices, choose_device, device_kind
from designspace.training.failures import RankDied
from designspace.training.shard import Shard

T = TypeVar("T")
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class OtherRankFailed(RankDied):
    """Another process of the training failed, and says itself why."""

    def __init__(self) -> None:
        super().__init__("another process of the training ended")


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process this is, and of how many."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Which of this machine's."""
    group: Any = field(default=None, repr=False)
    """A process group of torch for words among the processes, beside the one for gradients."""

    @property
    def shard(self) -> Shard:
        """The part of each batch that is this process's."""
        return Shard(self.rank, self.world)

    def gather(self, value: T) -> list[T]:
        """Collect a small value from every process, in the order of ranks; all get all."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            with lost_connections():
                dist.all_gather_object(values, value, group=self.group)
        return values

    def part(self) -> None:
        """End the connections, once all have come to the same end."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def together(self, action: Callable[[], T]) -> T:
        """Do something in all processes: first in one of each machine, so that what it fetches is fetched once.

        Raises:
            InputError, RunError: it failed with that in a process, which rank 0 says.
            OtherRankFailed: the same, in the other processes.
        """
        found: list[T] = []
        for is_first in (True, False):
            error: InputError | RunError | None = None
            if (self.local == 0) == is_first:
                try:
                    found.append(action())
                except (InputError, RunError) as caught:
                    error = caught
                except OSError as caught:
                    error = RunError(str(caught))
            self._raise_first(self.gather(None if error is None else (isinstance(error, InputError), str(error))))
        return found[0]

    def _raise_first(self, errors: Sequence[tuple[bool, str] | None]) -> None:
        """Raise the first of the errors that the processes met, if any did."""
        for rank, error in enumerate(errors):
            if error is not None:
                if self.rank:
                    raise OtherRankFailed
                text = error[1] if rank == 0 else f"rank {rank}: {error[1]}"
                raise InputError(text) if error[0] else RunError(text)


class AgreedStop:
    """Says before each step whether to stop, and says the same in all processes.

    A process that was told to stop tells the others before its step, and all stop before the next one: nobody waits
    for an answer, and a GPU's work is not held up. All must call it equally often.
    """

    def __init__(self, ranks: Ranks, asked: Callable[[], bool]) -> None:
        self._ranks = ranks
        self._asked = asked
        self._told = torch.zeros(1, dtype=torch.int32)
        self._pending: Any = None

    def __call__(self) -> bool:
        """Whether to stop now.

        Raises:
            OtherRankFailed: another process has ended.
        """
        if self._ranks.world == 1:
            return self._asked()
        self.wait()
        if self._told.item():
            return True
        self._told.fill_(self._asked())
        with lost_connections():
            self._pending = dist.all_reduce(self._told, dist.ReduceOp.MAX, group=self._ranks.group, async_op=True)
        return False

    def wait(self) -> None:
        """Wait for the last word of the others, so that the processes may part."""
        if self._pending is not None:
            with lost_connections():
                self._pending.wait()
            self._pending = None


@contextlib.contextmanager
def joined(device: str | None, devices: int = 1) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other processes of torchrun while the block runs; gives who this is and its device.

    Without torchrun that is the only process, on the device of that name (see `choose_device`). With it, each process
    takes the GPU of its number on its machine, or all are on CPUs.

    Args:
        device: as a person names it; None for a GPU if there is one.
        devices: how many this process trains on if it is the only one. Of several, which ranks of its own are to use,
            it uses none: that would take memory of a rank's GPU.

    Raises:
        InputError: there is no such device here, or not every process has one, or the environment is not whole.
        OtherRankFailed: another process ended, or complained.
    """
    ranks = of_environment(os.environ) or Ranks()
    if ranks.world == 1 and devices > 1:
        yield ranks, torch.device(device_kind(device))
        return
    if ranks.world == 1:
        yield ranks, choose_device(device)
        return
    where = _device_of(ranks, device)
    is_one_machine = os.environ.get("LOCAL_WORLD_SIZE") == str(ranks.world)
    with lost_connections():
        connect(ranks, where, is_one_machine=is_one_machine)
        group = dist.new_group(backend="gloo")
    yield dataclasses.replace(ranks, group=group), where
    ranks.part()  # not after an error: the others may be gone, and this would wait for them


def connect(ranks: Ranks, device: torch.device, *, is_one_machine: bool, init_method: str | None = None) -> None:
    """Set up torch's default process group, in which the processes sum gradients.

    Args:
        ranks: who this process is.
        device: of this process.
        is_one_machine: whether all processes run on this machine.
        init_method: where they meet, as torch takes it; by default where torchrun's environment says.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif sys.platform == "linux" and is_one_machine:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # by default it asks for the address of the host's name
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=init_method, rank=ranks.rank, world_size=ranks.world)


def of_environment(environment: Mapping[str, str]) -> Ranks | None:
    """Read which process this is from what torchrun puts into the environment; None where that says nothing.

    Raises:
        InputError: a part of it is missing or no number.
    """
    if not {"RANK", "WORLD_SIZE"} <= environment.keys():
        return None
    missing = [name for name in _VARIABLES if name not in environment]
    if missing:
        raise InputError(
            f"the environment has RANK and WORLD_SIZE, but lacks {', '.join(missing)}; start with torchrun"
        )
    try:
        rank, world, local = (int(environment[name]) for name in _VARIABLES[:3])
    except ValueError as error:
        raise InputError(f"RANK, WORLD_SIZE and LOCAL_RANK of the environment must be numbers ({error})") from error
    if not 0 <= local <= rank < world:
        raise InputError(f"the environment says RANK={rank}, WORLD_SIZE={world}, LOCAL_RANK={local}")
    return Ranks(rank, world, local)


def _device_of(ranks: Ranks, device: str | None) -> torch.device:
    """The device of a process of several."""
    check_devices(ranks.local + 1, device)
    kind = device_kind(device)
    return torch.device(kind, ranks.local) if kind == "cuda" else torch.device(kind)


def is_lost_connection(error: BaseException) -> bool:
    """Whether torch complains of another process that has ended, whose own words are of more use."""
    words = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


@contextlib.contextmanager
def lost_connections() -> Iterator[None]:
    """Raise `OtherRankFailed` for a lost connection."""
    try:
        yield
    except RuntimeError as error:
        if is_lost_connection(error):
            raise OtherRankFailed from error
        raise
