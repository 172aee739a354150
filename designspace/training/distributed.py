"""Training one network on several devices of one machine, which share each batch.

Each device has a process of its own, a rank, that is started for the trial. The calling process is no rank: it watches
them, so that a rank that is killed or crashes ends one trial, and not the process that runs many.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from designspace.data.images import ImageData
from designspace.networks.network import Network
from designspace.support.errors import unknown
from designspace.support.files import check_of, guarded, read_bytes, temporary_folder, write_bytes
from designspace.support.parent import end_with_parent
from designspace.training.device_data import DeviceData, images_for
from designspace.training.devices import check_devices
from designspace.training.failures import Diverged, Interrupted, RankDied, failure_of
from designspace.training.loop import OnEpoch, ShouldStop, first_model, train_part
from designspace.training.mapped import MappedData
from designspace.training.ranks import Ranks, connect
from designspace.trials.claims import ClaimLost
from designspace.trials.recipe import Recipe
from designspace.trials.trial import TrialResult

_FIRST = "first.safetensors"
_POLL_S = 0.1
"""How often ``should_stop`` is asked."""
_GRACE_S = 0.5
"""How long after a rank's complaint another rank may turn out to have died, which is then the cause."""
_END_S = 5.0
"""How long a rank may take to end; a pool gives its workers 10 seconds."""
_TOLD_TO_END = 128 + signal.SIGTERM


def train_on_devices(
    network: Network,
    recipe: Recipe,
    data: ImageData,
    *,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    first: Mapping[str, Tensor] | None = None,
    on_step: Callable[[], None] | None = None,
) -> TrialResult:
    """Train a network as `train` does, on ``recipe.devices`` devices that share each batch.

    The images seen and their augmentation do not depend on the number of devices; batch-norm does, for each device
    takes the statistics of its own part of a batch. Rank 0's are used for the test images.

    Args:
        network: what to train.
        recipe: how, and on how many devices.
        data: the data set that the recipe names. Every device gets a copy of the images.
        seed: decides everything random, together with the network.
        device: ``cuda``, for the first GPUs that this process sees, or ``cpu``, for that many processes of one thread.
        checkpoint: as for `train`; the same file may be continued by either.
        on_epoch: called in this process, as by `train`.
        should_stop: asked in this process some ten times a second. What an epoch has done by then is lost.
        first: the weights to begin with, as a state dict; by default those of a training from scratch.
        on_step: called in this process for each step that rank 0 began, within a tenth of a second.

    The processes are made by ``multiprocessing``'s method *spawn*: a script that calls this must guard its main part
    with ``if __name__ == "__main__"``.

    Raises:
        InputError: as for `train`; or there are fewer devices, or a batch that they cannot share; or CPUs are to share
            batch-norm (see `Recipe.check_device`).
        Diverged: the training loss of an epoch is not finite.
        Interrupted: ``should_stop`` said yes, or a rank was told to end (SIGTERM).
        RunError: the checkpoint cannot be read or written, or the images cannot be handed to the ranks.
        RankDied: a rank was ended by another signal, or ended without a word.
        Exception: whatever else a rank raised, with the rank's traceback as a note.
    """
    if device not in ("cpu", "cuda"):
        raise unknown("device", device, ("cpu", "cuda"))
    check_devices(recipe.devices, device)
    recipe.check_device(device)
    images = images_for(recipe, data)
    ranks: list[_Rank] = []
    check = check_of(checkpoint) if checkpoint else None
    with temporary_folder("designspace-") as folder:
        if first is not None:
            write_bytes(folder / _FIRST, safetensors.torch.save(dict(first)))
        task = _Task(network, recipe, seed, device, checkpoint, folder, MappedData.of(images, folder), check)
        try:
            for number in range(recipe.devices):
                ranks.append(_Rank(Ranks(number, recipe.devices, number), task))
            return _watch(ranks, on_epoch, should_stop, on_step)
        finally:
            _end(ranks)


@dataclass(frozen=True, slots=True)
class _Task:
    """What every rank is told. It is small, for it goes through a pipe before the rank has begun to read."""

    network: Network
    recipe: Recipe
    seed: int
    device: str
    checkpoint: Path | None
    folder: Path
    """Holds images that are in no file yet, the weights to begin with, and a file by which the ranks find each other:
    others may take a port."""
    images: MappedData
    check: Callable[[], None] | None
    """What guards the checkpoint in the calling process (see `guarded`): rank 0 writes it."""


class _Rank:
    """The process of a device, as the caller sees it."""

    def __init__(self, ranks: Ranks, task: _Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = f"rank {ranks.rank} of {ranks.world}"
        self.channel, theirs = context.Pipe(duplex=False)
        # A process of torch.multiprocessing.start_processes would lose the types of exceptions.
        self.process: SpawnProcess = context.Process(
            target=_run_rank, args=(ranks, task, theirs), name=self.name, daemon=True
        )
        self.process.start()
        theirs.close()  # so that reading what a dead rank said ends

    def said(self) -> Iterator[Any]:
        """All that the rank has said by now: histories and numbers of steps, then a result or an exception."""
        try:
            while self.channel.poll():
                yield self.channel.recv()
        except (EOFError, OSError):  # it has ended, perhaps within a word
            return


def _watch(
    ranks: Sequence[_Rank],
    on_epoch: OnEpoch | None,
    should_stop: ShouldStop | None,
    on_step: Callable[[], None] | None,
) -> TrialResult:
    """Pass on what the ranks say until there is a result; raise what else ends the training."""
    steps = 0
    while True:
        living = [rank for rank in ranks if rank.process.is_alive()]
        wait([source for rank in living for source in (rank.channel, rank.process.sentinel)], _POLL_S)
        # The dead are counted before the words are read, so that nobody's last word is missed.
        death = _death(ranks)
        complaint = None
        for said in (said for rank in ranks for said in rank.said()):
            if isinstance(said, TrialResult):
                _join(ranks)
                return said
            if isinstance(said, Exception):
                complaint = complaint or said
            elif isinstance(said, int):
                if on_step is not None:
                    for _ in range(steps, said):
                        on_step()
                steps = said
            elif on_epoch is not None:
                on_epoch(said)
        if should_stop is not None and should_stop():
            raise Interrupted("asked to stop")
        if complaint is not None and death is None:
            # Where a rank dies, others may only see that a connection was lost, and complain before it is quite dead.
            ending = wait([rank.process.sentinel for rank in ranks], _GRACE_S)
            _join(rank for rank in ranks if rank.process.sentinel in ending)
            death = _death(ranks)
        if death is not None:
            raise death
        if complaint is not None:
            raise complaint


def _death(ranks: Sequence[_Rank]) -> BaseException | None:
    """What to raise for ranks that have ended, other than at the end of their training."""
    ended = {rank.name: rank.process.exitcode for rank in ranks if rank.process.exitcode}
    causes = [
        f"{name} ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
        for name, code in ended.items()
        if code not in (-signal.SIGTERM, _TOLD_TO_END)
    ]
    if causes:
        return RankDied("; ".join(causes))
    return Interrupted(f"{next(iter(ended))} was told to end") if ended else None


def _join(ranks: Iterable[_Rank]) -> None:
    """Wait for all ranks to end, for some seconds."""
    deadline = time.monotonic() + _END_S
    for rank in ranks:
        rank.process.join(max(0.0, deadline - time.monotonic()))


def _end(ranks: Iterable[_Rank]) -> None:
    """End all ranks, whatever they are at."""
    for rank in ranks:
        rank.process.terminate()
    _join(ranks)
    for rank in ranks:
        rank.process.kill()
        rank.process.join()
        rank.process.close()
        rank.channel.close()


def _run_rank(ranks: Ranks, task: _Task, channel: Connection) -> None:
    """Be a rank: the main function of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller as well, who ends the ranks
    # An exception, so that no half-written checkpoint stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    end_with_parent(lambda: shutil.rmtree(task.folder, ignore_errors=True))
    try:
        with contextlib.ExitStack() as stack:
            if task.checkpoint is not None and task.check is not None:
                stack.enter_context(guarded(task.checkpoint.parent, task.check))
            _answer(ranks, task, channel)
    except (SystemExit, ClaimLost):
        os._exit(_TOLD_TO_END)  # at once: the others notice as soon as the interpreter begins to shut down


def _answer(ranks: Ranks, task: _Task, channel: Connection) -> None:
    """Train, and say what came of it."""
    try:
        result = _train(ranks, task, channel)
    except Exception as error:
        channel.send(_sendable(error, ranks))
        # The caller ends all ranks now. If this one went first, the others would complain of lost connections.
        threading.Event().wait()
    else:
        if ranks.rank == 0:
            channel.send(result)
        ranks.part()  # after the result is out: should this hang, nothing is lost


def _train(ranks: Ranks, task: _Task, channel: Connection) -> TrialResult:
    """Do the part of a rank."""
    torch.set_num_threads(1)
    device = torch.device("cuda", ranks.rank) if task.device == "cuda" else torch.device("cpu")
    if ranks.world > 1:
        connect(ranks, device, is_one_machine=True, init_method=f"file://{task.folder / 'rendezvous'}")
    elif device.type == "cuda":
        torch.cuda.set_device(device)
    model = first_model(task.network, task.recipe, task.seed)
    if (task.folder / _FIRST).exists():
        model.load_state_dict(safetensors.torch.load(read_bytes(task.folder / _FIRST)))
    return train_part(
        model,
        task.recipe,
        DeviceData.of(task.images.data(), device),
        ranks.shard,
        seed=task.seed,
        checkpoint=task.checkpoint,
        on_epoch=channel.send if ranks.rank == 0 else None,
        should_stop=_step_counter(channel) if ranks.rank == 0 else None,
    )


def _step_counter(channel: Connection) -> ShouldStop:
    """Return a function to call before each step, which says now and then how many were begun; it never stops."""
    steps, said_at = 0, time.monotonic()

    def count() -> bool:
        nonlocal steps, said_at
        steps += 1
        if time.monotonic() - said_at > _POLL_S:
            said_at = time.monotonic()
            channel.send(steps)
        return False

    return count


def _sendable(error: Exception, ranks: Ranks) -> Exception:
    """An exception as it can be sent: itself, or one of which `failure_of` says the same; the traceback is a note."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        whole = type(copy) is type(error) and str(copy) == str(error)
    except Exception:  # an exception may need anything to be pickled or made again
        whole = False
    sent = error
    if not whole:
        failure = failure_of(error, 0)
        kinds = {"diverged": Diverged, "out of memory": MemoryError}
        sent = kinds.get(failure.reason, RuntimeError)(failure.detail)
    sent.add_note(f"In rank {ranks.rank} of {ranks.world}:\n{''.join(traceback.format_exception(error))}")
    return sent
