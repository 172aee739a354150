"""The worker: one process that trains one trial after another, so that imports and data are paid for once.

``python -m designspace.sweeps.worker SETTINGS`` (see `messages.Settings`) reads orders from its standard input and
writes events to its standard output. It ends when its input ends, on SIGTERM, or when its parent is gone; a trial that
was running then goes on later from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import as_run_errors, concerns_all, in_words, may_pass
from designspace.sweeps.messages import Event, Order, Settings, Task
from designspace.sweeps.run_trial import note_attempt, run_trial
from designspace.sweeps.trainer import trainer_of
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.plan import id_of
from designspace.trials.trial import EpochRecord, Recipe, Trial, TrialFailure, TrialResult
from designspace.trials.trial_folder import TrialFolder

if TYPE_CHECKING:
    from designspace.data import ImageData
    from designspace.training import DeviceData

ORPHAN_S = 30.0
"""A worker whose parent is gone and that does not come to the end of its step is ended after so long."""


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
        raise CannotWork(in_words(error)) from error


class _Run:
    """What a worker reads of a run folder, once."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        self._population = self.folder.population()
        self._rows = {id_: row for row, id_ in enumerate(self._population.ids)}
        plan = self.folder.plan()
        if plan is None:
            raise RunError(f"{path} has no recipe; launch it first")
        self._plan = plan

    def trial(self, key: str) -> Trial:
        """Return what is to be trained; the key alone tells the seed, so repeats that are added later are known."""
        network = self._population[self._rows[id_of(key)]]
        return Trial(network, self._plan.recipe, self._plan.seed_of(key))


class Worker:
    """What a worker keeps between trials: its device, the runs that it has read, and the images."""

    def __init__(self, settings: Settings, send: Callable[[Event], None]) -> None:
        self.settings = settings
        self.send = send
        self.is_spent = False
        """Whether the process should not train anything more: most errors on a GPU leave its state undefined."""
        self._stop = False
        self._parent = os.getppid()
        self._orphaned: float | None = None
        self._runs: dict[str, _Run] = {}
        self._kernels = ""
        """What there is on this machine (`kernels.name`), once that was asked."""
        self._data: tuple[tuple[str, int | None, int | None, bool], DeviceData | ImageData] | None = None

    def stop(self, *_: object) -> None:
        """End after the step at hand."""
        self._stop = True

    def should_stop(self) -> bool:
        """Whether the worker was told to end, or nobody is left who reads what it says."""
        return self._stop or self.is_orphan()

    def is_orphan(self) -> bool:
        """Whether the process that started this one is gone."""
        return os.getppid() != self._parent

    def run(self, order: Order) -> None:
        """Run one task and say how it ended; a trial that has ended or that somebody else works on is left alone.

        Raises:
            CannotWork: nothing can be trained here.
            Interrupted: the worker was told to end.
            ClaimLost: another process has taken the trial over.
        """
        try:
            with as_run_errors():
                run = self._run_of(order.task)
                self._run(order, run, run.trial(order.task.key))
        except RunError as error:
            if concerns_all(error):
                raise CannotWork(in_words(error)) from error
            self.send(Event("unusable", detail=in_words(error)))

    def _run_of(self, task: Task) -> _Run:
        """What is known of a task's run."""
        with _for_all_trials():
            if task.run not in self._runs:
                self._runs[task.run] = _Run(Path(task.run))
            return self._runs[task.run]

    def _run(self, order: Order, run: _Run, trial: Trial) -> None:
        """Run a trial, if it is still to be run.

        Raises:
            RunError: files of this trial cannot be read or written; besides as of `run`.
        """
        folder = run.folder.trial(order.task.key)
        if folder.state(trial.asked).has_ended:
            self.send(Event("skipped"))
            return
        with folder.claimed(order.abandoned) as claim:
            if claim is None:
                self.send(Event("held"))
            elif folder.state(trial.asked).has_ended:  # just before it could be claimed
                self.send(Event("skipped"))
            elif not (claim.lost and self._is_over_with_lost_owner(folder, trial, claim.lost)):
                with _for_all_trials():
                    if self.settings.device == "cpu" and trial.recipe.trainer is None:
                        self._agree_on_kernels(run.folder)
                    trainer = trainer_of(trial.recipe, self.settings.device)
                self._train(trial, folder, claim, trainer)

    def _is_over_with_lost_owner(self, folder: TrialFolder, trial: Trial, owner: claims.Owner) -> bool:
        """Note that the trial's former owner was lost; True if that was once too often."""
        words = f"process {owner.pid} on {owner.host} was lost"
        failure = TrialFailure("worker died", words, epochs=len(folder.known_history()))
        over = note_attempt(folder, failure, self.settings.max_retries, trial.asked, host=owner.host, outside=True)
        if over:
            self.send(_failed(failure))
        return over

    def _agree_on_kernels(self, run: RunFolder) -> None:
        """Train with the kernels that the run's first trial was trained with.

        Raises:
            RunError: this machine has not got them; the error says what to do.
        """
        from designspace.models.cpu import kernels

        self._kernels = self._kernels or kernels.name()
        settled = run.settle_kernels(self._kernels)
        if settled != "torch" and self._kernels == "torch":
            raise RunError(
                f"the trials of {run.path} are trained with compiled kernels, and here is no C compiler (or "
                "DESIGNSPACE_KERNELS=0 is set), so results would be rounded in another way. Install a compiler, or "
                "train on machines that have one"
            )
        kernels.use(settled)

    def _train(self, trial: Trial, folder: TrialFolder, claim: claims.Claim, trainer: Callable[..., object]) -> None:
        """Train a trial that is this worker's."""
        where = f"on {claim.owner.host}, process {claim.owner.pid}, {self.settings.device}"
        folder.add_to_log(f"started {where}{f', SLURM job {claim.owner.job}' if claim.owner.job else ''}")
        with claims.beating(claim, self._end_if_hung) as is_lost:

            def should_stop() -> bool:
                return is_lost() or self.should_stop()

            outcome = self._outcome(trial, folder, trainer, should_stop)
        if isinstance(outcome, TrialResult):
            self.send(Event("done", epoch=outcome.epochs, error=outcome.selection_error))
            return
        claim.check()
        if self.settings.device == "cuda" and not self._can_go_on_after(outcome):
            self.is_spent = True
            self.send(Event("leaving"))
        if note_attempt(folder, outcome, self.settings.max_retries, trial.asked):
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
        self, trial: Trial, folder: TrialFolder, trainer: Callable[..., object], should_stop: Callable[[], bool]
    ) -> TrialResult | TrialFailure:
        """Load the images if need be, and train."""
        from designspace.training import failure_of

        before = len(folder.known_history())
        try:
            with _for_all_trials():
                images = self._images(trial.recipe)
        except RunError:
            raise
        except Exception as error:  # a GPU without memory, say
            return failure_of(error, epochs=before)
        self.send(Event("started", epoch=before))
        return run_trial(folder, trial, trainer, images, self._said, should_stop)

    def _end_if_hung(self) -> None:
        """End a process that nobody is left to end."""
        if not self.is_orphan():
            self._orphaned = None
        elif self._orphaned is None:
            self._orphaned = time.monotonic()
        elif time.monotonic() - self._orphaned > ORPHAN_S:
            os._exit(1)

    def _said(self, record: EpochRecord) -> None:
        self.send(Event("epoch", epoch=record.epoch, error=record.test_error))

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


def main() -> None:
    """Run tasks until the input ends."""
    settings = Settings(**json.loads(sys.argv[1]))
    # One thread a worker: the pool runs one worker a core. The variable is read when torch is first imported.
    os.environ["OMP_NUM_THREADS"] = "1"
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not come between the events

    def send(event: Event) -> None:
        with contextlib.suppress(BrokenPipeError):
            events.write(event.to_line())

    worker = Worker(settings, send)
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import torch

        from designspace.training import Interrupted

        torch.set_num_threads(1)
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


if __name__ == "__main__":
    main()
