"""Train every network of a run, here or on SLURM; the same command again goes on where it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.provenance import provenance
from designspace.cli.tables import progress_bar
from designspace.support.errors import RunError
from designspace.sweeps.ended_tasks import ended_tasks
from designspace.sweeps.launch import Launcher, check_fit
from designspace.sweeps.progress import Progress, tasks_of
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Fix the plan, train what is not done, and say what came of it."""
    folder = RunFolder(Path(config["run"]))
    recipe, seed = _plan(folder, config, typed)
    root = Path(config["data"]["root"] or data.default_root())
    check_fit(folder.space().template, recipe, root)
    launcher = Launcher.from_dict(config["launcher"], root, provenance("launch", typed))
    if config["dry_run"]:
        show_plan(folder, recipe, launcher)
        return
    folder.write_plan(recipe, seed)
    if train([folder], recipe, launcher, wait=config["wait"]):
        print(f"results are in {folder.results}")
        print(f"look at them: python -m designspace.analyze runs=[{folder.path}]")


def train(folders: Sequence[RunFolder], recipe: Recipe, launcher: Launcher, *, wait: bool) -> bool:
    """Train what is not done in some runs, with a progress bar; on SLURM, submit it, and ``wait`` if that is asked.

    Gives whether results were gathered, and not only tasks submitted.

    Raises:
        RunError: tasks on SLURM ended before their trials did.
    """
    if launcher.slurm is None:
        with progress_bar() as show:
            say_end(launcher.run_here(folders, recipe, show, print))
        return True
    if missing := launcher.missing_data(recipe):
        print(f"warning: as seen from here, {missing}")
    made = {folder: launcher.submit(folder, recipe) for folder in folders}
    for folder, submission in made.items():
        print(f"{folder.name}: {submission.in_words()}")
    if wait:
        with progress_bar() as show:
            progress = launcher.follow(made, recipe, show)
        ended = [ended_tasks(folder, folder.states(folder.ids())) for folder in folders]
        progress.left -= sum(tasks.trials for tasks in ended)
        say_end(progress)
        if causes := [tasks.in_words for tasks in ended if tasks.trials]:
            raise RunError("\n".join(causes))
        return True
    if left := sum(len(submission.left) for submission in made.values()):
        print(f"{left} trials found no room: the same command again submits more, or wait=true does as it becomes free")
    for folder, submission in made.items():
        if submission.trials or submission.queued:
            print(f"follow them: python -m designspace.status run={folder.path} watch=true")
    return False


def show_plan(folder: RunFolder, recipe: Recipe, launcher: Launcher) -> None:
    """Say what a launch would do."""
    if launcher.slurm is None:
        places, note = launcher.places([folder], recipe)
        tasks, ended, _ = tasks_of([folder])
        print(f"{len(tasks)} trials on {len(places)} workers ({places[0].device}); {ended} have ended. {note}")
        return
    made = launcher.submit(folder, recipe, dry_run=True)
    print(f"{made.in_words()}; nothing was submitted")
    if made.script:
        print(f"the script of the first array:\n\n{made.script}")


def say_end(progress: Progress) -> None:
    """Say what is not as it should be at the end of a launch."""
    if progress.failed:
        print(f"{progress.failed} trials failed; results.csv says why. designspace.retry makes them wait again")
    if progress.left:
        print(f"{progress.left} trials have no result yet: another launch is at work on them")


def _plan(folder: RunFolder, config: app.Config, typed: Sequence[str]) -> tuple[Recipe, int]:
    """The recipe and seed that were typed, or those that the run already has."""
    held = folder.plan()
    if held and not any(word.lstrip("+").startswith(("recipe", "data=", "data.name", "seed")) for word in typed):
        recipe, seed = held
    else:
        recipe = Recipe.from_dict({**config["recipe"], "data": config["data"]["name"]})
        seed = config["seed"]
    devices = config["launcher"]["gpus_per_trial"]
    return (recipe if devices is None else dataclasses.replace(recipe, devices=devices)), seed


if __name__ == "__main__":
    app.main("launch", run)
