"""The worker: one process that trains one trial after another, so that imports and data are paid for once.

It is forked from the `fork_server`, reads orders from its standard input and writes events to its standard output. It
ends when its input ends, on SIGTERM, or when its parent is gone; a trial that was running then goes on later from its
last checkpoint.
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
from designspace.sweeps.messages import Event, Order, Settings, Task
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
"""How long a worker whose parent is gone may take to come to the end of its step."""
Train = Callable[..., "TrialResult | TrialFailure"]
"""Trains a trial; takes ``on_epoch`` and ``should_stop``."""


class CannotWork(BaseException):
    """A worker can train nothing here; says why. What collects failures of trials must not take it for one."""


@contextlib.contextmanager
def _for_all_trials() -> Iterator[None]:
    """What cannot be done in the block can be done for no trial, unless a disk or file server fails for a moment."""
    try:
        with as_run_errors():
            yield
    except (InputError, RunError) as error:
        if may_pass(error):
            raise
        raise CannotWork(error_message(error)) from error


@dataclass(frozen=True, slots=True)
class _Known:
    """What a worker reads of a run once."""

    run: Run
    trial: Callable[[str], Trial]
    """Gives the trial of a key."""


class Worker:
    """What a worker keeps between trials: its device, the runs that it has read, and the images."""

    def __init__(self, settings: Settings, send: Callable[[Event], None]) -> None:
        self.settings = settings
        self.send = send
        self.is_spent = False
        """Whether the process should not train anything more: most errors on a GPU leave its state undefined."""
        self._stop = False
        self._parent = Parent()
        self._runs: dict[str, _Known] = {}
        self._data: tuple[tuple[str, int | None, int | None, bool], DeviceData | ImageData] | None = None

    def stop(self, *_: object) -> None:
        """End after the step at hand."""
        self._stop = True

    def should_stop(self) -> bool:
        """Whether the worker was told to end, or nobody is left who reads what it says."""
        return self._stop or self._parent.is_gone

    def run(self, order: Order) -> None:
        """Run one task and say how it ended; a trial that has ended or that somebody else works on is left alone.

        Raises:
            CannotWork: nothing can be trained here.
            Interrupted: the worker was told to end.
            ClaimLost: another process has taken the trial over.
        """
        try:
            with as_run_errors():
                known = self._known(order.task)
                self._run(order, known.run, known.trial(order.task.key))
        except RunError as error:
            if concerns_all(error):
                raise CannotWork(error_message(error)) from error
            self.send(Event("unusable", detail=error_message(error)))

    def _known(self, task: Task) -> _Known:
        """Return what is known of a task's run."""
        with _for_all_trials():
            if task.run not in self._runs:
                run = run_at(Path(task.run))
                self._runs[task.run] = _Known(run, run.read_trials())
            return self._runs[task.run]

    def _run(self, order: Order, run: Run, trial: Trial) -> None:
        """Run a trial, if it is still to be run.

        Raises:
            RunError: files of this trial cannot be read or written; besides as of `run`.
        """
        folder = run.trial(order.task.key)
        if folder.state().has_ended:
            self.send(Event("skipped"))
            return
        with folder.claimed(order.abandoned) as claim:
            if claim is None:
                self.send(Event("held"))
            elif folder.state().has_ended:  # just before it could be claimed
                self.send(Event("skipped"))
            elif claim.lost and (failure := folder.note_lost_owner(claim.lost, self.settings.max_retries)):
                self.send(_failed(failure))
            else:
                self._train(run, trial, folder, claim)

    def _train(self, run: Run, trial: Trial, folder: TrialFolder, claim: claims.Claim) -> None:
        """Train a trial that is this worker's."""
        where = f"on {claim.owner.host}, process {claim.owner.pid}, {self.settings.device}"
        folder.add_to_log(f"started {where}{f', SLURM job {claim.owner.job}' if claim.owner.job else ''}")
        with claims.beating(claim) as is_lost:

            def should_stop() -> bool:
                return is_lost() or self.should_stop()

            outcome = self._outcome(run, trial, folder, should_stop)
        if isinstance(outcome, TrialResult):
            self.send(Event("done", epoch=outcome.epochs, error=outcome.selection_error))
            return
        claim.check()
        if self.settings.device == "cuda" and not self._can_go_on_after(outcome):
            self.is_spent = True
            self.send(Event("leaving"))
        if folder.note_failure(outcome, self.settings.max_retries):
            self.send(_failed(outcome))
        else:
            self.send(Event("retry", epoch=outcome.epochs, detail=f"{outcome.reason}: {outcome.detail}"))

    def _can_go_on_after(self, failure: TrialFailure) -> bool:
        """Whether a failure on a GPU left its state as it was: divergence does, and memory that ran out mostly."""
        if failure.reason == "out of memory":
            from designspace.training.failures import release_memory

            return release_memory()
        return failure.has_diverged

    def _outcome(
        self, run: Run, trial: Trial, folder: TrialFolder, should_stop: Callable[[], bool]
    ) -> TrialResult | TrialFailure:
        """Load the images if need be, and train."""
        from designspace.training import failure_of

        before = len(folder.known_history())
        try:
            with _for_all_trials():
                train = self._single(run) if isinstance(run, TrainingFolder) else self._trainer(run, trial, folder)
        except RunError:
            raise
        except Exception as error:  # a GPU without memory, say
            return failure_of(error, epochs=before)
        self.send(Event("started", epoch=before))
        return train(on_epoch=self._said, should_stop=should_stop)

    def _trainer(self, run: Run, trial: Trial, folder: TrialFolder) -> Train:
        """Return what trains a network of a population."""
        from designspace.models.cpu import kernels
        from designspace.training.into_folder import agree_on_kernels, train_into
        from designspace.training.trainer import trainer_of

        if self.settings.device == "cpu" and trial.recipe.trainer is None:
            kernels.use(agree_on_kernels(run))
        images = self._images(trial.recipe)
        trainer = trainer_of(trial.recipe, self.settings.device)
        train = functools.partial(trainer, trial.network, trial.recipe, images, seed=trial.seed)
        return functools.partial(train_into, folder, trial, train)

    def _single(self, run: TrainingFolder) -> Train:
        """Return what trains a single network, whose folder becomes a model folder."""
        import torch

        from designspace.library.one_network import OneTraining
        from designspace.models.cpu import kernels
        from designspace.training.into_folder import agree_on_kernels
        from designspace.training.ranks import Ranks

        if self.settings.device == "cpu":
            kernels.use(agree_on_kernels(run))
        training = OneTraining.of(run, Path(self.settings.data_root))
        device = torch.device(self.settings.device)
        return functools.partial(training.train, training.begin(), Ranks(), device, on_step=None)

    def _said(self, history: tuple[EpochRecord, ...]) -> None:
        self.send(Event("epoch", epoch=history[-1].epoch, error=history[-1].test_error))

    def _images(self, recipe: Recipe) -> DeviceData | ImageData:
        """The images of a recipe, loaded once; on the device, unless several devices train together."""
        from designspace import data
        from designspace.training import DeviceData

        key = (recipe.data, recipe.train_images, recipe.test_images, recipe.devices > 1)
        if self._data is None or self._data[0] != key:
            images = data.load(recipe.data, Path(self.settings.data_root), recipe.train_images, recipe.test_images)
            self._data = (key, images if recipe.devices > 1 else DeviceData.of(images, self.settings.device))
        return self._data[1]


def _failed(failure: TrialFailure) -> Event:
    return Event("failed", epoch=failure.epochs, detail=f"{failure.reason}: {failure.detail}")


def load_modules() -> None:
    """Import what every worker needs, without a start of threads or GPUs, which a fork would lack."""
    import designspace.training.into_folder
    import designspace.training.trainer  # noqa: F401


def main(settings: Settings) -> None:
    """Run tasks until the input ends."""
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not come between the events

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
                worker.run(Order.from_line(line))
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
