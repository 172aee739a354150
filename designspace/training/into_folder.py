"""Training of one trial, with its progress written to its folder. All training of trials goes through this module."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import traceback
from collections.abc import Callable, Iterator

from designspace.models.cpu import kernels
from designspace.support.errors import RunError
from designspace.support.file_errors import concerns_all
from designspace.training.failures import Interrupted, failure_of
from designspace.training.loop import OnEpoch, ShouldStop
from designspace.training.trainer import BadResult, checked_history, checked_result
from designspace.trials.claims import ClaimLost
from designspace.trials.run import Run
from designspace.trials.trial import EpochRecord, Trial, TrialFailure, TrialResult
from designspace.trials.trial_folder import TrialFolder

MAX_DETAIL_CHARACTERS = 1000
"""Maximal length of an error message in tables; the full message is in the trial's log."""


def train_into(
    folder: TrialFolder,
    trial: Trial,
    train: Callable[..., object],
    on_epoch: OnEpoch,
    should_stop: ShouldStop,
    finish: Callable[[TrialResult], None] | None = None,
) -> TrialResult | TrialFailure:
    """Train one trial, keep its folder up to date, and return the result or the failure.

    This process must hold the trial (see `TrialFolder.claimed`). A result is written to the folder; how to handle a
    failure is left to the caller (see `TrialFolder.record_failure`).

    Args:
        folder: the folder of the trial.
        trial: the trial to train.
        train: the function that trains it: `designspace.training.train` or a custom trainer, with all arguments except
            ``checkpoint``, ``on_epoch`` and ``should_stop`` bound.
        on_epoch: called after each epoch with the history so far, once it is on disk.
        should_stop: called before every step.
        finish: called with the result before it is written.

    Raises:
        Interrupted: ``should_stop`` returned true; the trial resumes from its checkpoint next time.
        ClaimLost: another process has taken the trial over.
        RunError: an error that would stop other trials as well, such as a full disk.
    """
    recorded: tuple[EpochRecord, ...] = ()

    def record_epoch(history: tuple[EpochRecord, ...]) -> None:
        nonlocal recorded
        recorded = checked_history(history, trial.recipe, folder.metric)
        folder.write_history(recorded)
        folder.add_to_log(recorded[-1].describe(trial.recipe.epochs, folder.metric))
        on_epoch(recorded)

    try:
        folder.write_trial(trial)
        with _logging_to(folder):
            returned = train(checkpoint=folder.checkpoint, on_epoch=record_epoch, should_stop=should_stop)
        result = checked_result(returned, trial.recipe, folder.metric)
        if finish is not None:
            finish(result)
        folder.write_result(result)
    except (Interrupted, ClaimLost):
        raise
    except BaseException as error:
        # A custom trainer may raise anything, even SystemExit.
        if concerns_all(error) or not (trial.recipe.trainer or isinstance(error, Exception)):
            raise
        if not isinstance(error, (BadResult, RunError)):
            folder.add_to_log("".join(traceback.format_exception(error)))
        return _failure(error, len(recorded))
    folder.add_to_log(f"done: final {folder.metric.name} {folder.metric.text(result.final_error)}")
    return result


def agree_on_kernels(run: Run) -> str:
    """Return the kernels that the run's first trial was trained with on CPUs, which all its trials must use.

    Raises:
        RunError: this machine does not have them; the error says what to do.
    """
    available = kernels.name()
    settled = run.settle_kernels(available)
    if settled != "torch" and available == "torch":
        raise RunError(
            f"the trials of {run.path} are trained with compiled kernels, but this machine has no C compiler (or "
            "DESIGNSPACE_KERNELS=0 is set), so results would be rounded differently. Install a compiler, or train on "
            "machines that have one"
        )
    return settled


def _failure(error: BaseException, epochs: int) -> TrialFailure:
    """Return the failure for a results table, given the exception and the number of finished epochs."""
    try:
        if isinstance(error, Exception) and not isinstance(error, (BadResult, RunError)):
            failure = failure_of(error, epochs)
        else:
            description = f"the trainer raised {type(error).__name__}: {error}"
            failure = TrialFailure("error", str(error) if isinstance(error, Exception) else description, epochs)
    except Exception:  # converting a custom exception to text may fail
        failure = TrialFailure("error", f"the trainer raised {type(error).__name__}", epochs)
    return dataclasses.replace(failure, detail=failure.detail[:MAX_DETAIL_CHARACTERS])


@contextlib.contextmanager
def _logging_to(folder: TrialFolder) -> Iterator[None]:
    """Also write the log messages of the training, such as its layout on a GPU, to the trial's log."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            folder.add_to_log(record.getMessage())

    logger, handler = logging.getLogger("designspace.training"), Handler(logging.INFO)
    previous_level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(previous_level)
        logger.removeHandler(handler)
