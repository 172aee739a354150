"""Training one network on several devices of one machine, which share each batch.

Each device has its own process, a rank, which is started for the trial. The calling process is not a rank but watches
them, so that a rank that is killed or crashes ends only its trial, not the process that runs many.
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
from designspace.training.failures import Diverged, Interrupted, RankCrashed, failure_of
from designspace.training.loop import OnEpoch, ShouldStop, initial_model, train_part
from designspace.training.mapped import MappedData
from designspace.training.ranks import Ranks, connect
from designspace.trials.claims import ClaimLost
from designspace.trials.recipe import Recipe
from designspace.trials.trial import TrialResult

_INITIAL_WEIGHTS = "first.safetensors"
_POLL_S = 0.1
"""Interval in seconds at which ``should_stop`` is called."""
_GRACE_S = 0.5
"""Seconds after a rank's error in which the crash of another rank is taken as its cause."""
_END_S = 5.0
"""Seconds that a rank may take to end; a pool gives its workers 10 seconds."""
_TERMINATED = 128 + signal.SIGTERM


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
    initial_weights: Mapping[str, Tensor] | None = None,
    on_step: Callable[[], None] | None = None,
) -> TrialResult:
    """Train a network as `train` does, on ``recipe.devices`` devices that share each batch.

    The images seen and their augmentation do not depend on the number of devices. Batch-norm does, because each device
    uses the statistics of its own part of a batch; those of rank 0 are used for the test images.

    Args:
        network: the network to train.
        recipe: the recipe, which sets the number of devices.
        data: the data set that the recipe names. Every device gets a copy of the images.
        seed: determines all random numbers, together with the network.
        device: ``cuda`` for the first GPUs visible to this process, or ``cpu`` for processes of one thread each.
        checkpoint: as for `train`; either function can resume from the same file.
        on_epoch: called in this process, as by `train`.
        should_stop: called in this process about ten times per second. Stopping loses the work of the current epoch.
        initial_weights: the initial weights, as a state dict; by default those of a training from scratch.
        on_step: called in this process for each step that rank 0 began, within a tenth of a second.

    The processes are started by ``multiprocessing``'s method *spawn*: a script that calls this must guard its main part
    with ``if __name__ == "__main__"``.

    Raises:
        InputError: as for `train`; or there are too few devices, or they cannot share a batch; or CPUs are to share
            batch-norm (see `Recipe.check_device`).
        Diverged: the training loss of an epoch is not finite.
        Interrupted: ``should_stop`` returned true, or a rank was terminated (SIGTERM).
        RunError: the checkpoint cannot be read or written, or the images cannot be passed to the ranks.
        RankCrashed: a rank was killed by another signal, or exited without reporting an error.
        Exception: any other exception of a rank, with the rank's traceback as a note.
    """
    _check_device(recipe, device)
    images = images_for(recipe, data)
    ranks: list[_Rank] = []
    check = check_of(checkpoint) if checkpoint else None
    with temporary_folder("designspace-") as folder:
        if initial_weights is not None:
            write_bytes(folder / _INITIAL_WEIGHTS, safetensors.torch.save(dict(initial_weights)))
        arguments = _RankArguments(
            network, recipe, seed, device, checkpoint, folder, MappedData.of(images, folder), check
        )
        try:
            for number in range(recipe.devices):
                ranks.append(_Rank(Ranks(number, recipe.devices, number), arguments))
            return _watch(ranks, on_epoch, should_stop, on_step)
        finally:
            _terminate(ranks)


def _check_device(recipe: Recipe, device: str) -> None:
    """Raise an InputError unless there are enough devices of a kind for a recipe, and it can be trained on them."""
    if device not in ("cpu", "cuda"):
        raise unknown("device", device, ("cpu", "cuda"))
    check_devices(recipe.devices, device)
    recipe.check_device(device)


@dataclass(frozen=True, slots=True)
class _RankArguments:
    """The arguments of every rank. They are small because they pass through a pipe before the rank reads from it."""

    network: Network
    recipe: Recipe
    seed: int
    device: str
    checkpoint: Path | None
    folder: Path
    """Holds images that are in no other file, the initial weights, and a file by which the ranks find each other,
    because other processes could take a port."""
    images: MappedData
    check: Callable[[], None] | None
    """The guard of the checkpoint in the calling process (see `guarded`), needed because rank 0 writes it."""


class _Rank:
    """The process of a device, from the caller's side."""

    def __init__(self, ranks: Ranks, arguments: _RankArguments) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = f"rank {ranks.rank} of {ranks.world}"
        self.channel, sender = context.Pipe(duplex=False)
        # A process of torch.multiprocessing.start_processes would lose the types of exceptions.
        self.process: SpawnProcess = context.Process(
            target=_run_rank, args=(ranks, arguments, sender), name=self.name, daemon=True
        )
        self.process.start()
        sender.close()  # so that reading from a rank that has ended does not block

    def messages(self) -> Iterator[Any]:
        """Yield all pending messages of the rank: histories and numbers of steps, then a result or an exception."""
        try:
            while self.channel.poll():
                yield self.channel.recv()
        except (EOFError, OSError):  # the rank has ended, perhaps in the middle of a message
            return


def _watch(
    ranks: Sequence[_Rank],
    on_epoch: OnEpoch | None,
    should_stop: ShouldStop | None,
    on_step: Callable[[], None] | None,
) -> TrialResult:
    """Pass on the messages of the ranks until there is a result; raise the error if the training fails."""
    steps = 0
    while True:
        running = [rank for rank in ranks if rank.process.is_alive()]
        wait([source for rank in running for source in (rank.channel, rank.process.sentinel)], _POLL_S)
        # Exit codes are checked before the messages are read, so that no last message is missed.
        crash = _error_of_ended_ranks(ranks)
        reported_error = None
        for message in (message for rank in ranks for message in rank.messages()):
            if isinstance(message, TrialResult):
                _join(ranks)
                return message
            if isinstance(message, Exception):
                reported_error = reported_error or message
            elif isinstance(message, int):
                if on_step is not None:
                    for _ in range(steps, message):
                        on_step()
                steps = message
            elif on_epoch is not None:
                on_epoch(message)
        if should_stop is not None and should_stop():
            raise Interrupted("asked to stop")
        if reported_error is not None and crash is None:
            # If a rank crashes, others may report the lost connection before its process has ended.
            ending = wait([rank.process.sentinel for rank in ranks], _GRACE_S)
            _join(rank for rank in ranks if rank.process.sentinel in ending)
            crash = _error_of_ended_ranks(ranks)
        if crash is not None:
            raise crash
        if reported_error is not None:
            raise reported_error


def _error_of_ended_ranks(ranks: Sequence[_Rank]) -> BaseException | None:
    """Return the error for ranks that ended before the end of their training, or None if there are none."""
    ended = {rank.name: rank.process.exitcode for rank in ranks if rank.process.exitcode}
    causes = [
        f"{name} ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
        for name, code in ended.items()
        if code not in (-signal.SIGTERM, _TERMINATED)
    ]
    if causes:
        return RankCrashed("; ".join(causes))
    return Interrupted(f"{next(iter(ended))} was terminated") if ended else None


def _join(ranks: Iterable[_Rank]) -> None:
    """Wait up to `_END_S` seconds for all ranks to end."""
    deadline = time.monotonic() + _END_S
    for rank in ranks:
        rank.process.join(max(0.0, deadline - time.monotonic()))


def _terminate(ranks: Iterable[_Rank]) -> None:
    """End all ranks immediately."""
    for rank in ranks:
        rank.process.terminate()
    _join(ranks)
    for rank in ranks:
        rank.process.kill()
        rank.process.join()
        rank.process.close()
        rank.channel.close()


def _run_rank(ranks: Ranks, arguments: _RankArguments, channel: Connection) -> None:
    """Run a rank: the main function of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the caller, which ends the ranks
    # SIGTERM raises an exception, so that no half-written checkpoint remains.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    end_with_parent(lambda: shutil.rmtree(arguments.folder, ignore_errors=True))
    try:
        with contextlib.ExitStack() as stack:
            if arguments.checkpoint is not None and arguments.check is not None:
                stack.enter_context(guarded(arguments.checkpoint.parent, arguments.check))
            _train_and_report(ranks, arguments, channel)
    except (SystemExit, ClaimLost):
        os._exit(_TERMINATED)  # immediately, because a shutdown of the interpreter would cause errors in other ranks


def _train_and_report(ranks: Ranks, arguments: _RankArguments, channel: Connection) -> None:
    """Train, and send the result or the error."""
    try:
        result = _train(ranks, arguments, channel)
    except Exception as error:
        channel.send(_sendable(error, ranks))
        # The caller ends all ranks now. If this one ended first, the others would report lost connections.
        threading.Event().wait()
    else:
        if ranks.rank == 0:
            channel.send(result)
        ranks.disconnect()  # after the result is sent, so that it is not lost if this hangs


def _train(ranks: Ranks, arguments: _RankArguments, channel: Connection) -> TrialResult:
    """Train a rank's part."""
    torch.set_num_threads(1)
    device = torch.device("cuda", ranks.rank) if arguments.device == "cuda" else torch.device("cpu")
    if ranks.world > 1:
        connect(ranks, device, is_one_machine=True, init_method=f"file://{arguments.folder / 'rendezvous'}")
    elif device.type == "cuda":
        torch.cuda.set_device(device)
    model = initial_model(arguments.network, arguments.recipe, arguments.seed)
    if (arguments.folder / _INITIAL_WEIGHTS).exists():
        model.load_state_dict(safetensors.torch.load(read_bytes(arguments.folder / _INITIAL_WEIGHTS)))
    return train_part(
        model,
        arguments.recipe,
        DeviceData.of(arguments.images.data(), device),
        ranks.shard,
        seed=arguments.seed,
        checkpoint=arguments.checkpoint,
        on_epoch=channel.send if ranks.rank == 0 else None,
        should_stop=_step_counter(channel) if ranks.rank == 0 else None,
    )


def _step_counter(channel: Connection) -> ShouldStop:
    """Return a function for `should_stop` that sends the number of steps now and then, and never stops the training."""
    steps, reported_at = 0, time.monotonic()

    def count() -> bool:
        nonlocal steps, reported_at
        steps += 1
        if time.monotonic() - reported_at > _POLL_S:
            reported_at = time.monotonic()
            channel.send(steps)
        return False

    return count


def _sendable(error: Exception, ranks: Ranks) -> Exception:
    """Return an exception that can be pickled and for which `failure_of` is the same; the traceback is a note."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        is_faithful = type(copy) is type(error) and str(copy) == str(error)
    except Exception:  # pickling an exception may fail in any way
        is_faithful = False
    sent = error
    if not is_faithful:
        failure = failure_of(error, 0)
        kinds = {"diverged": Diverged, "out of memory": MemoryError}
        sent = kinds.get(failure.reason, RuntimeError)(failure.detail)
    sent.add_note(f"In rank {ranks.rank} of {ranks.world}:\n{''.join(traceback.format_exception(error))}")
    return sent
