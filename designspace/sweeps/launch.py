"""Launching runs: is the recipe fit for the networks, what is to do, and who does it."""

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
from designspace.spaces.template import Template
from designspace.support.checks import number
from designspace.support.errors import InputError, RunError
from designspace.sweeps import snapshot
from designspace.sweeps.estimate import Costs, costs_of, trial_seconds
from designspace.sweeps.local import Effort, Pool, PoolSettings
from designspace.sweeps.messages import Event, Task
from designspace.sweeps.places import check, slots, within_memory, worker_bytes
from designspace.sweeps.process import Slot
from designspace.sweeps.progress import PoolProgress, Progress, tasks_of
from designspace.sweeps.slurm_settings import Slurm
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe
from designspace.trials.run import Run

if TYPE_CHECKING:  # submitit is loaded where it is used
    from designspace.sweeps.slurm import Submission

R = TypeVar("R", bound=Run)
Show = Callable[[Progress], Callable[[], None]]
"""Takes the progress before the start, and gives what to call when it changed."""


PATIENCE = 3
"""So many looks in a row without a task for what is left mean that none will come."""


def check_fit(template: Template, recipe: Recipe, root: Path | None = None) -> None:
    """Raise unless the recipe's images, below ``root``, are what the networks were drawn for.

    Raises:
        InputError: an unknown data set, or images of other channels, size or classes.
    """
    shape = data.shape(recipe.data, root)
    drawn_for = data.DataShape(template.in_channels, template.resolution, template.num_classes)
    if drawn_for in (shape, shape._replace(size=recipe.crop_size or shape.size)):
        return
    crop = ""
    if drawn_for == shape._replace(size=drawn_for.size):  # only the size differs
        crop = f"Or recipe.crop_area=0.08 recipe.crop_size={drawn_for.size} cuts and scales images to that size. "
    raise InputError(
        f"the networks were drawn for {drawn_for.describe()}, but {recipe.data} has {shape.describe()}. {crop}"
        f"Sample a population for it: python -m designspace.sample data={recipe.data}"
        f"{f' space.resolution={shape.size}' if crop and recipe.data == 'imagenet' else ''} run=..."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """How to train the trials of runs: with the local pool, or as tasks on SLURM."""

    device: str = "auto"
    workers: int | None = None
    workers_per_gpu: int = 1
    effort: Effort
    data_root: Path
    about: Mapping[str, Any]
    """What to note of the launch."""
    slurm: Slurm | None = None
    """None: with the local pool."""

    @staticmethod
    def from_dict(fields: Mapping[str, Any], data_root: Path, about: Mapping[str, Any]) -> Launcher:
        """The launcher that a user described.

        Raises:
            InputError: a value out of range.
        """
        rest = dict(fields)
        name, limit = rest.pop("name"), rest.pop("trial_timeout_min")
        rest.pop("gpus_per_trial")  # part of the recipe by now
        own = {key: rest.pop(key) for key in ("device", "workers", "workers_per_gpu")}
        check(**own, gpus_per_trial=1)
        timeout_s = None if limit is None else 60 * number("trial_timeout_min (minutes, or null)", limit)
        effort = Effort(max_retries=rest.pop("max_retries"), trial_timeout_s=timeout_s)
        slurm = Slurm.from_dict(rest) if name == "slurm" else None
        root = data_root.resolve()
        return Launcher(**own, effort=effort, data_root=root, about={**about, "data_root": str(root)}, slurm=slurm)

    def places(self, costs: Sequence[Costs], recipe: Recipe) -> tuple[list[Slot], str]:
        """Where workers of the local pool run, and what there is to say about memory.

        Raises:
            InputError: see `places.slots`.
        """
        places = slots(self.device, self.workers, self.workers_per_gpu, recipe.devices)
        need = max(worker_bytes(each, recipe, places[0].device, self.data_root) for each in costs)
        return within_memory(places, need, is_fixed=self.workers is not None)

    def run_here(
        self,
        runs: Sequence[Run],
        recipe: Recipe,
        show: Show,
        say: Callable[[str], None],
        only: Collection[str] | None = None,
    ) -> PoolProgress:
        """Train what is not done with the local pool; see `run_local`."""
        places, note = self.places([costs_of(run, recipe, self.data_root) for run in runs], recipe)
        if note:
            say(note)
        return run_local(runs, recipe.epochs, places, self.data_root, show, self.effort, self.about, only)

    def on_slurm(self, recipe: Recipe) -> tuple[str, int]:
        """The device of a task's workers, cpu or cuda, and how many they are, as far as can be told here.

        Raises:
            InputError: fewer GPUs per task than a trial needs, or as `places.check`.
        """
        assert self.slurm is not None
        gpus = self.slurm.gpus
        # Where GPUs were asked for and are not found, a task must not train on its CPUs without a word.
        device = "cuda" if gpus and self.device == "auto" else self.device
        check(device, self.workers, self.workers_per_gpu, recipe.devices)
        if device == "cuda" and 0 < gpus < recipe.devices:
            raise InputError(f"a trial is trained on {recipe.devices} GPUs, but launcher.gpus_per_task is {gpus}")
        if device == "cuda":
            workers = gpus * self.workers_per_gpu // recipe.devices
        else:
            workers = (self.slurm.cpus_per_task or 1) // recipe.devices
        return "cuda" if device == "cuda" else "cpu", self.workers or max(1, workers)

    def submit(self, run: Run, plan: Plan, *, only: Collection[str] | None = None, dry_run: bool = False) -> Submission:
        """Submit tasks for what is not done, not queued and not running; see `slurm.submit`.

        The plan becomes that of the run once SLURM has accepted tasks.

        Raises:
            InputError: fewer GPUs a task than a trial needs; or as `slurm.submit`.
        """
        from designspace.sweeps.slurm import submit

        assert self.slurm is not None
        device, workers = self.on_slurm(plan.recipe)
        pool = PoolSettings(
            data_root=str(self.data_root),
            device="auto" if device == "cpu" and self.device == "auto" else device,
            workers=self.workers,
            workers_per_gpu=self.workers_per_gpu,
            effort=self.effort,
        )

        def trial_s() -> float:
            costs = costs_of(run, plan.recipe, self.data_root)
            return trial_seconds(run, costs, plan.recipe, device, self.data_root)

        return submit(
            run,
            plan,
            self.slurm,
            pool,
            {**self.about, **origin()},
            trial_s,
            workers,
            only=only,
            dry_run=dry_run,
        )

    def follow(
        self,
        made: Mapping[R, Submission],
        plans: Mapping[R, Plan],
        show: Show,
        only: Collection[str] | None = None,
    ) -> Progress:
        """Watch what was submitted of some runs to its end, and submit what found no room then; see `follow`."""
        from designspace.sweeps.slurm import queued

        left = {run: submission.left for run, submission in made.items()}
        launches = [submission.launch for submission in made.values() if submission.launch]

        def has_more() -> bool:
            for run, keys in left.items():
                if any(launch.is_cancelled for launch in launches):
                    left[run] = ()
                elif keys:
                    submission = self.submit(run, plans[run], only=keys)
                    left[run] = submission.left
                    launches.extend([submission.launch] if submission.launch else [])
            return any(left.values()) or any(queued(run) for run in left)

        return follow(list(made), show, has_more, only=only)


def origin() -> dict[str, Any]:
    """Who launches from where: what stands in launch.json beside the provenance."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return {"user": user, "owner": dataclasses.asdict(claims.Owner.here())}


def run_local(
    runs: Sequence[Run],
    epochs: int,
    places: Sequence[Slot],
    data_root: Path,
    show: Show,
    effort: Effort | None = None,
    about: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
) -> PoolProgress:
    """Train what is not done in some runs with the local pool, then gather each run's results.csv.

    Args:
        runs: what is trained; they have a plan.
        epochs: of each trial, for the time left.
        places: where workers run.
        data_root: folder of the data sets.
        show: takes the progress before the start, and gives what to call when it changed.
        effort: retries and time limits.
        about: what to note of the launch.
        only: keys of the trials to train; by default all.

    Raises:
        RunError: no worker could work, a folder could not be written, or the launch was cancelled.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is unfinished goes on from its checkpoint next time.
    """
    tasks, finished, best = tasks_of(runs, only)
    progress = PoolProgress(tasks, epochs, finished, best)
    refresh = show(progress)
    refresh()

    def on_event(task: Task, event: Event) -> None:
        progress.take(task, event)
        refresh()

    launches: list[LaunchFolder] = []
    try:
        with runs[0].launching():  # whoever deletes old launches must not take the copy for one of theirs
            # Also if nothing is left to train: after every launch the copy is whole.
            code = snapshot.snapshot(runs[0].code).resolve()
            note = {**(about or {}), **origin(), "launcher": "local", "code": str(code), "workers": len(places)}
            if tasks:
                launches.append(runs[0].new_launch(note))
        if tasks:
            for run in runs[1:]:
                with run.launching():
                    launches.append(run.new_launch(note))
            pool = Pool(places, data_root, launches, code, on_event, effort)
            with _stops_on_sigterm(pool):
                progress.left = len(pool.run(tasks))
    finally:
        for launch in launches:
            with contextlib.suppress(RunError):  # a full disk; what ended this launch is told already
                launch.note(ended=True)
        for run in runs:
            run.write_results()
    return progress


@contextmanager
def _stops_on_sigterm(pool: Pool) -> Iterator[None]:
    """End a pool in good order on SIGTERM, where this is the main thread (others get no signals)."""
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
) -> Progress:
    """Watch runs that tasks elsewhere are at until nothing more happens, then gather each run's results.csv.

    Args:
        runs: the run folders.
        show: as for `run_local`.
        has_more: whether any task is pending or running, or may still be submitted.
        poll_s: how often to look, at least.
        only: keys of the trials to watch; by default all.
    """
    progress = Progress(sum(len(run.trial_keys()) if only is None else len(only) for run in runs))
    refresh = show(progress)
    without = 0
    while True:
        began = time.monotonic()
        progress.look(runs, only)
        refresh()
        if progress.left <= 0:
            break
        # While SLURM does not answer, nothing is known. And a task that is being requeued is in no queue for a moment.
        with contextlib.suppress(RunError):
            without = 0 if has_more() else without + 1
        if without >= PATIENCE:
            break
        time.sleep(max(poll_s, 10 * (time.monotonic() - began)))
    for run in runs:
        run.write_results()
    return progress
