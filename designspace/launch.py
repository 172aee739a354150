"""Train all networks of a run, here or on SLURM; run again to resume."""

from __future__ import annotations

from designspace.sweeps import head_start

if __name__ == "__main__":
    head_start.begin_early()  # torch takes twice as long as the imports below and the checks

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.decisions import DECISIONS_FILE
from designspace.cli.early_stops import checked_fidelity, train_some_to_the_end
from designspace.cli.forecast import print_forecast
from designspace.cli.options import StopOptions
from designspace.cli.recipes import Seeds, TrainingOptions, TrainingSetup, choose_setup
from designspace.cli.tables import progress_bar
from designspace.data.data_source import note_of
from designspace.support.errors import InputError, RunError
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
    """Keys of configs/launch.yaml, which describes them."""

    run: Path
    seeds: Seeds
    stop: StopOptions
    against: tuple[Path, ...] | None
    wait: bool
    dry_run: bool


def run(options: Options) -> None:
    """Check everything, save the recipe and seeds, train the trials that are not done, and print the outcome."""
    with head_start.importing_torch(options.launcher.is_local and not options.dry_run):
        check_and_train(options)


def check_and_train(options: Options) -> None:
    """Check everything, and train the trials that are not done, or print what a launch would do."""
    folder = RunFolder(options.run)
    if bool(options.against) != (options.stop.looks > 1):
        raise InputError(
            "stop.looks and against belong together, as in stop.looks=5 against=[runs/other]: networks are trained "
            "until the comparison with other runs is decided"
        )
    setup = choose_setup(folder, options, options.seeds)
    fidelity = checked_fidelity(options.stop, setup.plan)
    launcher = options.launcher.make(options, setup.root)
    forecast = check_launch({folder: setup.plan}, launcher)
    for note in (*setup.notes, *forecast.notes):
        print(note)
    if options.dry_run:
        print_dry_run(folder, setup, launcher, forecast)
        return
    root = options.data.root or (setup.root if setup.root != data.default_root() else None)
    if options.data.root or data.own_data(setup.recipe.data, root):
        write_note(folder.path, note_of(setup.recipe.data, root))
    plans = {folder: forecast.with_metric(setup.plan)}
    if options.against:
        train_against(options.against, plans, launcher, options.stop)
    elif fidelity is not None:
        train_some_to_the_end(
            plans, fidelity, lambda some, keys, epochs: train(some, launcher, wait=True, only=keys, epochs=epochs)
        )
    if options.against or fidelity or train(plans, launcher, wait=options.wait):
        print(f"results are in {folder.results}")
        print(f"analyse them: {command('analyze', runs=[folder.path])}")


def train_against(
    paths: Sequence[Path], plans: Mapping[RunFolder, Plan], launcher: Launcher, stop: StopOptions
) -> None:
    """Train the trials of a run until its comparison with other runs is decided or hopeless.

    Args:
        paths: the folders of the other runs.
        plans: the run -> recipe and seeds of its trials.
        launcher: where and how to train.
        stop: when a comparison ends.
    """
    from designspace.analysis import Results  # pandas, which takes a second that other launches need not spend
    from designspace.cli.looks import LookedAt, rule_of, train_with_looks

    others = [Results.read(RunFolder(path)) for path in paths]
    (folder,) = plans
    sweep = LookedAt(plans, others, rule_of(stop), folder.path / DECISIONS_FILE)
    train_with_looks(sweep, lambda some, keys: train(some, launcher, wait=True, only=keys))


def train(
    plans: Mapping[R, Plan],
    launcher: Launcher,
    *,
    wait: bool,
    only: Collection[str] | None = None,
    epochs: int | None = None,
) -> bool:
    """Train the trials of some runs that are not done, with a progress bar, or submit them to SLURM.

    The plans are saved in the runs: at once on this machine, and with SLURM as soon as it has accepted array tasks.

    Args:
        plans: run -> recipe and seeds of its trials; the recipe is the same for all runs.
        launcher: where and how to train.
        wait: whether to wait until all array tasks on SLURM have ended.
        only: keys of the trials to train; by default all.
        epochs: number of epochs after which trials are paused; None to train them to their ends.

    Returns:
        Whether the trials were trained, rather than only submitted.

    Raises:
        RunError: array tasks on SLURM ended before their trials finished.
    """
    if launcher.slurm is None:
        for folder, plan in plans.items():
            folder.write_plan(plan.recipe, plan.seed, plan.repeats, plan.axes, plan.metric)
        recipe = next(iter(plans.values())).recipe
        with progress_bar() as show:
            print_unfinished(launcher.run_local(list(plans), recipe, show, print, only, epochs))
        return True
    submissions = {folder: launcher.submit(folder, plan, only=only, epochs=epochs) for folder, plan in plans.items()}
    for folder, submission in submissions.items():
        print(f"{folder.name}: {submission.describe()}")
    if wait:
        with progress_bar() as show:
            progress = launcher.follow(submissions, plans, show, only, epochs)
        ended = [
            ended_tasks(
                folder, [each for each in run_status(folder, only).states if not folder.has_reached(each, epochs)]
            )
            for folder in plans
        ]
        progress.left -= sum(tasks.trials for tasks in ended)
        print_unfinished(progress)
        if causes := [tasks.message for tasks in ended if tasks.trials]:
            raise RunError("\n".join(causes))
        return True
    if left := sum(len(submission.left) for submission in submissions.values()):
        print(
            f"{counted(left, 'trial')} {'was' if left == 1 else 'were'} not submitted because of the limit on array "
            "tasks; to submit more, run the same command again, or use wait=true"
        )
    for folder, submission in submissions.items():
        if submission.trials or submission.queued:
            print(f"follow their progress: {command('status', run=folder.path, watch='true')}")
    return False


def print_dry_run(
    folder: RunFolder, setup: TrainingSetup, launcher: Launcher, forecast: Forecast, only: Collection[str] | None = None
) -> None:
    """Print what a launch would do with all trials or those with some keys; ask SLURM whether it would accept them."""
    submission = None
    if launcher.slurm is not None:
        submission = launcher.submit(folder, setup.plan, only=only, dry_run=True)
        print(f"{submission.describe()}; nothing was submitted")
    elif forecast.workers:
        workers = f"{counted(forecast.workers, 'worker')} ({forecast.device})"
        trials = counted(forecast.waiting, "trial")
        print(f"{trials} on {workers}; {forecast.finished} already finished; nothing was started")
    else:
        print(f"0 trials on 0 workers; {forecast.finished} already finished; nothing is left to train")
    print_forecast(folder, setup, forecast, is_local=submission is None)
    if submission is not None and submission.script:
        print(f"batch script of the first array:\n\n{submission.script}")


def print_unfinished(progress: Progress) -> None:
    """Print the numbers of failed and unfinished trials at the end of a launch."""
    if progress.failed:
        failed = counted(progress.failed, "trial")
        print(f"{failed} failed, for the reasons in results.csv; to train them again, use designspace.retry")
    if progress.left:
        left = f"{counted(progress.left, 'trial')} {'has' if progress.left == 1 else 'have'} no result yet"
        print(f"{left}; another launch is training {'it' if progress.left == 1 else 'them'}")


if __name__ == "__main__":
    app.main("launch", run)
