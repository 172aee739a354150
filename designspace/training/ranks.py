"""The processes that train one network together, one per device, on one machine or several.

They are started by a training (see `designspace.training.distributed`) or by torchrun. With torchrun, each process runs
the same command and reads its rank from the environment. Only rank 0 writes and prints, except for errors that occur
only in another rank.
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
from designspace.training.failures import RankCrashed
from designspace.training.shard import Shard

T = TypeVar("T")
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class OtherRankFailed(RankCrashed):
    """Another process of the training failed, and reports the reason itself."""

    def __init__(self) -> None:
        super().__init__("another process of the training ended")


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank of this process among all processes of a training."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Rank among the processes of this machine."""
    group: Any = field(default=None, repr=False)
    """Torch's process group for messages between the processes, besides the one for gradients."""

    @property
    def shard(self) -> Shard:
        """The shard of this process, which determines its part of each batch."""
        return Shard(self.rank, self.world)

    def gather(self, value: T) -> list[T]:
        """Return the small values of all processes, in the order of ranks, in every process."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            with lost_connections():
                dist.all_gather_object(values, value, group=self.group)
        return values

    def disconnect(self) -> None:
        """Close the connections, once all processes have finished."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def together(self, action: Callable[[], T]) -> T:
        """Run a function in all processes, first in one per machine so that downloads happen only once.

        Raises:
            InputError, RunError: the function raised it in some process; rank 0 reports it.
            OtherRankFailed: raised by the other processes in this case.
        """
        results: list[T] = []
        for is_first in (True, False):
            error: InputError | RunError | None = None
            if (self.local == 0) == is_first:
                try:
                    results.append(action())
                except (InputError, RunError) as caught:
                    error = caught
                except OSError as caught:
                    error = RunError(str(caught))
            self._raise_first(self.gather(None if error is None else (isinstance(error, InputError), str(error))))
        return results[0]

    def _raise_first(self, errors: Sequence[tuple[bool, str] | None]) -> None:
        """Raise the first of the errors of all processes, if there are any."""
        for rank, error in enumerate(errors):
            if error is not None:
                if self.rank:
                    raise OtherRankFailed
                text = error[1] if rank == 0 else f"rank {rank}: {error[1]}"
                raise InputError(text) if error[0] else RunError(text)


class AgreedStop:
    """Function that returns before each step whether to stop, with the same result in all processes.

    A process that is to stop notifies the others before its step, and all stop before the next one, so that no process
    waits for an answer and GPUs keep working. All processes must call it equally often.
    """

    def __init__(self, ranks: Ranks, should_stop: Callable[[], bool]) -> None:
        self._ranks = ranks
        self._should_stop = should_stop
        self._stop_flag = torch.zeros(1, dtype=torch.int32)
        self._pending: Any = None

    def __call__(self) -> bool:
        """Return whether to stop now.

        Raises:
            OtherRankFailed: another process has ended.
        """
        if self._ranks.world == 1:
            return self._should_stop()
        self.wait()
        if self._stop_flag.item():
            return True
        self._stop_flag.fill_(self._should_stop())
        with lost_connections():
            self._pending = dist.all_reduce(self._stop_flag, dist.ReduceOp.MAX, group=self._ranks.group, async_op=True)
        return False

    def wait(self) -> None:
        """Wait for the pending messages of the others, so that the processes can disconnect."""
        if self._pending is not None:
            with lost_connections():
                self._pending.wait()
            self._pending = None


@contextlib.contextmanager
def joined(device: str | None, devices: int = 1) -> Iterator[tuple[Ranks, torch.device]]:
    """Connect to the other processes of torchrun while the block runs, and yield this process's rank and device.

    Without torchrun this is the only process, on the device of that name (see `choose_device`). With torchrun, each
    process uses the GPU of its local rank, or all are on CPUs.

    Args:
        device: the device as named by the user; None for a GPU if there is one.
        devices: the number of devices that this process trains on if it is the only one. If there are several, the
            ranks that it starts use them and this process uses none, which would take memory from a rank's GPU.

    Raises:
        InputError: this machine has no such device or too few devices, or the environment is incomplete.
        OtherRankFailed: another process ended or reported an error.
    """
    ranks = from_environment(os.environ) or Ranks()
    if ranks.world == 1 and devices > 1:
        yield ranks, torch.device(device_kind(device))
        return
    if ranks.world == 1:
        yield ranks, choose_device(device)
        return
    own_device = _device_of(ranks, device)
    is_one_machine = os.environ.get("LOCAL_WORLD_SIZE") == str(ranks.world)
    with lost_connections():
        connect(ranks, own_device, is_one_machine=is_one_machine)
        group = dist.new_group(backend="gloo")
    yield dataclasses.replace(ranks, group=group), own_device
    ranks.disconnect()  # not after an error, because this would wait for processes that may have ended


def connect(ranks: Ranks, device: torch.device, *, is_one_machine: bool, init_method: str | None = None) -> None:
    """Set up torch's default process group, in which the processes sum gradients.

    Args:
        ranks: the rank of this process.
        device: the device of this process.
        is_one_machine: whether all processes run on this machine.
        init_method: torch's ``init_method``; by default that of torchrun's environment.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif sys.platform == "linux" and is_one_machine:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the default is a look-up of the host's name
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=init_method, rank=ranks.rank, world_size=ranks.world)


def from_environment(environment: Mapping[str, str]) -> Ranks | None:
    """Read the rank of this process from the environment variables of torchrun; return None if they are not set.

    Raises:
        InputError: some variables are missing or not numbers.
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
        raise InputError(f"the environment is inconsistent: RANK={rank}, WORLD_SIZE={world}, LOCAL_RANK={local}")
    return Ranks(rank, world, local)


def _device_of(ranks: Ranks, device: str | None) -> torch.device:
    """Return the device of one of several processes."""
    check_devices(ranks.local + 1, device)
    kind = device_kind(device)
    return torch.device(kind, ranks.local) if kind == "cuda" else torch.device(kind)


def is_lost_connection(error: BaseException) -> bool:
    """Return whether an error only says that another process has ended, whose own error is more informative."""
    messages = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(message in str(error) for message in messages)
    )


@contextlib.contextmanager
def lost_connections() -> Iterator[None]:
    """Raise `OtherRankFailed` for lost connections, while a block runs."""
    try:
        yield
    except RuntimeError as error:
        if is_lost_connection(error):
            raise OtherRankFailed from error
        raise
