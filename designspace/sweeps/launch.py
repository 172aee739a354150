"""Launching runs: checks of recipe and networks, and training in the local pool or on SLURM."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from designspace import data
from designspace.networks.network import HEADS
from designspace.spaces.template import Template
from designspace.support.checks import number
from designspace.support.errors import InputError, RunError
from designspace.sweeps import snapshot
from designspace.sweeps.estimate import Costs, costs_of, trial_seconds
from designspace.sweeps.local import Pool, PoolSettings, RetryPolicy
from designspace.sweeps.messages import Event, Task
from designspace.sweeps.process import Slot
from designspace.sweeps.progress import PoolProgress, Progress, tasks_of
from designspace.sweeps.slots import check_slot_options, within_memory, worker_bytes, worker_slots
from designspace.sweeps.slurm_settings import SlurmSettings
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe
from designspace.trials.run import Run

if TYPE_CHECKING:  # submitit is loaded where it is used
    from designspace.sweeps.slurm import Submission

R = TypeVar("R", bound=Run)
Show = Callable[[Progress], Callable[[], None]]
"""Receives the progress before the start; returns a function to call after each change."""

MAX_EMPTY_POLLS = 3
"""Number of polls in a row without a task for the remaining trials after which no more tasks are expected."""


def check_fit(template: Template, recipe: Recipe, root: Path | None = None) -> None:
    """Raise unless the recipe's images, below ``root``, are those for which the networks were drawn.

    Raises:
        InputError: the data set is unknown, its images have other channels, another size or other classes, or the
            networks have another kind of head.
    """
    shape = data.shape(recipe.data, root)
    head = "dense" if shape.target == "dense" else "linear"
    is_dense = template.head == "dense"
    if recipe.trainer is None and template.head in HEADS and is_dense != (head == "dense"):
        raise InputError(
            f"{recipe.data} has {shape.describe()}, so networks need a {head} head, not {template.head}: sample with "
            f"space.head={head}"
        )
    drawn_for = data.DataShape(template.in_channels, template.resolution, template.num_classes)
    sizes = (shape.size, recipe.crop_size or shape.size)
    if drawn_for.fitting in [shape._replace(size=size).fitting for size in sizes]:
        return
    crop = ""
    if drawn_for.fitting == shape._replace(size=drawn_for.size).fitting:  # only the size differs
        crop = f"Or recipe.crop_area=0.08 recipe.crop_size={drawn_for.size} cuts and scales images to that size. "
    raise InputError(
        f"the networks were drawn for {drawn_for.describe()}, but {recipe.data} has {shape.describe()}. {crop}"
        f"Sample a population for it: python -m designspace.sample data={recipe.data}"
        f"{f' space.resolution={shape.size}' if crop and recipe.data == 'imagenet' else ''} run=..."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Settings for training the trials of runs, in the local pool or as array tasks on SLURM."""

    device: str = "auto"
    workers: int | None = None
    workers_per_gpu: int = 1
    retry_policy: RetryPolicy
    data_root: Path
    about: Mapping[str, Any]
    """Fields to record about the launch."""
    slurm: SlurmSettings | None = None
    """None for the local pool."""

    @staticmethod
    def from_dict(fields: Mapping[str, Any], data_root: Path, about: Mapping[str, Any]) -> Launcher:
        """Return the launcher that the fields of a config describe.

        Raises:
            InputError: a value is out of range.
        """
        slurm_fields = dict(fields)
        name, limit = slurm_fields.pop("name"), slurm_fields.pop("trial_timeout_min")
        slurm_fields.pop("gpus_per_trial")  # already part of the recipe
        worker_options = {key: slurm_fields.pop(key) for key in ("device", "workers", "workers_per_gpu")}
        check_slot_options(**worker_options, gpus_per_trial=1)
        timeout_s = None if limit is None else 60 * number("trial_timeout_min (minutes, or null)", limit)
        retry_policy = RetryPolicy(max_retries=slurm_fields.pop("max_retries"), trial_timeout_s=timeout_s)
        slurm = SlurmSettings.from_dict(slurm_fields) if name == "slurm" else None
        root = data_root.resolve()
        return Launcher(
            **worker_options,
            retry_policy=retry_policy,
            data_root=root,
            about={**about, "data_root": str(root)},
            slurm=slurm,
        )

    def slots(self, costs: Sequence[Costs], recipe: Recipe) -> tuple[list[Slot], str]:
        """Return the slots of the local pool, and a note about memory.

        Raises:
            InputError: see `worker_slots`.
        """
        slots = worker_slots(self.device, self.workers, self.workers_per_gpu, recipe.devices)
        bytes_per_worker = max(worker_bytes(each, recipe, slots[0].device, self.data_root) for each in costs)
        return within_memory(slots, bytes_per_worker, is_fixed=self.workers is not None)

    def run_local(
        self,
        runs: Sequence[Run],
        recipe: Recipe,
        show: Show,
        report: Callable[[str], None],
        only: Collection[str] | None = None,
        epochs: int | None = None,
    ) -> PoolProgress:
        """Train the unfinished trials in the local pool, to their ends or for a number of epochs; see `run_local`."""
        slots, note = self.slots([costs_of(run, recipe, self.data_root) for run in runs], recipe)
        if note:
            report(note)
        return run_local(
            runs, recipe.epochs, slots, self.data_root, show, self.retry_policy, self.about, only, pause_after=epochs
        )

    def slurm_workers(self, recipe: Recipe) -> tuple[str, int]:
        """Return the device of an array task's workers, cpu or cuda, and their expected number.

        Raises:
            InputError: an array task has fewer GPUs than a trial needs; or see `check_slot_options`.
        """
        assert self.slurm is not None
        gpus = self.slurm.gpus
        # If GPUs were requested but are not found, a task must fail instead of training on its CPUs.
        device = "cuda" if gpus and self.device == "auto" else self.device
        check_slot_options(device, self.workers, self.workers_per_gpu, recipe.devices)
        if device == "cuda" and 0 < gpus < recipe.devices:
            raise InputError(f"a trial is trained on {recipe.devices} GPUs, but launcher.gpus_per_task is {gpus}")
        if device == "cuda":
            workers = gpus * self.workers_per_gpu // recipe.devices
        else:
            workers = (self.slurm.cpus_per_task or 1) // recipe.devices
        return "cuda" if device == "cuda" else "cpu", self.workers or max(1, workers)

    def submit(
        self,
        run: Run,
        plan: Plan,
        *,
        only: Collection[str] | None = None,
        epochs: int | None = None,
        dry_run: bool = False,
    ) -> Submission:
        """Submit array tasks for the trials that are waiting and not queued; see `slurm.submit`.

        The plan is written into the run folder once SLURM has accepted tasks.

        Raises:
            InputError: an array task has fewer GPUs than a trial needs; or see `slurm.submit`.
        """
        from designspace.sweeps.slurm import submit

        assert self.slurm is not None
        device, workers = self.slurm_workers(plan.recipe)
        pool = PoolSettings(
            data_root=str(self.data_root),
            device="auto" if device == "cpu" and self.device == "auto" else device,
            workers=self.workers,
            workers_per_gpu=self.workers_per_gpu,
            retry_policy=self.retry_policy,
        )

        def trial_s() -> float:
            costs = costs_of(run, plan.recipe, self.data_root)
            whole = trial_seconds(run, costs, plan.recipe, device, self.data_root)
            return whole if epochs is None else whole * min(1.0, epochs / plan.recipe.epochs)

        return submit(
            run,
            plan,
            self.slurm,
            pool,
            {**self.about, **origin()},
            trial_s,
            workers,
            only=only,
            epochs=epochs,
            dry_run=dry_run,
        )

    def follow(
        self,
        submissions: Mapping[R, Submission],
        plans: Mapping[R, Plan],
        show: Show,
        only: Collection[str] | None = None,
        epochs: int | None = None,
    ) -> Progress:
        """Watch runs until their array tasks end, and submit the remaining trials; see the function `follow`."""
        from designspace.sweeps.slurm import queued, wait_for_end

        left = {run: submission.left for run, submission in submissions.items()}
        launches = [submission.launch for submission in submissions.values() if submission.launch]

        def has_more() -> bool:
            for run, keys in left.items():
                if any(launch.is_cancelled for launch in launches):
                    left[run] = ()
                elif keys:
                    submission = self.submit(run, plans[run], only=keys, epochs=epochs)
                    left[run] = submission.left
                    launches.extend([submission.launch] if submission.launch else [])
            return any(left.values()) or any(queued(run) for run in left)

        progress = follow(list(submissions), show, has_more, only=only, epochs=epochs)
        if epochs is not None:  # trials of tasks in the queue are not submitted again
            wait_for_end(launches)
        return progress


def origin() -> dict[str, Any]:
    """Return the user and the process of a launch, for launch.json."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        user = str(os.getuid())
    return {"user": user, "owner": dataclasses.asdict(claims.Owner.here())}


def run_local(
    runs: Sequence[Run],
    epochs: int,
    slots: Sequence[Slot],
    data_root: Path,
    show: Show,
    retry_policy: RetryPolicy | None = None,
    about: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
    pause_after: int | None = None,
) -> PoolProgress:
    """Train the unfinished trials of some runs in the local pool, then write the results.csv of each run.

    Args:
        runs: the runs, which have a plan.
        epochs: epochs of each trial, to estimate the remaining time.
        slots: slots of the workers.
        data_root: folder of the data sets.
        show: receives the progress before the start; returns a function to call after each change.
        retry_policy: number of retries and time limit.
        about: fields to record about the launch.
        only: keys of the trials to train; by default all.
        pause_after: number of epochs after which each trial is paused; by default it is trained to its end.

    Raises:
        RunError: workers cannot train here, a folder cannot be written, or the launch was cancelled.
        KeyboardInterrupt: Ctrl-C or SIGTERM; unfinished trials resume from their checkpoints next time.
    """
    tasks, finished, best = tasks_of(runs, only, pause_after)
    progress = PoolProgress(tasks, min(epochs, pause_after or epochs), finished, best, runs[0].metric())
    refresh = show(progress)
    refresh()

    def on_event(task: Task, event: Event) -> None:
        progress.handle_event(task, event)
        refresh()

    launches: list[LaunchFolder] = []
    try:
        with runs[0].launching():  # another process may be deleting copies of old launches
            # Also if nothing is left to train, so that the copy is complete after every launch.
            names = sorted({name for run in runs for name in run.imported_names(run.plan())})
            code = snapshot.snapshot(runs[0].code, names).resolve()
            note = {**(about or {}), **origin(), "launcher": "local", "code": str(code), "workers": len(slots)}
            if tasks:
                launches.append(runs[0].new_launch(note))
        if tasks:
            for run in runs[1:]:
                with run.launching():
                    launches.append(run.new_launch(note))
            pool = Pool(slots, data_root, launches, code, on_event, retry_policy)
            with _stops_on_sigterm(pool):
                progress.left = len(pool.run(tasks))
    finally:
        for launch in launches:
            with contextlib.suppress(RunError):  # a full disk; the cause has been reported already
                launch.update(ended=True)
        for run in runs:
            run.write_results()
    return progress


@contextmanager
def _stops_on_sigterm(pool: Pool) -> Iterator[None]:
    """Stop a pool cleanly on SIGTERM, if this is the main thread (other threads receive no signals)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, pool.ask_to_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def follow(
    runs: Sequence[Run],
    show: Show,
    has_more: Callable[[], bool],
    poll_s: float = 5.0,
    only: Collection[str] | None = None,
    epochs: int | None = None,
) -> Progress:
    """Watch runs that array tasks train until they end, then write the results.csv of each run.

    Args:
        runs: the run folders.
        show: see `run_local`.
        has_more: returns whether any task is pending or running, or may still be submitted.
        poll_s: minimum seconds between two polls.
        only: keys of the trials to watch; by default all.
        epochs: number of epochs after which a trial counts as finished; None for its end.
    """
    progress = Progress(sum(len(run.trial_keys()) if only is None else len(only) for run in runs))
    refresh = show(progress)
    empty_polls = 0
    while True:
        began = time.monotonic()
        progress.update(runs, only, epochs)
        refresh()
        if progress.left <= 0:
            break
        # If SLURM does not answer, this poll does not count. A task that is being requeued is in no queue for a moment.
        with contextlib.suppress(RunError):
            empty_polls = 0 if has_more() else empty_polls + 1
        if empty_polls >= MAX_EMPTY_POLLS:
            break
        time.sleep(max(poll_s, 10 * (time.monotonic() - began)))
    for run in runs:
        run.write_results()
    return progress
