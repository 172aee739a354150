"""Training of one network in this process, which may be one of several that torchrun started. It counts as a launch."""

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
from designspace.sweeps.local import CHECK_EVERY_S, RetryPolicy
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


def train_in_process(
    training: OneTraining,
    ranks: Ranks,
    device: torch.device,
    retry_policy: RetryPolicy,
    about: Mapping[str, Any],
    *,
    on_step: Callable[[], None] | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrialResult:
    """Train one network, and write the model into its folder; return the existing result if the training is done.

    Training resumes from the checkpoint in the folder. If another process is working on the folder, this waits for it.
    All processes of a training call this with the same arguments, in their main threads; only rank 0 writes files and
    calls the callbacks. After SIGINT or SIGTERM to any process, all stop before the next step.

    Args:
        training: the training, which has been written to its folder (see `TrainingFolder.record`).
        ranks: the rank of this process.
        device: the device of this process.
        retry_policy: attempts and time limit. A step that hangs is not interrupted.
        about: fields to record about the launch.
        on_step: called before each step.
        on_epoch: called with the history so far after each epoch.

    Raises:
        InputError: the images do not fit the network or the recipe, or the weights do not fit.
        RunError: this attempt failed, or the training had failed before; the launch was cancelled; or the weights are
            not available.
        Interrupted: the training was stopped by SIGTERM; the completed epochs are in the folder.
        KeyboardInterrupt: the same, by SIGINT.
        OtherRankFailed: another process exited, or reports the error itself.
    """
    run, folder = training.run, training.run.trial_folder
    if ranks.rank == 0:
        make_folder(run.path)
    with claims.exclusive(run.path) if ranks.rank == 0 else contextlib.nullcontext() as claim:
        existing = ranks.together(lambda: _existing_result(folder, claim, retry_policy) if claim else None)
        if (result := ranks.gather(existing)[0]) is not None:
            return result
        if device.type == "cpu":
            kernels.use(ranks.gather(ranks.together(lambda: "" if ranks.rank else agree_on_kernels(run)))[0])
        initial = ranks.together(training.initial_model)
        with _launched(training, ranks, about) as launch, stop_signals() as signals:
            stop = _Stop(ranks, signals, launch, retry_policy.trial_timeout_s)
            outcome = _attempt(training, initial, ranks, device, stop, on_step, on_epoch)
        if isinstance(outcome, TrialFailure):
            _fail(training, folder, outcome, retry_policy, ranks)
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
    """Run this process's part of a training."""
    folder, agreed = training.run.trial_folder, AgreedStop(ranks, stop)
    try:
        if ranks.rank:
            outcome: TrialResult | TrialFailure = training.take_part(initial, ranks, device, agreed)
        else:
            _log_start(folder, ranks, device)
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


def _existing_result(folder: TrialFolder, claim: claims.Claim, retry_policy: RetryPolicy) -> TrialResult | None:
    """Return the result of a training that is done; None if it is to be trained.

    Raises:
        RunError: the training has failed.
    """
    state = folder.state()
    failure = state.failure
    if claim.previous_owner and not state.is_finished:
        failure = folder.record_lost_owner(claim.previous_owner, retry_policy.max_retries)
    if failure is not None:
        retry = command("retry", run=folder.path)
        raise RunError(
            f"{folder.path}: this training has failed ({failure.reason}: {failure.detail}). To try again: {retry}"
        )
    return state.result


@contextlib.contextmanager
def _launched(training: OneTraining, ranks: Ranks, about: Mapping[str, Any]) -> Iterator[LaunchFolder | None]:
    """Record the launch while the block runs, in rank 0."""
    if ranks.rank:
        yield None
        return
    launch = training.run.new_launch({**about, **origin(), "launcher": "local", "workers": 1})
    try:
        yield launch
    finally:
        with contextlib.suppress(RunError):  # a full disk; the cause has been reported already
            launch.update(ended=True)


class _Stop:
    """Decides before each step whether this process must stop."""

    def __init__(self, ranks: Ranks, signals: StopSignals, launch: LaunchFolder | None, limit_s: float | None) -> None:
        self._ranks = ranks
        self._signals = signals
        self._launch = launch
        self._limit_s = limit_s
        self._parent = Parent()
        self._began = self._checked = time.monotonic()
        self._is_cancelled = self._has_timed_out = False

    def __call__(self) -> bool:
        """Return whether to stop."""
        now = time.monotonic()
        if now - self._checked >= CHECK_EVERY_S:
            self._checked = now
            self._is_cancelled = self._launch is not None and self._launch.is_cancelled
            self._has_timed_out = self._limit_s is not None and now - self._began > self._limit_s
        # Processes that torchrun started do not exit with it.
        is_orphaned = self._ranks.world > 1 and self._parent.is_gone
        return self._signals.received is not None or self._is_cancelled or self._has_timed_out or is_orphaned

    def reason(self, folder: TrialFolder, interruption: Interrupted) -> TrialFailure:
        """Return the failure of a training that took too long; raise an error for other reasons to stop."""
        if self._has_timed_out:
            detail = "the trial took longer than trial_timeout_min allows"
            return TrialFailure("time limit", detail, len(folder.known_history()))
        if self._ranks.rank == 0:
            folder.add_to_log(f"stopped {interruption}")
        if self._is_cancelled and self._launch is not None:
            raise RunError(f"cancelled by {self._launch.cancelled_by}; the same command resumes") from None
        if self._signals.received == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise interruption


def _log_start(folder: TrialFolder, ranks: Ranks, device: torch.device) -> None:
    """Log which process starts or resumes the training."""
    others = f" and {ranks.world - 1} more processes" if ranks.world > 1 else ""
    folder.add_to_log(f"started on {socket.gethostname()}, process {os.getpid()}{others}, {device.type}")


def _fail(
    training: OneTraining, folder: TrialFolder, failure: TrialFailure, retry_policy: RetryPolicy, ranks: Ranks
) -> NoReturn:
    """Record a failed attempt, and raise an error that says what the user can do."""
    is_last = folder.record_failure(failure, retry_policy.max_retries)
    if failure.reason == "worker died" and ranks.world > 1:
        raise OtherRankFailed
    if message := advice(failure, training.trial.recipe):
        raise RunError(message)
    see_log = f"; see {folder.log}" if failure.reason == "error" else ""
    hint = "" if is_last else ". The same command tries again from the last epoch"
    raise RunError(f"{failure.reason}: {failure.detail}{see_log}{hint}")


def _of_another_rank(error: Exception, folder: TrialFolder, recipe: Recipe, ranks: Ranks) -> Exception:
    """Return the error that a rank other than the first raises after a failure, and log it."""
    failure = failure_of(error, 0)
    if failure.has_diverged:  # all ranks have the same loss
        return OtherRankFailed()
    message = advice(failure, recipe)
    folder.add_to_log(f"rank {ranks.rank}: {message or ''.join(traceback.format_exception(error))}")
    return RunError(f"rank {ranks.rank}: {message or failure.detail}")
