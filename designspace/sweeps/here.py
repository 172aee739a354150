"""One network's training in this process, alone or as one of torchrun's: a launch of its run like any other."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import torch

from designspace.library.one_network import OneTraining
from designspace.library.start import InitialModel
from designspace.models.cpu import kernels
from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder
from designspace.support.parent import Parent
from designspace.support.text import command
from designspace.sweeps.launch import origin
from designspace.sweeps.local import LOOK_EVERY_S, Effort
from designspace.training.failures import Interrupted, advice, failure_of
from designspace.training.into_folder import agree_on_kernels
from designspace.training.loop import OnEpoch
from designspace.training.ranks import AgreedStop, OtherRankFailed, Ranks
from designspace.training.stopping import StopSignals, stop_signals
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.recipe import Recipe
from designspace.trials.trial import TrialFailure, TrialResult
from designspace.trials.trial_folder import TrialFolder


def train_here(
    training: OneTraining,
    ranks: Ranks,
    device: torch.device,
    effort: Effort,
    about: Mapping[str, Any],
    *,
    on_step: Callable[[], None] | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrialResult:
    """Train one network, and write the model into its folder at the end; a training that is done is not done again.

    It resumes from the folder's checkpoint. While another process is at work on the folder, it waits. All processes of
    a training call this alike, in their main threads; rank 0 alone writes, and has callbacks. After SIGINT or SIGTERM
    to any of them, all end before the next step.

    Args:
        training: what to train; its folder says so already (see `TrainingFolder.ask`).
        ranks: who this process is.
        device: of this process.
        effort: attempts and time limit. A step that hangs is not interrupted.
        about: what to note of the launch.
        on_step: called before each step.
        on_epoch: called with the history so far after each epoch.

    Raises:
        InputError: the images do not fit the network or the recipe, or the weights do not fit.
        RunError: the attempt failed, or one before was the last; the launch was cancelled; or weights cannot be had.
        Interrupted: the training was told to stop by SIGTERM; the epochs before are in the folder.
        KeyboardInterrupt: the same, by SIGINT.
        OtherRankFailed: another process ended, or says itself what is wrong.
    """
    run, folder = training.run, training.run.trial_folder
    if ranks.rank == 0:
        make_folder(run.path)
    with claims.alone(run.path) if ranks.rank == 0 else contextlib.nullcontext() as claim:
        before = ranks.together(lambda: _before(folder, claim, effort) if claim else None)
        if (result := ranks.gather(before)[0]) is not None:
            return result
        if device.type == "cpu":
            kernels.use(ranks.gather(ranks.together(lambda: "" if ranks.rank else agree_on_kernels(run)))[0])
        initial = ranks.together(training.initial_model)
        with _launched(training, ranks, about) as launch, stop_signals() as signals:
            stop = _Stop(ranks, signals, launch, effort.trial_timeout_s)
            outcome = _attempt(training, initial, ranks, device, stop, on_step, on_epoch)
        if isinstance(outcome, TrialFailure):
            _fail(training, folder, outcome, effort, ranks)
        return outcome


def _attempt(
    training: OneTraining,
    initial: InitialModel,
    ranks: Ranks,
    device: torch.device,
    stop: _Stop,
    on_step: Callable[[], None] | None,
    on_epoch: OnEpoch | None,
) -> TrialResult | TrialFailure:
    """Do this process's part of a training."""
    folder, agreed = training.run.trial_folder, AgreedStop(ranks, stop)
    try:
        if ranks.rank:
            outcome: TrialResult | TrialFailure = training.take_part(initial, ranks, device, agreed)
        else:
            _note_start(folder, ranks, device)
            keep = on_epoch or (lambda history: None)
            outcome = training.train(initial, ranks, device, on_step=on_step, on_epoch=keep, should_stop=agreed)
        agreed.wait()
        return outcome
    except Interrupted as interruption:
        ranks.disconnect()
        return stop.reason(folder, interruption)
    except Exception as error:
        if ranks.rank == 0 or isinstance(error, (InputError, RunError, OtherRankFailed)):
            raise
        raise _of_another_rank(error, folder, training.trial.recipe, ranks) from error


def _before(folder: TrialFolder, claim: claims.Claim, effort: Effort) -> TrialResult | None:
    """Return what came of a training that is done; None if it is to be trained.

    Raises:
        RunError: it has failed.
    """
    state = folder.state()
    failure = state.failure
    if claim.lost and not state.has_ended:
        failure = folder.note_lost_owner(claim.lost, effort.max_retries)
    if failure is not None:
        again = command("retry", run=folder.path)
        raise RunError(
            f"{folder.path}: this training has failed ({failure.reason}: {failure.detail}). To try again: {again}"
        )
    return state.result


@contextlib.contextmanager
def _launched(training: OneTraining, ranks: Ranks, about: Mapping[str, Any]) -> Iterator[LaunchFolder | None]:
    """Note the launch while the block runs, for rank 0."""
    if ranks.rank:
        yield None
        return
    launch = training.run.new_launch({**about, **origin(), "launcher": "local", "workers": 1})
    try:
        yield launch
    finally:
        with contextlib.suppress(RunError):  # a full disk; what ended this launch is told already
            launch.note(ended=True)


class _Stop:
    """Says before each step whether a reason to stop has come up in this process."""

    def __init__(self, ranks: Ranks, signals: StopSignals, launch: LaunchFolder | None, limit_s: float | None) -> None:
        self._ranks = ranks
        self._signals = signals
        self._launch = launch
        self._limit_s = limit_s
        self._parent = Parent()
        self._began = self._looked = time.monotonic()
        self._is_cancelled = self._is_over_time = False

    def __call__(self) -> bool:
        """Whether to stop."""
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._is_cancelled = self._launch is not None and self._launch.is_cancelled
            self._is_over_time = self._limit_s is not None and now - self._began > self._limit_s
        # Processes of torchrun do not end with it.
        is_left_alone = self._ranks.world > 1 and self._parent.is_gone
        return self._signals.received is not None or self._is_cancelled or self._is_over_time or is_left_alone

    def reason(self, folder: TrialFolder, interruption: Interrupted) -> TrialFailure:
        """Return the failure of a training that took too long; raise what else made it stop."""
        if self._is_over_time:
            words = "the trial took longer than trial_timeout_min allows"
            return TrialFailure("time limit", words, len(folder.known_history()))
        if self._ranks.rank == 0:
            folder.add_to_log(f"stopped {interruption}")
        if self._is_cancelled and self._launch is not None:
            raise RunError(f"cancelled by {self._launch.cancelled_by}; the same command resumes") from None
        if self._signals.received == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise interruption


def _note_start(folder: TrialFolder, ranks: Ranks, device: torch.device) -> None:
    """Note in the log who begins or resumes."""
    others = f" and {ranks.world - 1} more processes" if ranks.world > 1 else ""
    folder.add_to_log(f"started on {socket.gethostname()}, process {os.getpid()}{others}, {device.type}")


def _fail(training: OneTraining, folder: TrialFolder, failure: TrialFailure, effort: Effort, ranks: Ranks) -> NoReturn:
    """Note how an attempt failed, and raise an error that says what a person can do about it."""
    is_last = folder.note_failure(failure, effort.max_retries)
    if failure.reason == "worker died" and ranks.world > 1:
        raise OtherRankFailed
    if words := advice(failure, training.trial.recipe):
        raise RunError(words)
    traceback_in = f"; more is in {folder.log}" if failure.reason == "error" else ""
    more = "" if is_last else ". The same command tries again from the last epoch"
    raise RunError(f"{failure.reason}: {failure.detail}{traceback_in}{more}")


def _of_another_rank(error: Exception, folder: TrialFolder, recipe: Recipe, ranks: Ranks) -> Exception:
    """Return what a rank other than the first raises for what ended its training, and note it in the log."""
    failure = failure_of(error, 0)
    if failure.has_diverged:  # all see the same loss
        return OtherRankFailed()
    words = advice(failure, recipe)
    folder.add_to_log(f"rank {ranks.rank}: {words or ''.join(traceback.format_exception(error))}")
    return RunError(f"rank {ranks.rank}: {words or failure.detail}")
