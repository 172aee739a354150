"""Running one trial: what happens is written to its folder while it happens."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from designspace.support.errors import RunError
from designspace.support.file_errors import concerns_all
from designspace.sweeps.trainer import BadResult, checked_history, checked_result
from designspace.trials.claims import ClaimLost
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult, is_hopeless
from designspace.trials.trial_folder import TrialFolder

if TYPE_CHECKING:
    from designspace.data import ImageData
    from designspace.training import DeviceData


LONGEST_DETAIL = 1000
"""Characters of what a trainer raised that stand in tables; all of it is in the trial's log."""


def run_trial(
    folder: TrialFolder,
    trial: Trial,
    train: Callable[..., object],
    data: DeviceData | ImageData,
    on_epoch: Callable[[EpochRecord], None],
    should_stop: Callable[[], bool],
) -> TrialResult | TrialFailure:
    """Train one trial, keeping its folder up to date, and give what came of it.

    ``train`` is called as `designspace.training.train` is (see `trainer_of`), with ``data``. The trial is this
    process's (see `TrialFolder.claimed`).

    A result is on disk then; what to do about a failure is the caller's choice (see `note_attempt`).

    Raises:
        Interrupted: ``should_stop`` said so; the trial goes on from its checkpoint next time.
        ClaimLost: another process has taken the trial over.
        RunError: the disk is full, say: whatever would stop other trials as well.
    """
    from designspace.training import Interrupted

    done: tuple[EpochRecord, ...] = ()

    def keep(history: tuple[EpochRecord, ...]) -> None:
        nonlocal done
        done = checked_history(history, trial.recipe)
        folder.write_history(done)
        folder.add_to_log(done[-1].in_words(trial.recipe.epochs))
        on_epoch(done[-1])

    try:
        folder.write_trial(trial)
        with _told_to(folder):
            returned = train(
                trial.network,
                trial.recipe,
                data,
                seed=trial.seed,
                checkpoint=folder.checkpoint,
                on_epoch=keep,
                should_stop=should_stop,
            )
        result = checked_result(returned, trial.recipe)
        folder.write_result(result, trial.asked)
    except (Interrupted, ClaimLost):
        raise
    except BaseException as error:  # a custom trainer may raise anything, SystemExit too; workers get no Ctrl-C
        if concerns_all(error):
            raise
        if not isinstance(error, (BadResult, RunError)):
            folder.add_to_log("".join(traceback.format_exception(error)))
        return _failure(error, len(done))
    folder.add_to_log(f"done: final error {result.final_error:.2f}%")
    return result


def _failure(error: BaseException, epochs: int) -> TrialFailure:
    """Put what ended a trial into the words of a results table."""
    from designspace.training import failure_of

    try:
        if isinstance(error, Exception) and not isinstance(error, (BadResult, RunError)):
            failure = failure_of(error, epochs)
        else:
            words = f"the trainer raised {type(error).__name__}: {error}"
            failure = TrialFailure("error", str(error) if isinstance(error, Exception) else words, epochs)
    except Exception:  # a custom exception may have a text that cannot be had
        failure = TrialFailure("error", f"the trainer raised {type(error).__name__}", epochs)
    return dataclasses.replace(failure, detail=failure.detail[:LONGEST_DETAIL])


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
