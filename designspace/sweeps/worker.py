"""The worker: one process that trains one trial after another, so that imports and data are paid for once.

``python -m designspace.sweeps.worker DEVICE DATA_ROOT`` reads tasks from its standard input and writes events to its
standard output (see `messages`). It ends when its input ends, on SIGTERM, or when its parent is gone; a trial that was
running then goes on later from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.support.errors import InputError, RunError
from designspace.sweeps.messages import Event, Task
from designspace.trials import claims
from designspace.trials.folder import RunFolder, TrialFolder
from designspace.trials.trial import EpochRecord, Recipe, Trial, TrialFailure, TrialResult

if TYPE_CHECKING:
    from designspace.training import DeviceData


def run_trial(
    folder: TrialFolder,
    trial: Trial,
    data: DeviceData,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrialResult | TrialFailure:
    """Train one trial, keeping its folder up to date, and give what came of it, which is on disk then.

    Raises:
        Interrupted: ``should_stop`` said so; the trial goes on from its checkpoint next time.
        RunError: the folder cannot be written.
    """
    from designspace.training import Interrupted, failure_of, train

    folder.write_trial(trial)
    done: tuple[EpochRecord, ...] = ()

    def keep(history: tuple[EpochRecord, ...]) -> None:
        nonlocal done
        done = history
        folder.write_history(history)
        if on_epoch:
            on_epoch(history[-1])

    try:
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
        failure = failure_of(error, epochs=len(done))
        with folder.log.open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
        folder.write_failure(failure)
        return failure
    folder.write_result(result)
    return result


class _Run:
    """What a worker reads of a run folder, once."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        population = self.folder.population()
        plan = self.folder.plan()
        if plan is None:
            raise RunError(f"{path} has no recipe; launch it first")
        recipe, seed = plan
        self.trials = {
            id_: Trial(network, recipe, seed) for id_, network in zip(population.ids, population, strict=True)
        }


class Worker:
    """What a worker keeps between trials: its device, the runs that it has read, and the images."""

    def __init__(self, device: str, data_root: Path, send: Callable[[Event], None]) -> None:
        self.device = device
        self.data_root = data_root
        self.send = send
        self._stop = False
        self._parent = os.getppid()
        self._runs: dict[str, _Run] = {}
        self._data: tuple[tuple[str, int | None, int | None], DeviceData] | None = None

    def stop(self, *_: object) -> None:
        """End after the step at hand."""
        self._stop = True

    def should_stop(self) -> bool:
        """Whether the worker was told to end, or nobody is left who reads what it says."""
        return self._stop or os.getppid() != self._parent

    def run(self, task: Task) -> None:
        """Run one task and say how it ended; a trial that is done or that somebody else works on is skipped."""
        if task.run not in self._runs:
            self._runs[task.run] = _Run(Path(task.run))
        run = self._runs[task.run]
        trial, folder = run.trials[task.id], run.folder.trial(task.id)
        folder.path.mkdir(parents=True, exist_ok=True)
        if folder.state().status in ("done", "failed") or not claims.take(folder.claim):
            self.send(Event("skipped"))
            return
        try:
            with _heartbeat(folder.claim):
                outcome = run_trial(folder, trial, self._images(trial.recipe), self._said, self.should_stop)
        finally:
            claims.release(folder.claim)
        if isinstance(outcome, TrialResult):
            self.send(Event("done", epoch=outcome.epochs, error=outcome.final_error))
        else:
            self.send(Event("failed", epoch=outcome.epochs, detail=f"{outcome.reason}: {outcome.detail}"))

    def _said(self, record: EpochRecord) -> None:
        self.send(Event("epoch", epoch=record.epoch, error=record.test_error))

    def _images(self, recipe: Recipe) -> DeviceData:
        """The images of a recipe on the device, loaded once."""
        from designspace import data
        from designspace.training import DeviceData

        key = (recipe.data, recipe.train_images, recipe.test_images)
        if self._data is None or self._data[0] != key:
            images = data.load(recipe.data, self.data_root, recipe.train_images, recipe.test_images)
            self._data = (key, DeviceData.of(images, self.device))
        return self._data[1]


@contextlib.contextmanager
def _heartbeat(claim: Path) -> Iterator[None]:
    """Touch a claim from time to time while the block runs."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(claims.BEAT_S):
            claims.beat(claim)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def main() -> None:
    """Run tasks until the input ends."""
    device, data_root = sys.argv[1], Path(sys.argv[2])
    # One thread a worker: the pool runs one worker a core. The variable is read when torch is first imported.
    os.environ["OMP_NUM_THREADS"] = "1"
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not come between the events

    def send(event: Event) -> None:
        with contextlib.suppress(BrokenPipeError):
            events.write(event.to_line())

    worker = Worker(device, data_root, send)
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import torch

        from designspace.training import Interrupted

        torch.set_num_threads(1)
        send(Event("ready"))
        for line in sys.stdin.buffer:
            if worker.should_stop():
                break
            try:
                worker.run(Task.from_line(line))
            except Interrupted:
                break
    except (InputError, RunError, OSError) as error:
        send(Event("broken", detail=str(error)))
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
