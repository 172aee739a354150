"""Training one trial: what happens is written to its folder while it happens. The only code that does so."""

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

LONGEST_DETAIL = 1000
"""Characters of what a trainer raised that stand in tables; all of it is in the trial's log."""


def train_into(
    folder: TrialFolder,
    trial: Trial,
    train: Callable[..., object],
    on_epoch: OnEpoch,
    should_stop: ShouldStop,
    finish: Callable[[TrialResult], None] | None = None,
) -> TrialResult | TrialFailure:
    """Train one trial, keeping its folder up to date, and return what came of it.

    The trial is this process's (see `TrialFolder.claimed`). A result is on disk then; what to do about a failure is the
    caller's choice (see `TrialFolder.record_failure`).

    Args:
        folder: of the trial.
        trial: what is trained.
        train: trains it: `designspace.training.train` or another trainer with all arguments but ``checkpoint``,
            ``on_epoch`` and ``should_stop``.
        on_epoch: called with the history so far after each epoch, once it is on disk.
        should_stop: asked before every step.
        finish: called with the result before that is written.

    Raises:
        Interrupted: ``should_stop`` said so; the trial resumes from its checkpoint next time.
        ClaimLost: another process has taken the trial over.
        RunError: the disk is full, say: whatever would stop other trials as well.
    """
    done: tuple[EpochRecord, ...] = ()

    def keep(history: tuple[EpochRecord, ...]) -> None:
        nonlocal done
        done = checked_history(history, trial.recipe)
        folder.write_history(done)
        folder.add_to_log(done[-1].describe(trial.recipe.epochs))
        on_epoch(done)

    try:
        folder.write_trial(trial)
        with _logged_to(folder):
            returned = train(checkpoint=folder.checkpoint, on_epoch=keep, should_stop=should_stop)
        result = checked_result(returned, trial.recipe)
        if finish is not None:
            finish(result)
        folder.write_result(result)
    except (Interrupted, ClaimLost):
        raise
    except BaseException as error:
        # A custom trainer may raise anything, SystemExit too.
        if concerns_all(error) or not (trial.recipe.trainer or isinstance(error, Exception)):
            raise
        if not isinstance(error, (BadResult, RunError)):
            folder.add_to_log("".join(traceback.format_exception(error)))
        return _failure(error, len(done))
    folder.add_to_log(f"done: final error {result.final_error:.2f}%")
    return result


def agree_on_kernels(run: Run) -> str:
    """Return the kernels that the run's first trial was trained with on CPUs, which all its trials must have.

    Raises:
        RunError: this machine has not got them; the error says what to do.
    """
    here = kernels.name()
    settled = run.settle_kernels(here)
    if settled != "torch" and here == "torch":
        raise RunError(
            f"the trials of {run.path} are trained with compiled kernels, and here is no C compiler (or "
            "DESIGNSPACE_KERNELS=0 is set), so results would be rounded in another way. Install a compiler, or train "
            "on machines that have one"
        )
    return settled


def _failure(error: BaseException, epochs: int) -> TrialFailure:
    """Put what ended a trial into the words of a results table."""
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
def _logged_to(folder: TrialFolder) -> Iterator[None]:
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
