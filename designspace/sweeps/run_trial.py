"""Running one trial: what happens is written to its folder while it happens."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from designspace.support.errors import InputError, RunError
from designspace.trials.trial import (
    Attempt,
    EpochRecord,
    Recipe,
    Trial,
    TrialFailure,
    TrialResult,
    is_hopeless,
)
from designspace.trials.trial_folder import TrialFolder

if TYPE_CHECKING:
    from designspace.data import ImageData
    from designspace.training import DeviceData


def run_trial(
    folder: TrialFolder,
    trial: Trial,
    train: Callable[..., TrialResult],
    data: DeviceData | ImageData,
    on_epoch: Callable[[EpochRecord], None],
    should_stop: Callable[[], bool],
    is_ours: Callable[[], bool],
) -> TrialResult | TrialFailure:
    """Train one trial, keeping its folder up to date, and give what came of it.

    ``train`` is called as `designspace.training.train` is (see `trainer_of`), with ``data``.

    A result is on disk then; what to do about a failure is the caller's choice (see `note_attempt`).

    Raises:
        Interrupted: ``should_stop`` said so, or the trial is no longer this process's by ``is_ours``; it goes on from
            its checkpoint next time.
        RunError: the folder cannot be written.
    """
    from designspace.training import Interrupted, failure_of

    folder.write_trial(trial)
    done: tuple[EpochRecord, ...] = ()

    def keep(history: tuple[EpochRecord, ...]) -> None:
        nonlocal done
        done = history
        if not is_ours():
            raise Interrupted("another process has taken the trial over")
        folder.write_history(history)
        folder.add_to_log(history[-1].in_words(trial.recipe.epochs))
        on_epoch(history[-1])

    try:
        with _told_to(folder):
            result = train(
                trial.network,
                trial.recipe,
                data,
                seed=trial.seed,
                checkpoint=folder.checkpoint,
                on_epoch=keep,
                should_stop=should_stop,
            )
    except (Interrupted, RunError):
        raise
    except Exception as error:
        folder.add_to_log("".join(traceback.format_exception(error)))
        return failure_of(error, epochs=len(done))
    if not is_ours():
        raise Interrupted("another process has taken the trial over")
    folder.write_result(result, trial.asked)
    folder.add_to_log(f"done: final error {result.final_error:.2f}%")
    return result


@contextlib.contextmanager
def _told_to(folder: TrialFolder) -> Iterator[None]:
    """Write what the training says of itself, how it computes on a GPU for one, to the trial's log as well."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            folder.add_to_log(record.getMessage())

    said, handler = logging.getLogger("designspace.training"), Handler(logging.INFO)
    before = said.level
    said.addHandler(handler)
    said.setLevel(logging.INFO)
    try:
        yield
    finally:
        said.setLevel(before)
        said.removeHandler(handler)


def trainer_of(recipe: Recipe, device: str) -> Callable[..., Any]:
    """The function that trains a network: this package's for one or more devices, or the one that the recipe names.

    Raises:
        InputError: there is no such function.
    """
    if recipe.trainer is None:
        from designspace.training import train, train_on_devices

        return train if recipe.devices == 1 else functools.partial(train_on_devices, device=device)
    module, _, name = recipe.trainer.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"recipe: trainer {recipe.trainer} cannot be imported ({error}); is it on PYTHONPATH?"
        ) from error
    return found


def note_attempt(
    folder: TrialFolder, failure: TrialFailure, max_retries: int, asked: str, *, host: str = "", outside: bool = False
) -> bool:
    """Note a try that ended badly; True if it was the last one, and the trial has failed now.

    ``outside`` says that the trial itself seems not to be to blame.

    Raises:
        RunError: the folder cannot be written.
    """
    attempt = Attempt(failure, host or socket.gethostname(), round(time.time(), 1), outside)
    attempts = folder.add_attempt(attempt)
    over = is_hopeless(attempts, max_retries)
    folder.add_to_log(f"{failure.reason}: {failure.detail} (try {len(attempts)}{', the last' if over else ''})")
    if over:
        folder.write_failure(failure, asked)
    return over
