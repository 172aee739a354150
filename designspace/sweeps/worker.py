"""The worker: a process that trains one trial after another, so that imports and data are loaded once.

It is forked from the `fork_server`, reads assignments from its standard input and writes events to its standard output.
It exits when its input ends, on SIGTERM, or when its parent has exited; the current trial resumes later from its last
checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import as_run_errors, concerns_all, error_message, may_pass
from designspace.support.parent import Parent, end_with_parent
from designspace.sweeps.messages import Assignment, Event, Settings, Task
from designspace.trials import claims
from designspace.trials.open import run_at
from designspace.trials.recipe import Recipe
from designspace.trials.run import Run
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import EpochRecord, Trial, TrialFailure, TrialResult
from designspace.trials.trial_folder import TrialFolder

if TYPE_CHECKING:
    from designspace.data import ImageData
    from designspace.training import DeviceData

ORPHAN_S = 30.0
"""Seconds that a worker may take to complete its step after its parent has exited."""
Train = Callable[..., "TrialResult | TrialFailure"]
"""Trains a trial; takes ``on_epoch`` and ``should_stop``."""
OnEpoch = Callable[[tuple[EpochRecord, ...]], None]


class CannotWork(BaseException):
    """The worker cannot train anything here. Not an ``Exception``, so that it is not recorded as a trial's failure."""


@contextlib.contextmanager
def _for_all_trials() -> Iterator[None]:
    """Raise `CannotWork` for errors of the block, which affect all trials, unless a file system fails temporarily."""
    try:
        with as_run_errors():
            yield
    except (InputError, RunError) as error:
        if may_pass(error):
            raise
        raise CannotWork(error_message(error)) from error


@dataclass(frozen=True, slots=True)
class _LoadedRun:
    """A run, which a worker reads once."""

    run: Run
    trial: Callable[[str], Trial]
    """Returns the trial with a key."""


class Worker:
    """A worker, with everything that it keeps between trials: its device, the runs that it has read, and the images."""

    def __init__(self, settings: Settings, send: Callable[[Event], None]) -> None:
        self.settings = settings
        self.send = send
        self.is_spent = False
        """Whether the process must not train any more: most errors on a GPU leave its state undefined."""
        self._stop = False
        self._parent = Parent()
        self._runs: dict[str, _LoadedRun] = {}
        self._data: tuple[tuple[str, int | None, int | None, bool], DeviceData | ImageData] | None = None

    def stop(self, *_: object) -> None:
        """Stop after the current step."""
        self._stop = True

    def should_stop(self) -> bool:
        """Return whether the worker was stopped, or its parent has exited."""
        return self._stop or self._parent.is_gone

    def run(self, assignment: Assignment) -> None:
        """Run one task and send its events; a trial that is finished or that another process has is skipped.

        Raises:
            CannotWork: nothing can be trained here.
            Interrupted: the worker was stopped.
            ClaimLost: another process has taken the trial over.
        """
        try:
            with as_run_errors():
                loaded = self._load_run(assignment.task)
                self._run(assignment, loaded.run, loaded.trial(assignment.task.key))
        except RunError as error:
            if concerns_all(error):
                raise CannotWork(error_message(error)) from error
            self.send(Event("unusable", detail=error_message(error)))

    def _load_run(self, task: Task) -> _LoadedRun:
        """Return the run of a task, which is read once."""
        with _for_all_trials():
            if task.run not in self._runs:
                run = run_at(Path(task.run))
                self._runs[task.run] = _LoadedRun(run, run.read_trials())
            return self._runs[task.run]

    def _run(self, assignment: Assignment, run: Run, trial: Trial) -> None:
        """Run a trial, unless it is finished or claimed.

        Raises:
            RunError: files of this trial cannot be read or written; see also `run`.
        """
        folder = run.trial(assignment.task.key)
        epochs = assignment.task.epochs
        if run.has_reached(folder.state(), epochs):
            self.send(Event("skipped"))
            return
        with folder.claimed(assignment.abandoned) as claim:
            if claim is None:
                self.send(Event("held"))
            elif run.has_reached(folder.state(), epochs):  # it was finished just before it was claimed
                self.send(Event("skipped"))
            elif claim.previous_owner and (
                failure := folder.record_lost_owner(claim.previous_owner, self.settings.max_retries)
            ):
                self.send(_failed(failure))
            else:
                self._train(run, trial, folder, claim, epochs)

    def _train(self, run: Run, trial: Trial, folder: TrialFolder, claim: claims.Claim, epochs: int | None) -> None:
        """Train a trial that this worker has claimed, to its end or for a number of epochs."""
        from designspace.training import Interrupted

        where = f"on {claim.owner.host}, process {claim.owner.pid}, {self.settings.device}"
        folder.add_to_log(f"started {where}{f', SLURM job {claim.owner.job}' if claim.owner.job else ''}")
        history: tuple[EpochRecord, ...] = ()

        def on_epoch(records: tuple[EpochRecord, ...]) -> None:
            nonlocal history
            history = records
            self.send(Event("epoch", epoch=records[-1].epoch, error=records[-1].test_error))

        with claims.heartbeat(claim) as is_lost:

            def must_stop() -> bool:
                return is_lost() or self.should_stop()

            def should_stop() -> bool:
                return must_stop() or (epochs is not None and len(history) >= epochs)

            try:
                outcome = self._outcome(run, trial, folder, on_epoch, should_stop)
            except Interrupted:
                if must_stop():
                    raise
                folder.add_to_log(f"paused after epoch {len(history)}")
                self.send(Event("paused", epoch=len(history)))
                return
        if isinstance(outcome, TrialResult):
            self.send(Event("done", epoch=outcome.epochs, error=outcome.selection_error))
            return
        claim.check()
        if self.settings.device == "cuda" and not self._can_continue_after(outcome):
            self.is_spent = True
            self.send(Event("leaving"))
        if folder.record_failure(outcome, self.settings.max_retries):
            self.send(_failed(outcome))
        else:
            self.send(Event("retry", epoch=outcome.epochs, detail=f"{outcome.reason}: {outcome.detail}"))

    def _can_continue_after(self, failure: TrialFailure) -> bool:
        """Return whether the GPU is usable after a failure: after divergence, and mostly if memory ran out."""
        if failure.reason == "out of memory":
            from designspace.training.failures import release_memory

            return release_memory()
        return failure.has_diverged

    def _outcome(
        self, run: Run, trial: Trial, folder: TrialFolder, on_epoch: OnEpoch, should_stop: Callable[[], bool]
    ) -> TrialResult | TrialFailure:
        """Load the images if necessary, and train."""
        from designspace.training import failure_of

        epochs_before = len(folder.known_history())
        try:
            with _for_all_trials():
                train = self._single(run) if isinstance(run, TrainingFolder) else self._trainer(run, trial, folder)
        except RunError:
            raise
        except Exception as error:  # for example, no memory on the GPU
            return failure_of(error, epochs=epochs_before)
        self.send(Event("started", epoch=epochs_before))
        return train(on_epoch=on_epoch, should_stop=should_stop)

    def _trainer(self, run: Run, trial: Trial, folder: TrialFolder) -> Train:
        """Return a function that trains a network of a population."""
        from designspace.models.cpu import kernels
        from designspace.training.into_folder import agree_on_kernels, train_into
        from designspace.training.trainer import trainer_of

        if self.settings.device == "cpu" and trial.recipe.trainer is None:
            kernels.use(agree_on_kernels(run))
        try:
            images = self._images(trial.recipe)
            trainer = trainer_of(trial.recipe, self.settings.device)
        except InputError as error:
            if not trial.recipe.imported_names:
                raise
            # This machine may lack a module that others have, so the trial says why.
            raise ImportError(str(error)) from error
        train = functools.partial(trainer, trial.network, trial.recipe, images, seed=trial.seed)
        return functools.partial(train_into, folder, trial, train)

    def _single(self, run: TrainingFolder) -> Train:
        """Return a function that trains a single network, whose folder becomes a model folder."""
        import torch

        from designspace.library.one_network import OneTraining
        from designspace.models.cpu import kernels
        from designspace.training.into_folder import agree_on_kernels
        from designspace.training.ranks import Ranks

        if self.settings.device == "cpu":
            kernels.use(agree_on_kernels(run))
        training = OneTraining.of(run, Path(self.settings.data_root))
        device = torch.device(self.settings.device)
        return functools.partial(training.train, training.initial_model(), Ranks(), device, on_step=None)

    def _images(self, recipe: Recipe) -> DeviceData | ImageData:
        """Return the images of a recipe, loaded once; on the device, unless several devices train together."""
        from designspace import data
        from designspace.training import DeviceData

        key = (recipe.data, recipe.train_images, recipe.test_images, recipe.devices > 1)
        if self._data is None or self._data[0] != key:
            images = data.load(recipe.data, Path(self.settings.data_root), recipe.train_images, recipe.test_images)
            self._data = (key, images if recipe.devices > 1 else DeviceData.of(images, self.settings.device))
        return self._data[1]


def _failed(failure: TrialFailure) -> Event:
    """Return the event of a failed trial."""
    return Event("failed", epoch=failure.epochs, detail=f"{failure.reason}: {failure.detail}")


def load_modules() -> None:
    """Import what every worker needs, without starting threads or GPUs, which would not survive a fork."""
    import designspace.training.into_folder
    import designspace.training.trainer  # noqa: F401


def main(settings: Settings) -> None:
    """Run tasks until the input ends."""
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # output of libraries must not mix with the events

    def send(event: Event) -> None:
        with contextlib.suppress(BrokenPipeError):
            events.write(event.to_line())

    worker = Worker(settings, send)
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(grace_s=ORPHAN_S)
    try:
        import torch

        from designspace.training import Interrupted

        torch.set_num_threads(settings.threads)
        send(Event("ready"))
        for line in sys.stdin.buffer:
            try:
                if worker.should_stop():
                    raise Interrupted
                worker.run(Assignment.from_line(line))
            except (Interrupted, claims.ClaimLost):
                if worker.should_stop():
                    send(Event("leaving"))
                    break
                send(Event("held"))
            if worker.is_spent:
                break
    except CannotWork as error:
        send(Event("broken", detail=str(error)))
        raise SystemExit(1) from error
