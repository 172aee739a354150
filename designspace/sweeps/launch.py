"""Launching runs: is the recipe fit for the networks, what is to do, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from designspace import data
from designspace.spaces.template import Template
from designspace.support.errors import InputError
from designspace.sweeps.local import Pool, Slot
from designspace.sweeps.messages import Event, Task
from designspace.sweeps.progress import Progress, tasks_of
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe


def check_fit(template: Template, recipe: Recipe) -> None:
    """Raise unless the recipe's images are what the networks were drawn for.

    Raises:
        InputError: an unknown data set, or images of other channels, size or classes.
    """
    shape = data.shape(recipe.data)
    wanted = (template.in_channels, template.resolution, template.num_classes)
    if wanted != shape:
        raise InputError(
            f"the networks were drawn for {describe(*wanted)}, but {recipe.data} has {describe(*shape)}. "
            f"Sample a population for it: python -m designspace.sample input={recipe.data} run=..."
        )


def describe(channels: int, size: int, classes: int) -> str:
    """Images in words."""
    return f"images of {channels} channel{'s' if channels > 1 else ''}, {size} x {size} pixels and {classes} classes"


def run_local(
    runs: Sequence[RunFolder],
    epochs: int,
    places: Sequence[Slot],
    data_root: Path,
    show: Callable[[Progress], Callable[[], None]],
) -> Progress:
    """Train what is not done in some runs with the local pool, then gather each run's results.csv.

    Args:
        runs: run folders that have a population and a plan.
        epochs: of each trial, for the time left.
        places: where workers run.
        data_root: folder of the data sets.
        show: takes the progress before the start, and gives what to call when it changed.

    Raises:
        RunError: no worker could work, or a folder could not be written.
        KeyboardInterrupt: Ctrl-C; what is unfinished goes on from its checkpoint next time.
    """
    tasks, finished, best = tasks_of(runs)
    progress = Progress(tasks, epochs, finished, best)
    refresh = show(progress)
    refresh()

    def on_event(task: Task, event: Event) -> None:
        progress.take(task, event)
        refresh()

    try:
        if tasks:
            Pool(places, data_root, runs[0].path / "workers.log", on_event).run(tasks)
    finally:
        for run in runs:
            run.write_results()
    return progress
