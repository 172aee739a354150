"""Train all networks of a run, here or on SLURM; again, to resume."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.cli.forecast import print_forecast
from designspace.cli.recipes import Chosen, Seeds, TrainingOptions, chosen_for
from designspace.cli.tables import progress_bar
from designspace.support.errors import RunError
from designspace.support.text import command, counted
from designspace.sweeps.ended_tasks import ended_tasks
from designspace.sweeps.launch import Launcher, R
from designspace.sweeps.preflight import Forecast, check_launch
from designspace.sweeps.progress import Progress
from designspace.sweeps.status import run_status
from designspace.trials.data_note import write_note
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Keys of configs/launch.yaml, which says what they mean."""

    run: Path
    seeds: Seeds
    wait: bool
    dry_run: bool


def run(options: Options) -> None:
    """Check everything, fix the plan, train what is not done, and say what came of it."""
    folder = RunFolder(options.run)
    chosen = chosen_for(folder, options, options.seeds)
    launcher = options.launcher.make(options, chosen.root)
    forecast = check_launch({folder: chosen.plan}, launcher)
    for note in (*chosen.notes, *forecast.notes):
        print(note)
    if options.dry_run:
        show_plan(folder, chosen, launcher, forecast)
        return
    if options.data.root:
        write_note(folder.path, options.data.note(chosen.recipe.data))
    if train({folder: chosen.plan}, launcher, wait=options.wait):
        print(f"results are in {folder.results}")
        print(f"look at them: {command('analyze', runs=[folder.path])}")


def train(plans: Mapping[R, Plan], launcher: Launcher, *, wait: bool, only: Collection[str] | None = None) -> bool:
    """Train what is not done in some runs, with a progress bar; on SLURM, submit it, and ``wait`` if that is asked.

    The plans become those of the runs: here at once, on SLURM when it has accepted tasks.

    Args:
        plans: how the networks of each run are trained: all with one recipe.
        launcher: how to train.
        wait: whether to follow tasks on SLURM to their end.
        only: keys of the trials to train; by default all.

    Returns:
        Whether results were gathered, and not only tasks submitted.

    Raises:
        RunError: tasks on SLURM ended before their trials did.
    """
    if launcher.slurm is None:
        for folder, plan in plans.items():
            folder.write_plan(plan.recipe, plan.seed, plan.repeats)
        recipe = next(iter(plans.values())).recipe
        with progress_bar() as show:
            say_end(launcher.run_local(list(plans), recipe, show, print, only))
        return True
    made = {folder: launcher.submit(folder, plan, only=only) for folder, plan in plans.items()}
    for folder, submission in made.items():
        print(f"{folder.name}: {submission.describe()}")
    if wait:
        with progress_bar() as show:
            progress = launcher.follow(made, plans, show, only)
        ended = [ended_tasks(folder, run_status(folder, only).states) for folder in plans]
        progress.left -= sum(tasks.trials for tasks in ended)
        say_end(progress)
        if causes := [tasks.message for tasks in ended if tasks.trials]:
            raise RunError("\n".join(causes))
        return True
    if left := sum(len(submission.left) for submission in made.values()):
        print(f"{counted(left, 'trial')} found no room: the same command again submits more, and so does wait=true")
    for folder, submission in made.items():
        if submission.trials or submission.queued:
            print(f"follow them: {command('status', run=folder.path, watch='true')}")
    return False


def show_plan(
    folder: RunFolder, chosen: Chosen, launcher: Launcher, forecast: Forecast, only: Collection[str] | None = None
) -> None:
    """Say what a launch would do, of all trials or of those with some keys; ask SLURM whether it would take them."""
    made = None
    if launcher.slurm is not None:
        made = launcher.submit(folder, chosen.plan, only=only, dry_run=True)
        print(f"{made.describe()}; nothing was submitted")
    elif forecast.workers:
        where = f"{counted(forecast.workers, 'worker')} ({forecast.device})"
        print(f"{counted(forecast.waiting, 'trial')} on {where}; {forecast.finished} ended before. Nothing was started")
    else:
        print(f"0 trials on 0 workers; {forecast.finished} ended before. Nothing is left to train")
    print_forecast(folder, chosen, forecast, is_local=made is None)
    if made is not None and made.script:
        print(f"the script of the first array:\n\n{made.script}")


def say_end(progress: Progress) -> None:
    """Say what is not as it should be at the end of a launch."""
    if progress.failed:
        failed = counted(progress.failed, "trial")
        print(f"{failed} failed; results.csv says why. designspace.retry makes them wait again")
    if progress.left:
        left = f"{counted(progress.left, 'trial')} {'has' if progress.left == 1 else 'have'} no result yet"
        print(f"{left}: another launch is at work on {'it' if progress.left == 1 else 'them'}")


if __name__ == "__main__":
    app.main("launch", run)
